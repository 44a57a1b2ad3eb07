//! Step 1: a file is read through a mapping.

use super::scene::{Outcome, Scene, Step, expect};
use sharemap::Mapping;

pub(super) const STEP: Step =
    Step { name: "open", title: "Map a file read-only and see its size", run };

fn run(scene: &mut Scene<'_>) -> Outcome {
    let path = scene.path("sample.bin");
    let contents: Vec<u8> = (0..10_000u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(&path, &contents)?;
    let map = Mapping::open(&path)?;
    let bytes = map.bytes();
    scene.did("wrote sample.bin by ordinary calls and mapped it read-only");
    let pages = map.len().div_ceil(sharemap::page_size());
    scene.saw(format!(
        "{} bytes in {pages} pages of {} bytes; byte 9999 is {}",
        map.len(),
        sharemap::page_size(),
        bytes.get(9999)?
    ));
    expect(map.len() == contents.len(), "the mapping should have 10000 bytes")?;
    expect(bytes.to_vec()? == contents, "the mapping should show what was written")?;
    map.close()?;
    Ok(())
}
