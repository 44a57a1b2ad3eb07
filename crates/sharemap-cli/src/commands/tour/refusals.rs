//! Step 4: accesses that a view refuses.

use super::scene::{Outcome, Scene, Step, expect, refused};
use sharemap::{ErrorKind, MappingMut};

pub(super) const STEP: Step =
    Step { name: "refuse", title: "Out-of-range and misaligned access is refused", run };

fn run(scene: &mut Scene<'_>) -> Outcome {
    let path = scene.path("bounds.bin");
    let map = MappingMut::create_new(&path, 1001)?;
    let bytes = map.bytes();
    scene.did("mapped bounds.bin of 1001 bytes and attempted invalid accesses");
    let refusals = [
        refused(bytes.get(1001), ErrorKind::OutOfBounds, "byte 1001")?,
        refused(bytes.set(usize::MAX, 1), ErrorKind::OutOfBounds, "the last index there is")?,
        refused(bytes.subview(990..1002), ErrorKind::OutOfBounds, "bytes 990 to 1002")?,
        refused(bytes.write_at(999, b"abc"), ErrorKind::OutOfBounds, "three bytes at 999")?,
        refused(map.view::<u32>(), ErrorKind::WrongSize, "1001 bytes as u32")?,
        refused(map.view_at::<u64>(3, 1), ErrorKind::Alignment, "a u64 at byte 3")?,
        refused(map.view_at::<u64>(8, 200), ErrorKind::OutOfBounds, "200 u64 at byte 8")?,
    ];
    for refusal in &refusals {
        scene.saw(refusal.to_string());
    }
    expect(bytes.to_vec()? == [0; 1001], "a refused write should change nothing")
}
