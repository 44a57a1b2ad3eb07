//! Step 5: the file is truncated during a read.

use super::peer::{Action, Peer};
use super::scene::{Outcome, Scene, Step, expect};
use crate::system::{self, Death, procfs};
use sharemap::{ErrorKind, Mapping};
use std::error::Error;
use std::fs::OpenOptions;
use std::path::Path;

pub(super) const STEP: Step = Step {
    name: "truncate",
    title: "Another process truncates the file during a read: an error, not a dead process",
    run,
};

const SIZE: u64 = 1 << 20;

/// The refusal of Windows to truncate a mapped file: ERROR_USER_MAPPED_FILE.
const MAPPED: &str = "refused 1224";

fn run(scene: &mut Scene<'_>) -> Outcome {
    let path = scene.path("cut.bin");
    std::fs::write(&path, vec![7; SIZE as usize])?;
    let mut map = Mapping::open(&path)?;
    let mut peer = scene.peer(Action::CutInHalf, &path)?;
    let id = peer.id();
    peer.ready()?;
    scene.did(format!("mapped cut.bin of {SIZE} bytes; process {id} cuts it in half meanwhile"));
    peer.go()?;
    let read = read_until_done(&map, peer)?;
    if let Some(refusal) = read.refusal {
        scene.saw(format!("the system refuses to truncate a mapped file: {refusal}"));
        expect(read.error.is_none(), "no read should have failed")?;
        return expect(map.bytes().get(SIZE as usize - 1)? == 7, "the file should be unchanged");
    }
    let error = read.error.ok_or("the reader should have met an error")?;
    scene.saw(format!("after {} whole reads: {error}", read.whole));
    expect(error.kind() == ErrorKind::Fault, "the error should be a fault")?;
    let met = error.offset().is_some_and(|offset| (SIZE / 2..SIZE).contains(&offset));
    expect(met, "the error should name an offset past the cut")?;
    // The first read may have been past the cut when the file was truncated; the next one starts before it.
    let again = sum(&map).err().and_then(|error| error.offset());
    scene.saw(format!("read once more from the start: an error at offset {}", again.unwrap_or(0)));
    expect(again == Some(SIZE / 2), "that error should be at the cut")?;
    expect(!map.is_current()?, "the mapping should know that the file has another size")?;

    map.remap()?;
    let sum = sum(&map)?;
    scene.did("called remap, and read again");
    scene.saw(format!("{} bytes, all unchanged; this process is alive", map.len()));
    expect(map.len() as u64 == SIZE / 2, "the mapping should follow the file")?;
    expect(sum == SIZE / 2 * 7, "the remaining bytes should be unchanged")?;
    raw(scene, &path)
}

/// The result of reading during the truncation.
struct Read {
    /// The number of reads of the whole file that succeeded.
    whole: u64,
    error: Option<sharemap::Error>,
    refusal: Option<String>,
}

/// Reads the whole file repeatedly until the other process has ended, and once more.
fn read_until_done(map: &Mapping, peer: Peer) -> Result<Read, Box<dyn Error>> {
    let cutter = std::thread::spawn(move || peer.end_well().map_err(|error| error.to_string()));
    // With huge pages of tmpfs, zeros may be read before the error.
    let address = map.bytes().as_ptr() as usize;
    let shows_zeros = procfs::huge_pages(address).is_some_and(|huge| huge.eligible);
    let mut whole = 0;
    let error = loop {
        let last = cutter.is_finished();
        match sum(map) {
            Ok(sum) if sum == SIZE * 7 || shows_zeros => whole += 1,
            Ok(_) => return Err("a read should be whole, or an error".into()),
            Err(error) => break Some(error),
        }
        if last {
            break None;
        }
    };
    let lines = cutter.join().map_err(|_| "the thread that waits panicked")??;
    let refusal = lines.into_iter().find(|line| line.starts_with(MAPPED));
    Ok(Read { whole, error, refusal })
}

fn sum(map: &Mapping) -> sharemap::Result<u64> {
    map.bytes().iter().try_fold(0, |sum, byte| byte.map(|byte| sum + u64::from(byte)))
}

/// Reads the file without the library while it is truncated, in a process that may die.
fn raw(scene: &mut Scene<'_>, path: &Path) -> Outcome {
    let mut peer = scene.peer(Action::ReadRaw, path)?;
    let id = peer.id();
    peer.ready()?;
    OpenOptions::new().write(true).open(path)?.set_len(SIZE / 4)?;
    peer.go()?;
    let (lines, status) = peer.end()?;
    scene.did(format!("let process {id} read the same file by plain mmap, and cut it again"));
    match system::death(status) {
        Death::LostPage => {
            scene.saw(format!("process {id} died of SIGBUS, as programs do without this library"));
            Ok(())
        }
        other => Err(format!("it should have died of SIGBUS, but: {other:?} {lines:?}").into()),
    }
}
