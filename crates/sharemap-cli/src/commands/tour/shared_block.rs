//! Step 11: one block of shared memory, mapped twice in one process.

use super::interrupt;
use super::scene::{Outcome, Scene, Step, expect, refused};
use sharemap::{ErrorKind, SharedMemory};

pub(super) const STEP: Step = Step {
    name: "block",
    title: "A block of shared memory has a name, two views, room to grow, and an end",
    run,
};

const SMALL: usize = 4096;
const LARGE: usize = 1 << 20;

fn run(scene: &mut Scene<'_>) -> Outcome {
    let name = interrupt::object("block");
    let options = SharedMemory::options().max(LARGE as u64);
    let first = options.create_new(&*name, SMALL as u64)?;
    let second = options.open_read_only(&*name)?;
    scene.did(format!("created {} of {SMALL} bytes, and opened it again read-only", &*name));

    first.view::<u32>()?.set(7, 0xCAFE)?;
    let seen = second.view_at::<u32>(28, 1)?.get(0)?;
    scene.saw(format!("{:#x} set through the first shows as {seen:#x} in the second", 0xCAFE));
    expect(seen == 0xCAFE, "the second view should show the first one's write")?;

    let error = refused(SharedMemory::create_new(&*name, 1), ErrorKind::AlreadyExists, "again")?;
    scene.saw(format!("a second object of that name: {error}"));

    let address = first.bytes().as_ptr();
    first.grow(LARGE)?;
    first.bytes().set(LARGE - 1, 42)?;
    let length = second.refresh_len()?;
    let last = second.bytes().get(LARGE - 1)?;
    scene
        .saw(format!("grown through the first, the second has {length} bytes, the last is {last}"));
    expect((length, last) == (LARGE, 42), "the second view should have followed")?;
    expect(first.bytes().as_ptr() == address, "growing should have moved nothing")?;

    SharedMemory::unlink(&*name)?;
    refused(SharedMemory::open(&*name), ErrorKind::NotFound, "opening it without a name")?;
    let seen = second.bytes().get(LARGE - 1)?;
    scene.saw(format!(
        "unlinked, it cannot be opened any more; the open mapping still reads {seen}"
    ));
    expect(seen == 42, "the memory should outlive its name")
}
