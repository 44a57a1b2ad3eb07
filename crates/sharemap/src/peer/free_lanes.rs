//! Free lanes, which a thread may use for a moment: their numbers keep what their last threads left.

use crate::error::Result;
use crate::peer::machine::Announced;
use crate::peer::session::Session;

impl Session {
    /// Calls `use_it` with each lane that is free and for which `is_wanted` returns `true`, until `use_it` returns
    /// `true`. Returns what the last call did.
    ///
    /// The thread owns the lane during the call, and may announce what it does in the slot of [`Announced`], which
    /// is empty. The lane is free again afterwards.
    pub(crate) fn with_free_lanes(
        &self,
        mut is_wanted: impl FnMut(u32) -> Result<bool>,
        mut use_it: impl FnMut(Announced) -> Result<bool>,
    ) -> Result<bool> {
        for lane in 0..self.header.lanes {
            if !is_wanted(lane)? || !self.claim_free_lane(lane)? {
                continue;
            }
            let slot = self.header.lane(lane) + 8;
            let result = use_it(Announced { lane, slot });
            self.return_lane(lane)?;
            if result? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
