//! Objects created by other programs and opened by the library, and the reverse.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::FromRawFd;
use std::process::{Command, Stdio};

use sharemap::SharedMemory;

use super::Name;
use super::common::skip;

/// The library opens an object that a C program created, and the reverse.
#[test]
fn c_programs_share_objects() {
    let name = Name::new();
    let theirs = CString::new(format!("/{}", &*name)).unwrap();
    // SAFETY: a terminated name; the new descriptor has no other owner.
    let file = unsafe {
        let fd =
            libc::shm_open(theirs.as_ptr(), libc::O_CREAT | libc::O_EXCL | libc::O_RDWR, 0o600);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        File::from_raw_fd(fd)
    };
    file.set_len(5000).unwrap();
    let ours = SharedMemory::open(&*name).unwrap();
    assert_eq!(ours.len(), 5000);
    ours.bytes().write_at(100, b"ours").unwrap();
    let mut bytes = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 100).unwrap();
    assert_eq!(&bytes, b"ours");
    // SAFETY: a terminated name.
    assert_eq!(unsafe { libc::shm_unlink(theirs.as_ptr()) }, 0);
    // A C program opens an object that the library created.
    let ours = SharedMemory::create_new(&*name, 300).unwrap();
    // SAFETY: a terminated name; the new descriptor has no other owner.
    let file = unsafe {
        let fd = libc::shm_open(theirs.as_ptr(), libc::O_RDWR, 0);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        File::from_raw_fd(fd)
    };
    std::os::unix::fs::FileExt::write_all_at(&file, b"theirs", 0).unwrap();
    assert_eq!(ours.bytes().get(5).unwrap(), b's');
}

const PROGRAM: &str = r#"
import sys
from multiprocessing import shared_memory
name = sys.argv[1]
block = shared_memory.SharedMemory(name, create=True, size=10000)
block.buf[0:6] = b"python"
print("ready", flush=True)
sys.stdin.readline()
assert bytes(block.buf[9000:9005]) == b"hello", bytes(block.buf[9000:9005])
block.close()
block.unlink()
print("done", flush=True)
"#;

/// The library opens a block that a Python program created.
#[test]
fn a_python_block_is_opened() {
    let name = Name::new();
    let psm = format!("psm_{}", &*name);
    let started = Command::new("python3")
        .args(["-c", PROGRAM, &psm])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut python = match started {
        Ok(python) => python,
        Err(error) => skip!("no python3 here: {error}"),
    };
    let mut lines = BufReader::new(python.stdout.take().unwrap()).lines();
    match lines.next() {
        Some(Ok(line)) => assert_eq!(line, "ready"),
        _ => skip!("this python3 has no multiprocessing.shared_memory"),
    }
    let block = SharedMemory::open(&*psm).unwrap();
    assert_eq!(block.len(), 10_000);
    let mut text = [0; 6];
    block.bytes().read_at(0, &mut text).unwrap();
    assert_eq!(&text, b"python");
    block.bytes().write_at(9000, b"hello").unwrap();
    python.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "done");
    assert!(python.wait().unwrap().success());
    assert_eq!(SharedMemory::open(&*psm).unwrap_err().kind(), sharemap::ErrorKind::NotFound);
}
