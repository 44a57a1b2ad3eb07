//! Passing shared memory to other processes by descriptor: over sockets, by inheritance, by ticket.

use std::fs::File;
use std::process::Command;

use crate::error::{Error, ErrorKind, Result};
use crate::shm::location::named;
use crate::shm::{Location, ReadOnlySharedMemory, SharedMemory, SharedMemoryOptions};
use crate::sys::{self, Access, AsDescriptor, FileKind, Seals};

/// The length of the message beside the descriptor. Little-endian: magic (8 bytes), access of the
/// receiver (4; 0 read, 1 read and write), seals (4), length of the memory (8).
const MESSAGE: usize = 24;
const MAGIC: [u8; 8] = *b"shmpass1";

/// The operation that opens a passed handle, for errors.
const FIND: &str = "open the passed handle";

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

/// Sends a descriptor opened for the receiver, with a message that describes it.
fn send(file: &File, access: Access, socket: &impl AsDescriptor) -> Result<()> {
    let message =
        Message { access, seals: sys::shm::seals(file)?, len: sys::file::status(file)?.len };
    let given = match sys::shm::reopen(file, access) {
        // Without /proc the memory cannot be opened again: the receiver shares this description.
        Err(error) if error.kind() == ErrorKind::NotFound && access == Access::Write => {
            sys::file::duplicate(file)?
        }
        result => result?,
    };
    sys::pass::send(&socket.duplicate_descriptor()?, &message.to_bytes(), &given)
}

/// Receives a descriptor, and checks it against the message and the `required` seals.
///
/// The sender is not trusted: it may send any descriptor, with any message.
fn receive(socket: &impl AsDescriptor, required: Seals) -> Result<(File, Message)> {
    const OPERATION: &str = "receive";
    let mut bytes = [0; MESSAGE];
    let file = sys::pass::receive(&socket.duplicate_descriptor()?, &mut bytes)?;
    let Some(message) = Message::from_bytes(bytes) else {
        return Err(Error::new(ErrorKind::Invalid, OPERATION)
            .with_detail("the message was not sent by `SharedMemory::send`"));
    };
    let refuse = |kind, detail: String| Err(Error::new(kind, OPERATION).with_detail(detail));
    let status = sys::file::status(&file)?;
    if status.kind != FileKind::Regular {
        return refuse(
            ErrorKind::NotAnObject,
            "the descriptor does not refer to shared memory".into(),
        );
    }
    if let Err(what) = sys::shm::is_memory(&file) {
        // A page fault on a file may block for ever, if a malicious file system serves it (FUSE).
        return refuse(ErrorKind::NotAnObject, what);
    }
    let seals = sys::shm::seals(&file)?;
    let wanted = message.seals | required;
    if !seals.contains(wanted) {
        let detail = format!("its seals are {seals:?}, but must include {wanted:?}");
        return refuse(ErrorKind::NotSealed, detail);
    }
    if status.len < message.len || status.len == 0 {
        let detail = format!("it has {} bytes, but the sender stated {}", status.len, message.len);
        return refuse(ErrorKind::WrongSize, detail);
    }
    Ok((file, message))
}

/// An open handle that the next child process inherits, returned by [`SharedMemory::pass_to`].
///
/// Keep it until [`spawn`](Command::spawn) has returned, then drop it. If it is dropped before, the
/// child does not get the memory.
///
/// # Examples
/// See [`SharedMemory::pass_to`].
#[derive(Debug)]
#[must_use = "the child does not inherit the memory if this is dropped before it is started"]
pub struct InheritableHandle(#[allow(dead_code, reason = "open, for the child to inherit")] File);

/// Returns the text that describes a passed handle: its access, its number, and the identity of the
/// memory, which `sys::pass::find` compares.
fn ticket(number: u64, file: &File, access: Access) -> Result<String> {
    let [volume, index] = sys::pass::identity(file)?;
    let access = if access == Access::Write { 'w' } else { 'r' };
    Ok(format!("sharemap1:{access}:{number}:{volume}:{index}"))
}

/// Opens the handle that a ticket describes.
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
        _ => {
            Err(Error::new(ErrorKind::Invalid, FIND)
                .with_detail(format!("{ticket:?} is not a ticket")))
        }
    }
}

/// Opens the handle that the ticket in an environment variable describes.
fn redeem_variable(variable: &str) -> Result<(File, Access)> {
    let ticket = std::env::var(variable).map_err(|_| {
        Error::new(ErrorKind::NotFound, FIND).with_detail(format!(
            "the environment has no {variable}; start this process by a command that was given to \
             `pass_to`"
        ))
    })?;
    redeem(&ticket)
}

fn not_writable() -> Error {
    Error::new(ErrorKind::NotWritable, FIND)
        .with_detail("it was passed for reading only; use `ReadOnlySharedMemory`")
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
    /// Sends the memory over a Unix socket, for reading and writing. The other process
    /// [receives](Self::receive) it.
    ///
    /// A descriptor goes with the message (`SCM_RIGHTS`). On Linux it has an open file description of
    /// its own, so its position and its locks are not shared with this handle. On Windows use
    /// [`duplicate_into`](Self::duplicate_into).
    ///
    /// # Errors
    /// - `Unsupported` - on Windows, where sockets carry no handles.
    /// - `NotWritable` - this user may no longer open the memory for writing.
    /// - `TooManyFiles` - the process or the system has no free file descriptors.
    ///
    /// Other kinds report a failed system call, for instance if the receiver closed the socket.
    ///
    /// # Examples
    /// ```
    /// use sharemap::{AsDescriptor, SharedMemory};
    ///
    /// /// Passes memory from one end of a `UnixStream` to the other.
    /// fn pass(here: &impl AsDescriptor, there: &impl AsDescriptor) -> sharemap::Result<()> {
    ///     let block = SharedMemory::anonymous(4096)?;
    ///     block.bytes().write_at(0, b"hello")?;
    ///     block.send(here)?;
    ///
    ///     let block = SharedMemory::receive(there)?; // in another process
    ///     assert_eq!(block.bytes().get(0)?, b'h');
    ///     Ok(())
    /// }
    /// ```
    #[doc(alias = "SCM_RIGHTS")]
    pub fn send(&self, socket: &impl AsDescriptor) -> Result<()> {
        send(self.open_file()?, Access::Write, socket).map_err(|e| named(e, self.location()))
    }

    /// Sends the memory over a Unix socket, for reading only.
    ///
    /// The descriptor does not permit writing, but a receiver that runs as the same user can open the
    /// memory again for writing. To prevent all writes, [`freeze`](Self::freeze) it instead.
    ///
    /// # Errors
    /// - `Unsupported` - on macOS, which cannot make a read-only descriptor of a writable one, and on
    ///   Windows.
    ///
    /// Otherwise as for [`send`](Self::send).
    pub fn send_read_only(&self, socket: &impl AsDescriptor) -> Result<()> {
        send(self.open_file()?, Access::Read, socket).map_err(|e| named(e, self.location()))
    }

    /// Receives the memory that another process [sent](Self::send), and maps all of it.
    ///
    /// The call blocks until a message arrives, unless the socket is non-blocking. The sender is not
    /// trusted: the descriptor must be of memory, and not of a file, because a file system could
    /// block every access; and it must have the length and the seals that the sender states. To require
    /// seals, use [`SharedMemoryOptions::receive`].
    ///
    /// # Errors
    /// As for [`SharedMemoryOptions::receive`].
    ///
    /// # Examples
    /// See [`send`](Self::send).
    #[doc(alias = "SCM_RIGHTS")]
    pub fn receive(socket: &impl AsDescriptor) -> Result<Self> {
        SharedMemoryOptions::new().receive(socket)
    }

    /// Passes the memory to the child process that `command` is about to start.
    ///
    /// The child opens it by [`from_inherited`](Self::from_inherited), with the same `variable` of its
    /// environment. Keep the returned handle until the child has been started, and use the command
    /// for one child. On Windows every child that is started while the handle exists inherits it.
    ///
    /// # Errors
    /// - `NotWritable` - this user may no longer open the memory for writing.
    /// - `TooManyFiles` - the process or the system has no free file descriptors.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
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

    /// Opens the memory that the parent process [passed](Self::pass_to) to this one.
    ///
    /// # Errors
    /// - `NotFound` - the environment has no `variable`, or the handle that it names is not open in
    ///   this process.
    /// - `Invalid` - the variable was not set by `pass_to`.
    /// - `NotWritable` - the memory was passed for reading; use
    ///   [`ReadOnlySharedMemory::from_inherited`].
    ///
    /// Otherwise as for [`from_descriptor`](Self::from_descriptor).
    ///
    /// # Examples
    /// See [`pass_to`](Self::pass_to).
    pub fn from_inherited(variable: &str) -> Result<Self> {
        adopt(redeem_variable(variable)?)
    }

    /// Duplicates the handle into the running process with the id `process`, and returns a ticket
    /// (`DuplicateHandle`). Windows only; elsewhere use [`send`](Self::send).
    ///
    /// Send the ticket to that process, for instance over a pipe. There,
    /// [`from_ticket`](Self::from_ticket) opens the memory. If it never does, the handle stays open
    /// until the process ends.
    ///
    /// # Errors
    /// - `Unsupported` - on Linux and macOS.
    /// - `PermissionDenied` - this user may not duplicate handles into the process.
    ///
    /// Other kinds report a failed system call, for instance if there is no such process.
    #[doc(alias = "DuplicateHandle")]
    pub fn duplicate_into(&self, process: u32) -> Result<String> {
        let file = self.open_file()?;
        sys::pass::duplicate_into(file, process)
            .and_then(|number| ticket(number, file, Access::Write))
            .map_err(|error| named(error, self.location()))
    }

    /// Opens the memory that another process [duplicated into](Self::duplicate_into) this one.
    ///
    /// # Errors
    /// - `Invalid` - `ticket` was not returned by `duplicate_into`.
    /// - `NotFound` - the handle is not open in this process, or the ticket was used before.
    ///
    /// Otherwise as for [`from_descriptor`](Self::from_descriptor).
    pub fn from_ticket(ticket: &str) -> Result<Self> {
        adopt(redeem(ticket)?)
    }
}

/// Maps a handle that was passed, if it was passed for writing.
fn adopt((file, access): (File, Access)) -> Result<SharedMemory> {
    if access != Access::Write {
        return Err(not_writable());
    }
    SharedMemoryOptions::new().map(file, Location::anonymous(), None)
}

impl ReadOnlySharedMemory {
    /// Sends the memory over a Unix socket. The other process [receives](Self::receive) it.
    ///
    /// # Errors
    /// As for [`SharedMemory::send_read_only`].
    #[doc(alias = "SCM_RIGHTS")]
    pub fn send(&self, socket: &impl AsDescriptor) -> Result<()> {
        send(self.open_file()?, Access::Read, socket).map_err(|e| named(e, self.location()))
    }

    /// Receives the memory that another process sent, and maps all of it for reading.
    ///
    /// The checks are those of [`SharedMemory::receive`].
    ///
    /// # Errors
    /// As for [`SharedMemoryOptions::receive_read_only`].
    #[doc(alias = "SCM_RIGHTS")]
    pub fn receive(socket: &impl AsDescriptor) -> Result<Self> {
        SharedMemoryOptions::new().receive_read_only(socket)
    }

    /// Passes the memory to the child process that `command` is about to start, for reading. See
    /// [`SharedMemory::pass_to`].
    ///
    /// # Errors
    /// - `Unsupported` - on macOS, which cannot open the memory again for reading.
    ///
    /// Otherwise as for [`SharedMemory::pass_to`], except `NotWritable`.
    pub fn pass_to(&self, command: &mut Command, variable: &str) -> Result<InheritableHandle> {
        sys::shm::reopen(self.open_file()?, Access::Read)
            .and_then(|file| pass_to(file, Access::Read, command, variable))
            .map_err(|error| named(error, self.location()))
    }

    /// Opens the memory that the parent process passed to this one, for reading. The parent may have
    /// passed it by [`SharedMemory::pass_to`] or by [`pass_to`](Self::pass_to).
    ///
    /// # Errors
    /// - `NotFound` - the environment has no `variable`, or the handle that it names is not open in
    ///   this process.
    /// - `Invalid` - the variable was not set by `pass_to`.
    ///
    /// Otherwise as for [`from_descriptor`](Self::from_descriptor).
    pub fn from_inherited(variable: &str) -> Result<Self> {
        let (file, _) = redeem_variable(variable)?;
        SharedMemoryOptions::new().map_read_only(file, Location::anonymous())
    }
}

impl SharedMemoryOptions {
    /// Receives the memory that another process [sent](SharedMemory::send), and maps all of it with
    /// these options.
    ///
    /// # Errors
    /// - `Invalid` - the message was not sent by `SharedMemory::send`, or the sender closed the
    ///   socket.
    /// - `NotAnObject` - the descriptor is not of memory.
    /// - `NotSealed` - the memory lacks a seal that the sender states or that is
    ///   [required](Self::require_seals).
    /// - `WrongSize` - the memory is shorter than the sender states, or empty.
    /// - `NotWritable` - the memory was sent for reading; use
    ///   [`receive_read_only`](Self::receive_read_only).
    /// - `Busy` - the socket is non-blocking, and there is no message.
    /// - `OutOfAddressSpace` - there is no address space for the memory or for `max`.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    /// - `TooManyFiles` - the process or the system has no free file descriptors.
    /// - `Unsupported` - on Windows, where sockets carry no handles.
    ///
    /// Other kinds report a failed system call.
    pub fn receive(&self, socket: &impl AsDescriptor) -> Result<SharedMemory> {
        let (file, message) = receive(socket, self.required)?;
        if message.access != Access::Write {
            return Err(not_writable());
        }
        self.map(file, Location::anonymous(), None)
    }

    /// Receives the memory that another process sent, and maps all of it for reading with these
    /// options.
    ///
    /// # Errors
    /// As for [`receive`](Self::receive), except `NotWritable`.
    pub fn receive_read_only(&self, socket: &impl AsDescriptor) -> Result<ReadOnlySharedMemory> {
        let (file, _) = receive(socket, self.required)?;
        self.map_read_only(file, Location::anonymous())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_message_is_refused() {
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
    fn a_malformed_ticket_is_refused() {
        for bad in
            ["", "sharemap1:w:1:2", "sharemap1:x:1:2:3", "sharemap1:w:-1:2:3", "other:w:1:2:3"]
        {
            assert_eq!(redeem(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
        }
        let error = redeem("sharemap1:w:987654:2:3").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
