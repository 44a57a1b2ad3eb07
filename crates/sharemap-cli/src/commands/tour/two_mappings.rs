//! Step 3: one file, two mappings and an ordinary writer.

use super::scene::{Outcome, Scene, Step, expect};
use sharemap::{Mapping, MappingMut};
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};

pub(super) const STEP: Step = Step {
    name: "share",
    title: "Two mappings of one file and an ordinary write see each other",
    run,
};

fn run(scene: &mut Scene<'_>) -> Outcome {
    let path = scene.path("shared.bin");
    let first = MappingMut::create_new(&path, 4096)?;
    let second = Mapping::open(&path)?;
    scene.did("mapped shared.bin twice: read-write and read-only");

    first.view::<u32>()?.set(7, 0xCAFE)?;
    let seen = second.view::<u32>()?.get(7)?;
    scene.saw(format!("{:#x} set through the first shows as {seen:#x} in the second", 0xCAFE));
    expect(seen == 0xCAFE, "the second mapping should show the first one's write")?;

    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    file.seek(SeekFrom::Start(100))?;
    file.write_all(b"ordinary")?;
    let in_first = first.bytes().subview(100..108)?.to_vec()?;
    let in_second = second.bytes().subview(100..108)?.to_vec()?;
    scene.saw(format!(
        "\"ordinary\" written by file calls shows as \"{}\" and \"{}\"",
        String::from_utf8_lossy(&in_first),
        String::from_utf8_lossy(&in_second)
    ));
    expect(in_first == b"ordinary", "the first mapping should show an ordinary write")?;
    expect(in_second == b"ordinary", "the second mapping should show an ordinary write")?;

    first.bytes().write_at(200, b"mapped")?;
    let mut read = [0; 6];
    file.seek(SeekFrom::Start(200))?;
    file.read_exact(&mut read)?;
    scene.saw(format!(
        "\"mapped\" written through memory is read by file calls as \"{}\", without any flush",
        String::from_utf8_lossy(&read)
    ));
    expect(&read == b"mapped", "an ordinary read should show a mapping's write")
}
