//! Step 2: a file is edited through a mapping, and read by other programs.

use super::peer::Action;
use super::scene::{Outcome, Scene, Step, expect};
use sharemap::{ErrorKind, Mapping, MappingMut};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The number of numbers that program 1 writes and program 2 reads.
pub(super) const NUMBERS: usize = 1000;

pub(super) const STEP: Step = Step {
    name: "edit",
    title: "Create, write, flush and read back; pass numbers to another program",
    run,
};

const GREETING: &str = "Hello from a mapped file!";

fn run(scene: &mut Scene<'_>) -> Outcome {
    let path = scene.path("greeting.txt");
    let map = MappingMut::create_new(&path, 1024)?;
    map.bytes().write_at(0, GREETING.as_bytes())?;
    map.flush()?;
    map.close()?;
    scene.did("created greeting.txt of 1024 bytes, wrote a greeting, flushed and closed it");

    let map = Mapping::open(&path)?;
    let text = map.bytes().subview(..GREETING.len())?.to_vec()?;
    scene.saw(format!("reopened read-only, it says: {}", String::from_utf8_lossy(&text)));
    expect(map.len() == 1024, "the file should have 1024 bytes")?;
    expect(text == GREETING.as_bytes(), "the greeting should be what was written")?;
    evict(scene, map)?;
    let mut ordinary = String::new();
    File::open(&path)?.take(GREETING.len() as u64).read_to_string(&mut ordinary)?;
    scene.saw(format!("read back by ordinary file calls: {ordinary}"));
    expect(ordinary == GREETING, "an ordinary read should give the greeting")?;

    hand_over(scene, &scene.path("numbers.bin"))
}

/// Evicts the file's page from memory and records the residency, if the system supports both.
fn evict(scene: &mut Scene<'_>, map: Mapping) -> Outcome {
    let resident = || match map.residency() {
        Ok(residency) if residency.unknown() == 0 => format!("{}", residency.resident()),
        _ => "an unknown number of".into(),
    };
    let before = resident();
    match map.evict() {
        Ok(()) => {
            scene.did("evicted its page from memory");
            scene.saw(format!("pages in memory: {before} before, {} after", resident()));
        }
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            scene.saw(format!("no eviction here: {error}"));
        }
        Err(error) => return Err(error.into()),
    }
    map.close()?;
    Ok(())
}

fn hand_over(scene: &mut Scene<'_>, path: &Path) -> Outcome {
    let writer = scene.peer(Action::WriteNumbers, path)?;
    let first = writer.id();
    writer.end_well()?;
    scene.did(format!("program 1 (process {first}) wrote {NUMBERS} numbers of type i32: 2 i"));
    let reader = scene.peer(Action::ReadNumbers, path)?;
    let second = reader.id();
    let lines = reader.end_well()?;
    let [right, refusal] = lines.as_slice() else {
        return Err(format!("program 2 should say two lines, but said {lines:?}").into());
    };
    scene.saw(format!(
        "program 2 (process {second}) read {right} right ones; of index 1000: {refusal}"
    ));
    expect(*right == NUMBERS.to_string(), "all numbers should be right")?;
    expect(refusal.contains("out of bounds"), "index 1000 should be refused")
}
