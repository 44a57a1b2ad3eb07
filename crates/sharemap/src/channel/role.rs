//! Roles: what one handle at a time does at a channel (FORMAT.md, "Roles").
//!
//! | Word | Meaning | Changed by, to |
//! |---|---|---|
//! | no lane, n claims, `LEFT` | free; the last owner left by itself | claimer: its lane, n + 1 claims |
//! | no lane, n claims | free; never claimed if n is 0, otherwise the last owner died | claimer: as above |
//! | a lane, n claims | the lane owns the role | owner: no lane, `LEFT`; recoverer of the lane: no lane |
//!
//! Only a claim sets a lane, and only where none is. A claimer that finds a dead owner recovers it first and never takes
//! the word over from it: lanes are used again, so that the word of a dead owner could name a living one by then, and both
//! would own the role.
//!
//! A claimer announces the word before it claims it. A death at any moment therefore leaves an announcement that leads the
//! recoverer to the word. The recoverer also wakes the waiters of the role's gate: the owner may have died before it woke
//! them.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{BRIEFLY, END, Liveness, Machine, Opening, OwnedLane, Polling, Session};
use crate::sync::core::gate::{self, Wake};

/// The number of the owner's lane plus one; 0: no owner.
const LANE: u64 = 0xffff;
/// The last owner left by itself.
const LEFT: u64 = 1 << 16;
/// One claim. The bits above count all of them.
const CLAIM: u64 = 1 << 17;

/// The word of a role, as it was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RoleWord(pub(super) u64);

impl RoleWord {
    /// Returns the owner's lane.
    #[inline(always)]
    pub(super) fn owner(self) -> Option<u32> {
        (self.0 & LANE).checked_sub(1).map(|lane| lane as u32)
    }

    /// Returns `true` if there is no owner, but was one.
    #[inline(always)]
    pub(super) fn is_over(self) -> bool {
        self.0 & LANE == 0 && self.0 >= CLAIM
    }

    /// Returns `true` if there is no owner, and the last one left by itself.
    #[inline(always)]
    pub(super) fn has_left(self) -> bool {
        self.0 & (LANE | LEFT) == LEFT
    }

    fn claimed_by(self, lane: u32) -> Self {
        Self((self.0 & !(LANE | LEFT)).wrapping_add(CLAIM) | (u64::from(lane) + 1))
    }
}

/// A role of a channel: its word, a multiple of 16, and the gate of those that wait for what its owner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) at: u64,
    pub(super) gate: u64,
}

impl Role {
    /// Loads the word.
    pub(super) fn load<M: Machine>(self, machine: &M) -> Result<RoleWord> {
        machine.load_64(self.at).map(RoleWord)
    }

    /// Returns `true` if a living participant has the role. Recovers a dead one.
    fn is_taken<M: Machine>(self, machine: &M) -> Result<bool> {
        let Some(owner) = self.load(machine)?.owner() else { return Ok(false) };
        machine.probe_liveness(owner)?;
        Ok(self.load(machine)?.owner().is_some())
    }

    /// Claims the role for a lane that announces it. Returns the word before; `None` if a living participant has the
    /// role.
    pub(super) fn claim<M: Machine>(self, machine: &M, lane: u32) -> Result<Option<RoleWord>> {
        let mut last = None;
        loop {
            let word = self.load(machine)?;
            let Some(owner) = word.owner() else {
                let claimed = word.claimed_by(lane);
                match machine.compare_exchange_64(self.at, word.0, claimed.0)? == word.0 {
                    true => return Ok(Some(word)),
                    false => continue,
                }
            };
            // A recovery has freed the role, unless the word names a lane that never claimed it: nothing frees it then.
            if machine.probe_liveness(owner)? == Liveness::Alive || last == Some(word) {
                return Ok(None);
            }
            last = Some(word);
        }
    }

    /// Releases the role of a lane, and wakes those that wait for its owner.
    pub(super) fn release<M: Machine>(self, machine: &M, lane: u32) -> Result<()> {
        self.free(machine, lane, LEFT)?;
        // Death here: the lane still announces the role, so its recovery wakes.
        gate::open(machine, self.gate, Wake::All)
    }

    /// Releases the role of a dead lane, which announces it. May be repeated at any step.
    pub(super) fn recover<M: Machine>(self, machine: &M, lane: u32) -> Result<()> {
        self.free(machine, lane, 0)?;
        gate::wake_all_after_recovery(machine, self.gate)
    }

    /// Clears the lane in the word, if it is this one.
    fn free<M: Machine>(self, machine: &M, lane: u32, left: u64) -> Result<()> {
        let word = self.load(machine)?;
        if word.owner() == Some(lane) {
            // No other process changes a word that names this lane. The caller's next load, of the gate, comes after the
            // exchange, so that it sees a waiter that has registered before.
            machine.compare_exchange_64(self.at, word.0, word.0 & !LANE | left)?;
        }
        Ok(())
    }
}

/// A role that a handle owns, with a lane of its own. Dropping it releases the role.
#[derive(Debug)]
pub(super) struct OwnedRole {
    pub(super) role: Role,
    pub(super) lane: OwnedLane,
}

impl OwnedRole {
    /// Claims a role. Returns it with the word before.
    ///
    /// If a living participant has the role, waits for about 100 ms: a process that was killed lives until the kernel has
    /// released what it held. Fails with `Busy` after that.
    pub(super) fn claim(
        opening: &Arc<Opening>,
        role: Role,
        operation: &'static str,
    ) -> Result<(Self, RoleWord)> {
        let session: &Session = opening;
        session.require_writable(operation)?;
        let mut polling = Polling::new(BRIEFLY);
        loop {
            // Before a lane is claimed, of which there may be none for an end that is taken anyway.
            if !role.is_taken(session)? {
                let lane = OwnedLane::claim(opening, role.at | END)?;
                if let Some(before) = role.claim(&lane, lane.lane())? {
                    return Ok((Self { role, lane }, before));
                }
            }
            if !polling.nap() {
                let error =
                    Error::new(ErrorKind::Busy, operation).with_path(opening.path()).inside();
                return Err(error.with_detail(
                    "another handle has this end of the channel; drop it, or end its process",
                ));
            }
        }
    }
}

impl Drop for OwnedRole {
    fn drop(&mut self) {
        // If it cannot be released, the lane must go on announcing it: a role that no lane announces is never recovered.
        if self.lane.is_own() && self.role.release(&self.lane, self.lane.lane()).is_err() {
            self.lane.keep();
        }
    }
}
