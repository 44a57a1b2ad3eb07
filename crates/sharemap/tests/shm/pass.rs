//! Passing anonymous memory to other processes: by inheritance, over a socket, by duplication.

use sharemap::{ErrorKind, ReadOnlySharedMemory, SharedMemory};

use super::common::{child, passes, role};

/// A child can inherit memory for reading and writing.
#[test]
fn a_child_inherits_memory() {
    const TEST: &str = "pass::a_child_inherits_memory";
    if role(TEST).is_some() {
        let block = SharedMemory::from_inherited("SHAREMAP_TEST_BLOCK").unwrap();
        assert_eq!(block.bytes().get(0).unwrap(), 7);
        block.bytes().set(4999, 8).unwrap();
        let wrong = SharedMemory::from_inherited("SHAREMAP_TEST_NONE").unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::NotFound);
        return;
    }
    let block = SharedMemory::anonymous(5000).unwrap();
    block.bytes().set(0, 7).unwrap();
    let mut command = child(TEST, "");
    let passed = block.pass_to(&mut command, "SHAREMAP_TEST_BLOCK").unwrap();
    if passes(command) {
        assert_eq!(block.bytes().get(4999).unwrap(), 8);
    }
    drop(passed);
}

/// A child that inherits memory for reading cannot open it for writing.
#[test]
fn a_child_inherits_memory_for_reading() {
    const TEST: &str = "pass::a_child_inherits_memory_for_reading";
    if role(TEST).is_some() {
        let refused = SharedMemory::from_inherited("SHAREMAP_TEST_BLOCK").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotWritable);
        return;
    }
    let block = SharedMemory::anonymous(5000).unwrap();
    block.bytes().set(0, 7).unwrap();
    let read = match block.read_only() {
        Ok(read) => read,
        Err(error) => super::common::skip!("{error}"),
    };
    let mut command = child(TEST, "");
    let passed = read.pass_to(&mut command, "SHAREMAP_TEST_BLOCK").unwrap();
    passes(command);
    drop(passed);
}

/// A ticket for another process or object, and an invalid one, are rejected.
#[test]
fn a_foreign_ticket_is_rejected() {
    // The descriptor is open in this process, but belongs to another file.
    let ticket = "sharemap1:w:1:77:88";
    assert_eq!(SharedMemory::from_ticket(ticket).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(SharedMemory::from_ticket("x").unwrap_err().kind(), ErrorKind::Invalid);
    let error = ReadOnlySharedMemory::from_inherited("SHAREMAP_TEST_UNSET").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// A handle can be duplicated into a running process, which accepts its ticket once.
#[test]
fn a_handle_is_duplicated_into_a_process() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;
    const TEST: &str = "pass::a_handle_is_duplicated_into_a_process";
    if role(TEST).is_some() {
        let mut ticket = String::new();
        BufReader::new(std::io::stdin()).read_line(&mut ticket).unwrap();
        let block = SharedMemory::from_ticket(ticket.trim()).unwrap();
        block.bytes().set(1, 9).unwrap();
        assert_eq!(
            SharedMemory::from_ticket(ticket.trim()).unwrap_err().kind(),
            ErrorKind::NotFound,
            "it was taken twice"
        );
        return;
    }
    let block = SharedMemory::anonymous(5000).unwrap();
    if let Err(error) = block.duplicate_into(std::process::id()) {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        super::common::skip!("{error}");
    }
    let mut child = child(TEST, "").stdin(Stdio::piped()).spawn().unwrap();
    let ticket = block.duplicate_into(child.id()).unwrap();
    writeln!(child.stdin.take().unwrap(), "{ticket}").unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(block.bytes().get(1).unwrap(), 9);
}

#[cfg(unix)]
#[cfg_attr(not(target_os = "linux"), allow(unused_imports, dead_code))]
mod over_a_socket {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use sharemap::{ErrorKind, ReadOnlySharedMemory, Seals, SharedMemory};

    use super::super::common::{TempDir, child, passes, role, skip};

    /// Memory sent over a socket can be written by the receiver.
    #[test]
    fn to_another_process() {
        const TEST: &str = "pass::over_a_socket::to_another_process";
        if let Some(path) = role(TEST) {
            let socket = UnixStream::connect(path).unwrap();
            let block = SharedMemory::receive(&socket).unwrap();
            assert_eq!(block.bytes().get(0).unwrap(), 7);
            block.bytes().set(4999, 8).unwrap();
            return;
        }
        let dir = TempDir::new();
        let path = dir.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let block = SharedMemory::anonymous(5000).unwrap();
        block.bytes().set(0, 7).unwrap();
        let sent = std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let (socket, _) = listener.accept().unwrap();
                block.send(&socket)
            });
            if !passes(child(TEST, &path)) {
                // No receiver connected, so this connection releases the sender.
                drop(UnixStream::connect(&path));
            }
            sender.join().unwrap()
        });
        if sent.is_ok() {
            assert_eq!(block.bytes().get(4999).unwrap(), 8);
        }
    }

    /// The receiver gets an open file description of its own.
    #[test]
    fn the_receiver_has_its_own_description() {
        let (here, there) = UnixStream::pair().unwrap();
        let block = SharedMemory::anonymous(5000).unwrap();
        block.send(&here).unwrap();
        let received = SharedMemory::receive(&there).unwrap();
        received.bytes().set(3, 4).unwrap();
        assert_eq!(block.bytes().get(3).unwrap(), 4);
        let mut position = block.file().unwrap();
        std::io::Seek::seek(&mut position, std::io::SeekFrom::Start(77)).unwrap();
        let mut theirs = received.file().unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(std::io::Seek::stream_position(&mut theirs).unwrap(), 0);
        }
        // SAFETY: queries an open descriptor.
        let flags = unsafe { libc::fcntl(theirs.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }

    /// Memory sent for reading cannot be received for writing.
    #[test]
    #[cfg(target_os = "linux")]
    fn for_reading_only() {
        let (here, there) = UnixStream::pair().unwrap();
        let block = SharedMemory::anonymous(5000).unwrap();
        block.send_read_only(&here).unwrap();
        let read = ReadOnlySharedMemory::receive(&there).unwrap();
        block.bytes().set(3, 4).unwrap();
        assert_eq!(read.bytes().get(3).unwrap(), 4);
        assert!(SharedMemory::from_descriptor(read.file().unwrap()).is_err());
        block.send_read_only(&here).unwrap();
        let refused = SharedMemory::receive(&there).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotWritable);
    }

    /// A receiver can require seals.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_receiver_can_require_seals() {
        let (here, there) = UnixStream::pair().unwrap();
        let careful = SharedMemory::options().require_seals(Seals::SHRINK);
        let block = SharedMemory::anonymous(5000).unwrap();
        block.send(&here).unwrap();
        assert_eq!(careful.receive(&there).unwrap_err().kind(), ErrorKind::NotSealed);
        block.seal(Seals::SHRINK | Seals::GROW).unwrap();
        block.send(&here).unwrap();
        let received = careful.receive(&there).unwrap();
        assert_eq!(received.seals().unwrap(), Seals::SHRINK | Seals::GROW);
        let frozen = {
            drop(received);
            crate::sealed::freeze(block).unwrap()
        };
        frozen.send(&here).unwrap();
        let received = ReadOnlySharedMemory::receive(&there).unwrap();
        assert_eq!(received.frozen().unwrap().len(), 5000);
    }

    fn message(access: u32, seals: u32, len: u64) -> Vec<u8> {
        let mut bytes = b"shmpass1".to_vec();
        bytes.extend(access.to_le_bytes());
        bytes.extend(seals.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes
    }

    /// Sends the given bytes and descriptors, as an untrusted peer might.
    fn send_raw(socket: &impl AsRawFd, bytes: &[u8], descriptors: &[RawFd]) {
        let mut control = [0u64; 16];
        let mut part =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        // SAFETY: the control buffer is aligned and has space for a header and eight descriptors;
        // zeros are an empty message.
        unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            if !descriptors.is_empty() {
                let len = size_of_val(descriptors) as u32;
                header.msg_control = control.as_mut_ptr().cast();
                header.msg_controllen = libc::CMSG_SPACE(len) as _;
                let item = libc::CMSG_FIRSTHDR(&header);
                (*item).cmsg_level = libc::SOL_SOCKET;
                (*item).cmsg_type = libc::SCM_RIGHTS;
                (*item).cmsg_len = libc::CMSG_LEN(len) as _;
                let to = libc::CMSG_DATA(item).cast::<RawFd>();
                for (at, descriptor) in descriptors.iter().enumerate() {
                    to.add(at).write_unaligned(*descriptor);
                }
            }
            let sent = libc::sendmsg(socket.as_raw_fd(), &header, 0);
            assert_eq!(sent, bytes.len() as isize, "{}", std::io::Error::last_os_error());
        }
    }

    #[cfg(target_os = "linux")]
    fn open_descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    /// Malformed messages are rejected, and their descriptors closed.
    #[test]
    #[cfg(target_os = "linux")]
    fn malformed_messages_are_rejected() {
        const TEST: &str = "pass::over_a_socket::malformed_messages_are_rejected";
        if role(TEST).is_none() {
            // Runs in a process of its own, because open descriptors are counted.
            passes(child(TEST, ""));
            return;
        }
        let dir = TempDir::new();
        let on_disk =
            File::options().read(true).write(true).open(dir.file("disk", [1; 5000])).unwrap();
        let is_disk = SharedMemory::from_descriptor(&on_disk).unwrap().file_system().unwrap();
        let memory = SharedMemory::anonymous(5000).unwrap();
        let good = memory.file().unwrap().as_raw_fd();
        let empty = super::super::common::memfd("empty");
        let (socket, _other) = UnixDatagram::pair().unwrap();
        let directory = File::open(dir.path()).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let (pipe, _end) = std::io::pipe().unwrap();
        let ok = message(1, 0, 5000);
        let whole = ok.clone();
        let mut cases: Vec<(&str, Vec<u8>, Vec<RawFd>, ErrorKind)> = vec![
            ("no descriptor", ok.clone(), vec![], ErrorKind::Invalid),
            ("two descriptors", ok.clone(), vec![good, good], ErrorKind::Invalid),
            ("a socket", ok.clone(), vec![socket.as_raw_fd()], ErrorKind::NotAnObject),
            ("a directory", ok.clone(), vec![directory.as_raw_fd()], ErrorKind::NotAnObject),
            ("a device", ok.clone(), vec![null.as_raw_fd()], ErrorKind::NotAnObject),
            ("a pipe", ok.clone(), vec![pipe.as_raw_fd()], ErrorKind::NotAnObject),
            (
                "memory of no length",
                message(1, 0, 0),
                vec![empty.as_raw_fd()],
                ErrorKind::WrongSize,
            ),
            ("a length too large", message(1, 0, 5001), vec![good], ErrorKind::WrongSize),
            ("a length without sense", message(1, 0, u64::MAX), vec![good], ErrorKind::WrongSize),
            ("seals that it has not", message(1, 1, 5000), vec![good], ErrorKind::NotSealed),
            ("unknown seals", message(1, 64, 5000), vec![good], ErrorKind::Invalid),
            ("unknown access", message(7, 0, 5000), vec![good], ErrorKind::Invalid),
            ("another message", vec![b'x'; 24], vec![good], ErrorKind::Invalid),
        ];
        if is_disk != "tmpfs" {
            let disk = vec![on_disk.as_raw_fd()];
            cases.push(("a file on a disk", whole, disk, ErrorKind::NotAnObject));
        }
        for (what, bytes, descriptors, expected) in &cases {
            let (here, there) = UnixStream::pair().unwrap();
            let before = open_descriptors();
            send_raw(&here, bytes, descriptors);
            let error = SharedMemory::receive(&there).expect_err(what);
            assert_eq!(error.kind(), *expected, "{what}: {error}");
            assert_eq!(open_descriptors(), before, "{what} left descriptors open");
        }
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(&ok[..5]).unwrap();
        drop(here);
        assert_eq!(SharedMemory::receive(&there).unwrap_err().kind(), ErrorKind::Invalid);
        let (here, there) = UnixStream::pair().unwrap();
        drop(here);
        assert_eq!(SharedMemory::receive(&there).unwrap_err().kind(), ErrorKind::Invalid);
        // The message arrives in pieces and is complete at the end.
        let (mut here, there) = UnixStream::pair().unwrap();
        send_raw(&here, &ok[..3], &[good]);
        here.write_all(&ok[3..]).unwrap();
        assert_eq!(SharedMemory::receive(&there).unwrap().len(), 5000);
        eprintln!("{} messages of strangers", cases.len() + 2);
    }

    /// A named object can be sent, too.
    #[test]
    fn a_named_object_is_sent() {
        let name = super::super::Name::new();
        let block = SharedMemory::create_new(&*name, 5000).unwrap();
        let (here, there) = UnixStream::pair().unwrap();
        if let Err(error) = block.send(&here) {
            skip!("{error}");
        }
        SharedMemory::unlink(&*name).unwrap();
        let received = SharedMemory::receive(&there).unwrap();
        received.bytes().set(9, 1).unwrap();
        assert_eq!(block.bytes().get(9).unwrap(), 1);
    }
}
