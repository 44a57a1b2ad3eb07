//! The area of a thread in a segment: that of one of its lanes, which it announces with its first change.

use std::cell::Cell;
use std::time::Duration;

use crate::error::Result;
use crate::peer::{self, Faults, Machine, Memory, Session};
use crate::segment::allocator::Allocator;
use crate::segment::at_once::AtOnce;
use crate::segment::lane_area::LaneArea;
use crate::segment::plan::{FIRST_CLASS_LOCK, Plan};
use crate::segment::segment::Inner;

/// The area that a thread used last.
struct Last {
    /// The key of its session; 0, which no session has: none.
    key: Cell<u64>,
    area: Cell<LaneArea>,
    /// The slot that announces it.
    slot: Cell<u64>,
}

thread_local! {
    static LAST: Last = const {
        let area = Cell::new(LaneArea { at: 0, lane: 0, body: 0 });
        Last { key: Cell::new(0), area, slot: Cell::new(0) }
    };
}

impl Inner {
    /// Returns the allocator of a lane of this thread.
    #[inline(always)]
    pub(super) fn allocator(
        &self,
        area: LaneArea,
        until: Option<Duration>,
    ) -> Allocator<'_, Session> {
        let (machine, Plan { space, heap, .. }) = (self.opening.session(), &self.plan);
        Allocator { machine, space, heap, area, first_lock: FIRST_CLASS_LOCK, until }
    }

    /// Puts back the free blocks that this thread keeps, and those of lanes that no thread has. Returns how many.
    #[cold]
    pub(super) fn put_back_kept(&self, until: Option<Duration>) -> Result<u32> {
        let session: &Session = self.opening.session();
        let mut spilled = 0;
        // A full segment may have no room for the area itself.
        if let Ok(own) = self.area(until) {
            spilled += self.allocator(own, until).spill_all()?;
        }
        let area = |lane| LaneArea::load(session, &self.plan.space, self.plan.area(lane), lane);
        let is_wanted = |lane| {
            let area = area(lane)?;
            Ok(area.body != 0 && area.keeps_blocks(session)?)
        };
        session.with_free_lanes(is_wanted, |announced| {
            // Loaded again: another thread may have had the lane meanwhile.
            let area = area(announced.lane)?;
            session.store_64(announced.slot, area.announcement())?;
            if area.body != 0 {
                let mut allocator = self.allocator(area, until);
                allocator.prepare()?;
                spilled += allocator.spill_all()?;
            }
            Ok(false)
        })?;
        Ok(spilled)
    }

    /// Returns the area of this thread, with a body and no change that is not complete. The thread announces it with its
    /// first change.
    #[inline(always)]
    pub(super) fn area(&self, until: Option<Duration>) -> Result<LaneArea> {
        match self.known_area() {
            Some((area, _)) => Ok(area),
            None => self.find_area(self.opening.session(), until),
        }
    }

    /// Returns the area that this thread used last, if it is that of this segment still.
    #[inline(always)]
    pub(super) fn known_area(&self) -> Option<(LaneArea, AtOnce<'_, Memory>)> {
        let session: &Session = self.opening.session();
        let (key, area, slot) =
            LAST.with(|last| (last.key.get(), last.area.get(), last.slot.get()));
        if key != session.key() || !session.is_own(area.lane) {
            return None;
        }
        let faults = &mut Faults::default();
        Some((area, AtOnce::with(session.memory(), area, slot, faults)?))
    }

    /// Finds the area that this thread announces, or announces that of one of its lanes. Completes an earlier change of
    /// the lane, and allocates the area's body.
    #[cold]
    fn find_area(&self, session: &Session, until: Option<Duration>) -> Result<LaneArea> {
        session.require_writable("change")?;
        let announced = match session.kept()? {
            Some(announced) => announced,
            // Nothing yet: the area follows from the lane.
            None => session.announce(peer::KEPT)?,
        };
        let at = self.plan.area(announced.lane);
        let area = LaneArea::load(session, &self.plan.space, at, announced.lane)?;
        session.store_64(announced.slot, area.announcement())?;
        let mut allocator = self.allocator(area, until);
        allocator.prepare()?;
        LAST.with(|last| {
            last.key.set(session.key());
            last.area.set(allocator.area);
            last.slot.set(announced.slot);
        });
        Ok(allocator.area)
    }

    /// Returns the areas of all lanes.
    pub(super) fn areas(&self) -> Result<Vec<LaneArea>> {
        let session: &Session = self.opening.session();
        (0..session.lanes())
            .map(|lane| LaneArea::load(session, &self.plan.space, self.plan.area(lane), lane))
            .collect()
    }
}
