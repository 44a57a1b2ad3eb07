//! What the kernel carries between two processes: pipes and Unix sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use crate::reason::{Reason, why};

/// Two directions between a near and a far side: what one writes, the other reads.
pub struct Streams {
    pub near: (File, File),
    pub far: (File, File),
}

impl Streams {
    pub fn pipes() -> Result<Self, Reason> {
        let ((there, near_out), (near_in, back)) = (pipe()?, pipe()?);
        Ok(Self { near: (near_in, near_out), far: (there, back) })
    }

    pub fn sockets() -> Result<Self, Reason> {
        let (near, far) = UnixStream::pair().map_err(why)?;
        let both = |socket: UnixStream| -> Result<(File, File), Reason> {
            let other = socket.try_clone().map_err(why)?;
            Ok((File::from(OwnedFd::from(socket)), File::from(OwnedFd::from(other))))
        };
        Ok(Self { near: both(near)?, far: both(far)? })
    }
}

/// Returns the reading and the writing end of a pipe.
fn pipe() -> Result<(File, File), Reason> {
    let (reader, writer) = std::io::pipe().map_err(why)?;
    Ok((File::from(OwnedFd::from(reader)), File::from(OwnedFd::from(writer))))
}

/// Writes a message whole.
pub fn send(mut to: &File, message: &[u8]) -> Result<(), Reason> {
    to.write_all(message).map_err(why)
}

/// Reads a message whole.
pub fn receive(mut from: &File, message: &mut [u8]) -> Result<(), Reason> {
    from.read_exact(message).map_err(why)
}
