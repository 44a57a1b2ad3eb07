//! Step 6: edits that stay in memory.

use super::scene::{Outcome, Scene, Step, expect};
use sharemap::{Mapping, MappingCow};

pub(super) const STEP: Step =
    Step { name: "cow", title: "Copy-on-write edits leave the disk unchanged", run };

fn run(scene: &mut Scene<'_>) -> Outcome {
    let path = scene.path("bill.txt");
    let original = b"one thousand and 100 euros";
    std::fs::write(&path, original)?;
    let copy = MappingCow::open(&path)?;
    let others = Mapping::open(&path)?;
    copy.bytes().write_at(17, b"999")?;
    scene.did("mapped bill.txt copy-on-write and edited it there");
    let edited = copy.bytes().to_vec()?;
    let shared = others.bytes().to_vec()?;
    let on_disk = std::fs::read(&path)?;
    scene.saw(format!("in the mapping:    {}", String::from_utf8_lossy(&edited)));
    scene.saw(format!("in another:        {}", String::from_utf8_lossy(&shared)));
    scene.saw(format!("by ordinary calls: {}", String::from_utf8_lossy(&on_disk)));
    expect(edited == b"one thousand and 999 euros", "the mapping should show its own edit")?;
    expect(shared == original, "another mapping should show the original")?;
    copy.close()?;
    expect(std::fs::read(&path)? == original, "the file should be unchanged")
}
