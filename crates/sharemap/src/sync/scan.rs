//! A look through all lanes for who announces something.

use crate::error::Result;
use crate::peer::World;

/// Calls `visit` with each lane and what it announces, as it is at the moment it is looked at.
/// `visit` says whether to go on.
pub(crate) fn lanes<W: World>(
    world: &W,
    mut visit: impl FnMut(u32, u64) -> Result<bool>,
) -> Result<()> {
    for lane in 0..world.lanes() {
        for index in 0..W::SLOTS {
            let what = world.load_64(world.slots(lane) + 8 * index)?;
            if what != 0 && !visit(lane, what)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Settles all lanes that announce something of the thing at `at`, of a kind in `kinds`.
pub(crate) fn settle_all<W: World>(world: &W, kinds: &[super::kind::Kind], at: u64) -> Result<()> {
    lanes(world, |lane, what| {
        let (place, kind) = super::kind::parse(what);
        if place == at && kind.is_some_and(|kind| kinds.contains(&kind)) && !world.is_own(lane) {
            world.settle(lane)?;
        }
        Ok(true)
    })
}
