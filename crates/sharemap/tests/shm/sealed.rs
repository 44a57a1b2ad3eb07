//! Seals and frozen memory.

use std::time::{Duration, Instant};

use sharemap::{ErrorKind, ReadOnlySharedMemory, Result, Seals, SharedMemory, page_size};

use super::Name;

/// Freezes the memory as soon as no child that another test forks has it mapped: where the system
/// copies a process to start a program, as emulators do, every child maps it until then.
pub(crate) fn freeze(mut memory: SharedMemory) -> Result<ReadOnlySharedMemory> {
    let start = Instant::now();
    loop {
        let file = memory.file().expect("shared memory has a file").try_clone()?;
        match memory.freeze() {
            Err(error)
                if error.kind() == ErrorKind::Busy && start.elapsed() < Duration::from_secs(30) =>
            {
                memory = SharedMemory::from_descriptor(&file)?;
                std::thread::yield_now();
            }
            result => return result,
        }
    }
}

/// Frozen memory is available as a plain slice.
#[test]
fn frozen_memory_is_a_plain_slice() {
    let memory = SharedMemory::anonymous(2 * page_size() as u64).unwrap();
    memory.bytes().write_at(page_size() - 2, b"settled").unwrap();
    let frozen = match freeze(memory) {
        Ok(frozen) => frozen,
        Err(error) if cfg!(not(target_os = "linux")) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            super::common::skip!("{error}");
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(frozen.seals().unwrap(), Seals::SHRINK | Seals::GROW | Seals::WRITE);
    let bytes = frozen.frozen().unwrap();
    assert_eq!(&bytes[page_size() - 2..page_size() + 5], b"settled");
    assert_eq!(
        SharedMemory::from_descriptor(frozen.file().unwrap()).unwrap_err().kind(),
        ErrorKind::NotWritable
    );
}

/// Sealed operations fail.
#[cfg(target_os = "linux")]
#[test]
fn sealed_operations_fail() {
    let memory =
        SharedMemory::options().max(1 << 20).create_new(sharemap::Location::anonymous(), 4096);
    let memory = memory.unwrap();
    assert_eq!(memory.seals().unwrap(), Seals::NONE);
    memory.seal(Seals::SHRINK).unwrap();
    assert!(memory.file().unwrap().set_len(100).is_err());
    memory.grow(8192).unwrap();
    memory.seal(Seals::GROW).unwrap();
    assert_eq!(memory.grow(16384).unwrap_err().kind(), ErrorKind::NotWritable);
    assert_eq!(memory.seals().unwrap(), Seals::SHRINK | Seals::GROW);
    assert_eq!(memory.seal(Seals::WRITE).unwrap_err().kind(), ErrorKind::Unsupported);
    memory.bytes().set(8191, 1).unwrap();
}

/// A writable mapping prevents freezing.
#[cfg(target_os = "linux")]
#[test]
fn a_writable_mapping_prevents_freezing() {
    let memory = SharedMemory::anonymous(4096).unwrap();
    let writer = SharedMemory::from_descriptor(memory.file().unwrap()).unwrap();
    let reader = memory.read_only().unwrap();
    assert_eq!(memory.freeze().unwrap_err().kind(), ErrorKind::Busy);
    writer.bytes().set(0, 1).unwrap();
    assert_eq!(reader.bytes().get(0).unwrap(), 1);
    let frozen = freeze(writer).unwrap();
    assert_eq!((frozen.frozen().unwrap()[0], reader.frozen().unwrap()[0]), (1, 1));
}

/// Seals on named objects are unsupported.
#[test]
fn named_objects_cannot_be_sealed() {
    let name = Name::new();
    let memory = SharedMemory::create_new(&*name, 100).unwrap();
    assert_eq!(memory.seal(Seals::SHRINK).unwrap_err().kind(), ErrorKind::Unsupported);
    let frozen = memory.read_only().unwrap();
    assert_eq!(frozen.frozen().unwrap_err().kind(), ErrorKind::Unsupported);
}
