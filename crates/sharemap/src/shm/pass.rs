//! Handing shared memory to other processes, other than by its name.

use std::fs::File;
use std::process::Command;

use crate::error::{Error, ErrorKind, Result};
use crate::shm::options::named;
use crate::shm::{Location, ReadOnlySharedMemory, SharedMemory, SharedMemoryOptions};
use crate::sys::{self, Access, AsDescriptor, FileKind, Seals};

/// What is sent beside the descriptor, little-endian: magic, what the receiver may do (0 read, 1
/// also write), seals, length.
const MESSAGE: usize = 24;
const MAGIC: [u8; 8] = *b"shmpass1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message {
    access: Access,
    seals: Seals,
    len: u64,
}

impl Message {
    fn to_bytes(self) -> [u8; MESSAGE] {
        let mut bytes = [0; MESSAGE];
        let access: u32 = if self.access == Access::Write { 1 } else { 0 };
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&access.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.seals.bits().to_le_bytes());
        bytes[16..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; MESSAGE]) -> Option<Self> {
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let access = match number(8) {
            0 => Access::Read,
            1 => Access::Write,
            _ => return None,
        };
        let seals = Seals::from_bits(number(12))?;
        let len = u64::from_le_bytes(std::array::from_fn(|i| bytes[16 + i]));
        (bytes[..8] == MAGIC).then_some(Self { access, seals, len })
    }
}

/// Sends a description opened for the receiver, and what it is.
fn send(file: &File, access: Access, socket: &impl AsDescriptor) -> Result<()> {
    let message =
        Message { access, seals: sys::shm::seals(file)?, len: sys::file::status(file)?.len };
    let given = match sys::shm::reopen(file, access) {
        // Where descriptions cannot be made anew (no /proc), the one there is is shared.
        Err(error) if error.kind() == ErrorKind::NotFound && access == Access::Write => {
            sys::file::duplicate(file)?
        }
        result => result?,
    };
    sys::pass::send(&socket.duplicate_descriptor()?, &message.to_bytes(), &given)
}

/// Receives a descriptor, and lets it in only if it is what the message and the caller say.
fn receive(socket: &impl AsDescriptor, required: Seals) -> Result<(File, Message)> {
    const OPERATION: &str = "receive";
    let mut bytes = [0; MESSAGE];
    let file = sys::pass::receive(&socket.duplicate_descriptor()?, &mut bytes)?;
    let Some(message) = Message::from_bytes(bytes) else {
        return Err(Error::new(ErrorKind::Invalid, OPERATION)
            .with_detail("the message does not come from SharedMemory::send"));
    };
    let refuse = |kind, detail: String| Err(Error::new(kind, OPERATION).with_detail(detail));
    let status = sys::file::status(&file)?;
    if status.kind != FileKind::Regular {
        return refuse(ErrorKind::NotAnObject, "the descriptor is no memory".into());
    }
    if let Err(what) = sys::shm::is_memory(&file) {
        // Reading a file can take for ever, if its file system wants it so.
        return refuse(ErrorKind::NotAnObject, what);
    }
    let seals = sys::shm::seals(&file)?;
    let wanted = message.seals | required;
    if !seals.contains(wanted) {
        let detail = format!("it is sealed {seals:?}, and must be {wanted:?}");
        return refuse(ErrorKind::NotSealed, detail);
    }
    if status.len < message.len || status.len == 0 {
        let detail = format!("it has {} bytes, the sender says {}", status.len, message.len);
        return refuse(ErrorKind::WrongSize, detail);
    }
    Ok((file, message))
}

/// What a child inherits, until it has been started.
///
/// Keep it until [`spawn`](Command::spawn) returns; then drop it.
#[derive(Debug)]
#[must_use = "the child finds nothing if this is dropped before it is started"]
pub struct InheritableHandle(#[allow(dead_code, reason = "open, for the child to inherit")] File);

/// The number, the identity, and what may be done: what `find` checks.
fn ticket(number: u64, file: &File, access: Access) -> Result<String> {
    let [volume, index] = sys::pass::identity(file)?;
    let access = if access == Access::Write { 'w' } else { 'r' };
    Ok(format!("sharemap1:{access}:{number}:{volume}:{index}"))
}

fn redeem(ticket: &str) -> Result<(File, Access)> {
    let parts: Vec<&str> = ticket.split(':').collect();
    let number = |at: usize| parts.get(at).and_then(|part: &&str| part.parse::<u64>().ok());
    let access = match parts.get(1) {
        Some(&"w") => Some(Access::Write),
        Some(&"r") => Some(Access::Read),
        _ => None,
    };
    let whole = parts.len() == 5 && parts[0] == "sharemap1";
    match (access, number(2), number(3), number(4)) {
        (Some(access), Some(number), Some(volume), Some(index)) if whole => {
            Ok((sys::pass::find(number, [volume, index])?, access))
        }
        _ => Err(Error::new(ErrorKind::Invalid, "find what was handed on")
            .with_detail(format!("{ticket:?} is no ticket"))),
    }
}

fn redeem_variable(variable: &str) -> Result<(File, Access)> {
    let ticket = std::env::var(variable).map_err(|_| {
        Error::new(ErrorKind::NotFound, "find what was handed on").with_detail(format!(
            "the environment has no {variable}: this process was not started with pass_to"
        ))
    })?;
    redeem(&ticket)
}

fn not_writable() -> Error {
    Error::new(ErrorKind::NotWritable, "take over")
        .with_detail("it was handed on for reading: take it as ReadOnlySharedMemory")
}

fn pass_to(
    file: File,
    access: Access,
    command: &mut Command,
    variable: &str,
) -> Result<InheritableHandle> {
    let (number, file) = sys::pass::inherit(command, file)?;
    command.env(variable, ticket(number, &file, access)?);
    Ok(InheritableHandle(file))
}

impl SharedMemory {
    /// Sends it over a Unix socket, for reading and writing; the other side
    /// [receives](Self::receive) it.
    ///
    /// The descriptor that goes with the message (`SCM_RIGHTS`) is a description opened for the
    /// receiver, not this one's. Windows: [`duplicate_into`](Self::duplicate_into).
    pub fn send(&self, socket: &impl AsDescriptor) -> Result<()> {
        send(self.open_file()?, Access::Write, socket).map_err(|e| named(e, self.location()))
    }

    /// Sends it over a Unix socket, for reading only.
    ///
    /// The descriptor cannot write; a receiver of the same user may still open the memory anew. What
    /// nobody may write any more, [freeze](Self::freeze).
    pub fn send_read_only(&self, socket: &impl AsDescriptor) -> Result<()> {
        send(self.open_file()?, Access::Read, socket).map_err(|e| named(e, self.location()))
    }

    /// Receives what [`send`](Self::send) sent.
    ///
    /// It is let in if it is memory (not a file, which may never answer), of the length and with the
    /// seals that the sender says, and with those that were
    /// [required](SharedMemoryOptions::require_seals).
    pub fn receive(socket: &impl AsDescriptor) -> Result<Self> {
        SharedMemoryOptions::new().receive(socket)
    }

    /// Hands it to a child process that `command` is about to start, which finds it by
    /// [`inherited`](Self::from_inherited) under the same `variable` of its environment.
    ///
    /// One command for one child. On Windows every child that is started while the [`InheritableHandle`] is
    /// there inherits the handle.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sharemap::SharedMemory;
    ///
    /// let block = SharedMemory::anonymous(4096)?;
    /// let mut command = std::process::Command::new("worker");
    /// let passed = block.pass_to(&mut command, "BLOCK")?;
    /// let mut child = command.spawn()?;
    /// drop(passed);
    /// child.wait()?;
    ///
    /// // the worker:
    /// let block = SharedMemory::from_inherited("BLOCK")?;
    /// # Ok(()) }
    /// ```
    pub fn pass_to(&self, command: &mut Command, variable: &str) -> Result<InheritableHandle> {
        pass_to(self.descriptor(Access::Write)?, Access::Write, command, variable)
            .map_err(|error| named(error, self.location()))
    }

    /// What the parent process [passed](Self::pass_to) to this one.
    pub fn from_inherited(variable: &str) -> Result<Self> {
        adopt(redeem_variable(variable)?)
    }

    /// Gives a running process (its id) a handle, and back a ticket that this process sends there by
    /// whatever way it has; there, [`from_ticket`](Self::from_ticket) takes the handle over.
    /// Windows (`DuplicateHandle`); elsewhere [`send`](Self::send).
    ///
    /// A ticket that nobody takes leaves the handle open until the other process ends.
    pub fn duplicate_into(&self, process: u32) -> Result<String> {
        let file = self.open_file()?;
        sys::pass::duplicate_into(file, process)
            .and_then(|number| ticket(number, file, Access::Write))
            .map_err(|error| named(error, self.location()))
    }

    /// Takes over what [`duplicate_into`](Self::duplicate_into) gave this process.
    pub fn from_ticket(ticket: &str) -> Result<Self> {
        adopt(redeem(ticket)?)
    }
}

fn adopt((file, access): (File, Access)) -> Result<SharedMemory> {
    if access != Access::Write {
        return Err(not_writable());
    }
    SharedMemoryOptions::new().map(file, Location::anonymous(), None)
}

impl ReadOnlySharedMemory {
    /// Sends it over a Unix socket; the other side [receives](Self::receive) it.
    pub fn send(&self, socket: &impl AsDescriptor) -> Result<()> {
        send(self.open_file()?, Access::Read, socket).map_err(|e| named(e, self.location()))
    }

    /// Receives what was sent, for reading; see [`SharedMemory::receive`].
    pub fn receive(socket: &impl AsDescriptor) -> Result<Self> {
        SharedMemoryOptions::new().receive_read_only(socket)
    }

    /// Hands it to a child process; see [`SharedMemory::pass_to`].
    pub fn pass_to(&self, command: &mut Command, variable: &str) -> Result<InheritableHandle> {
        sys::shm::reopen(self.open_file()?, Access::Read)
            .and_then(|file| pass_to(file, Access::Read, command, variable))
            .map_err(|error| named(error, self.location()))
    }

    /// What the parent process passed to this one, for reading.
    pub fn from_inherited(variable: &str) -> Result<Self> {
        let (file, _) = redeem_variable(variable)?;
        SharedMemoryOptions::new().map_read_only(file, Location::anonymous())
    }
}

impl SharedMemoryOptions {
    /// Receives what [`SharedMemory::send`] sent, with room to grow, and with what is
    /// [required](Self::require_seals).
    ///
    /// # Errors
    /// [`NotSealed`](ErrorKind::NotSealed), and [`NotWritable`](ErrorKind::NotWritable) if it was sent
    /// for reading.
    pub fn receive(&self, socket: &impl AsDescriptor) -> Result<SharedMemory> {
        let (file, message) = receive(socket, self.required)?;
        if message.access != Access::Write {
            return Err(not_writable());
        }
        self.map(file, Location::anonymous(), None)
    }

    /// The same for reading.
    pub fn receive_read_only(&self, socket: &impl AsDescriptor) -> Result<ReadOnlySharedMemory> {
        let (file, _) = receive(socket, self.required)?;
        self.map_read_only(file, Location::anonymous())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_whole_or_not_at_all() {
        let message =
            Message { access: Access::Write, seals: Seals::GROW | Seals::SHRINK, len: 1 << 40 };
        let bytes = message.to_bytes();
        assert_eq!(Message::from_bytes(bytes), Some(message));
        for at in 0..16 {
            let mut bad = bytes;
            bad[at] ^= 0x80;
            assert_eq!(Message::from_bytes(bad), None, "byte {at}");
        }
    }

    #[test]
    fn tickets_are_checked() {
        for bad in
            ["", "sharemap1:w:1:2", "sharemap1:x:1:2:3", "sharemap1:w:-1:2:3", "other:w:1:2:3"]
        {
            assert_eq!(redeem(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
        let error = redeem("sharemap1:w:987654:2:3").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
