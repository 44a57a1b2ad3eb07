//! The golden images: the objects in FORMAT.md, which this library writes exactly as documented there, and a segment.
//! It opens and uses the bytes of all.

#[path = "golden/channel.rs"]
mod channel;
mod common;
#[path = "golden/format.rs"]
mod format;
#[path = "golden/segment.rs"]
mod segment;

use std::fmt::Write;
use std::path::Path;

use common::{TempDir, need_atomics};
use sharemap::{
    Barrier, Condvar, CountingSemaphore, ErrorKind, Event, Location, LockError, Mutex, Once,
    RwLock, Semaphore, Shared, SharedOptions,
};

type All = (
    (Mutex<u32>, RwLock<[u16; 3]>),
    (Mutex<[u8]>, RwLock<[u8]>),
    (Semaphore, CountingSemaphore, Barrier),
    (Event, Condvar, Once),
);

const DESCRIPTION: &str = "((mutex<u32>,rwlock<[u16;3]>,),(mutex<[u8]>,rwlock<[u8]>,),\
                           (permits,signal,barrier,),(event,condvar,once,),)";

const ID: &[u8; 16] = b"a golden image..";

fn first() -> All {
    (
        (Mutex::new(5), RwLock::new([1, 2, 3])),
        (Mutex::zeroed(3), RwLock::zeroed(5)),
        (Semaphore::new(3), CountingSemaphore::new(2), Barrier::new(1)),
        (Event::auto_reset(), Condvar::new(), Once::new()),
    )
}

/// Changes the state of each lock visibly.
fn use_all(all: &Shared<All>) {
    let ((mutex, lock), (samples, table), (permits, signal, barrier), (event, condvar, once)) =
        &**all;
    *mutex.lock().unwrap() = 7;
    drop(lock.read().unwrap());
    samples.lock().unwrap().view().fill(0xaa).unwrap();
    dies(|| {
        let guard = samples.lock().unwrap();
        guard.view().set(1, 0xbb).unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    let Err(LockError::OwnerDied(dead)) = samples.lock() else { panic!("no `OwnerDied`") };
    dead.poison().unwrap();
    dies(|| {
        let guard = table.write().unwrap();
        guard.view().set(4, 0xcc).unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    drop(permits.acquire().unwrap());
    signal.post().unwrap();
    assert!(barrier.join().unwrap().wait().unwrap());
    event.set().unwrap();
    condvar.notify_all().unwrap();
    once.call(|_| sharemap::Result::Ok(())).unwrap();
}

/// Panics in `action` on this thread, so that only one lane is used.
fn dies(action: impl FnOnce()) {
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(action)).is_err());
}

/// Asserts that each lock has the state that `use_all` left.
fn find_all(all: &Shared<All>) {
    let ((mutex, lock), (samples, table), (permits, signal, barrier), (event, _, once)) = &**all;
    assert_eq!(*mutex.lock().unwrap(), 7);
    assert_eq!(*lock.write().unwrap(), [1, 2, 3]);
    assert_eq!(samples.lock().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(samples.lock_poisoned().unwrap().view().to_vec().unwrap(), [0xaa, 0xbb, 0xaa]);
    let Err(LockError::OwnerDied(dead)) = table.read() else { panic!("no `OwnerDied`") };
    assert_eq!(dead.view().to_vec().unwrap(), [0, 0, 0, 0, 0xcc]);
    assert_eq!((permits.available().unwrap(), signal.count().unwrap()), (3, 3));
    assert!(barrier.join().unwrap().wait().unwrap());
    event.try_wait().unwrap();
    assert_eq!(event.try_wait().unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(once.is_done().unwrap());
}

/// Returns the file with the parts that vary replaced: the id, the boot, the slots in use, and the
/// last participant.
fn image(path: &Path) -> Vec<u8> {
    let mut image = std::fs::read(path).unwrap();
    image[16..32].copy_from_slice(ID);
    image[144..184].fill(0);
    image[512..576].fill(0);
    let sum = image[..120].iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    image[120..128].copy_from_slice(&sum.to_le_bytes());
    image
}

/// Formats an image as in FORMAT.md, which omits lines of zeros.
fn listing(image: &[u8]) -> String {
    let mut text = String::new();
    let has_bytes = |line: &[u8]| line.iter().any(|byte| *byte != 0);
    for (at, line) in image.chunks(16).enumerate().filter(|(_, line)| has_bytes(line)) {
        write!(text, "{:04x} ", at * 16).unwrap();
        line.iter().for_each(|byte| write!(text, " {byte:02x}").unwrap());
        text.push('\n');
    }
    text
}

/// Parses the image of locks in FORMAT.md.
fn documented() -> Vec<u8> {
    documented_as("golden image", 896)
}

/// Parses the image in FORMAT.md that is introduced so, and has this length.
fn documented_as(introduction: &str, len: usize) -> Vec<u8> {
    let text = include_str!("../../../FORMAT.md");
    let begin = format!("{introduction}:\n\n```\n");
    let (_, rest) = text.split_once(&begin).expect("FORMAT.md has the image");
    let (lines, _) = rest.split_once("```").unwrap();
    let mut image = vec![0; len];
    for line in lines.lines() {
        let (at, bytes) = line.split_once("  ").unwrap();
        let at = usize::from_str_radix(at, 16).unwrap();
        for (index, byte) in bytes.split(' ').enumerate() {
            image[at + index] = u8::from_str_radix(byte, 16).unwrap();
        }
    }
    image
}

/// The library writes the documented image.
#[test]
fn the_library_writes_the_documented_image() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("made");
    let small = SharedOptions::new().participants(1).lanes(1);
    let all = small.create_new(Location::file(&path), first).unwrap();
    use_all(&all);
    drop(all);
    let made = listing(&image(&path));
    assert!(made == listing(&documented()), "FORMAT.md should have\n{made}");
}

/// The library opens the documented image and finds the state of every lock.
#[test]
fn the_library_uses_the_documented_image() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.file("documented", documented());
    let all = Shared::<All>::open(Location::file(&path)).unwrap();
    find_all(&all);
    drop(all);
    find_again(&path);
}

/// Asserts that the object remains usable after the first use.
fn find_again(path: &Path) {
    let all = Shared::<All>::open(Location::file(path)).unwrap();
    *all.0.0.lock().unwrap() += 1;
    drop(all.1.0.lock_poisoned().unwrap().mark_consistent());
    assert_eq!(all.1.0.lock().unwrap().view().get(1).unwrap(), 0xbb);
    assert_eq!(*all.0.0.lock().unwrap(), 8);
}

/// The fingerprint follows from the description by the rules of FORMAT.md, computed independently
/// of the library.
#[test]
fn the_fingerprint_is_the_hash_of_the_description() {
    assert_eq!(documented()[40..56], fnv(DESCRIPTION));
}

/// Returns the FNV-1a hash of 128 bits.
fn fnv(text: &str) -> [u8; 16] {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = (1 << 88) + (1 << 8) + 0x3b;
    let step = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(PRIME);
    text.bytes().fold(BASIS, step).to_le_bytes()
}
