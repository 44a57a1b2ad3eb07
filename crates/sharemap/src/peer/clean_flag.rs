//! The mark that tells the next boot whether the object was left clean (FORMAT.md, "Header" and
//! "Leaving").
//!
//! | Mark | Meaning | Changed by, to |
//! |---|---|---|
//! | `IN_ORDER` | no participant is attached; the last one left cleanly | attacher: `USED` |
//! | `USED` | in use; the disk may still have `IN_ORDER` | attacher, after a flush: `KNOWN` |
//! | `KNOWN` | in use; the disk does not have `IN_ORDER` | |
//! | `LEAVING` + n | participant n is leaving, or gave up, or died | n: `IN_ORDER`; attacher: `USED` |
//!
//! A leaver replaces every mark by `LEAVING` plus its number. The mark and the participants' records
//! are the two sides of a handshake, made of atomic exchanges:
//!
//! - An attacher stores its record, then changes the mark, then uses the object.
//! - A leaver frees its record, then stores `LEAVING` plus its number in the mark, then searches the
//!   records, and stores `IN_ORDER` only if the mark is still the one that it stored.
//!
//! Either the leaver's search finds the attacher's record, or the attacher changes the mark after
//! the leaver has stored it, and the leaver's last exchange fails. So the mark is never `IN_ORDER`
//! while a participant uses the object, however long a leaver is suspended. A leaver that is killed
//! midway leaves a mark that counts as unclean; the next participant that leaves replaces it.

use crate::error::Result;
use crate::peer::machine::Machine;
use crate::peer::options::PowerCuts;

/// The object is in use, and the disk is known not to have `IN_ORDER`.
const KNOWN: u32 = 0;
/// No participant is attached, and the last one left the object clean.
pub(crate) const IN_ORDER: u32 = 1;
/// The object is in use. The disk may still have `IN_ORDER`.
const USED: u32 = 2;
/// Plus the number of a participant: it is leaving. It holds its liveness lock meanwhile, so that
/// no other process has the number.
const LEAVING: u32 = 3;

/// The other participants that a leaver finds in the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    /// Another participant is alive, or is being recovered by another process.
    Somebody,
    /// Only dead participants were found, which have been recovered.
    Dead,
    /// No record is in use.
    Nobody,
}

/// Access to an object's mark.
pub(crate) struct Mark<F> {
    /// The offset of the mark.
    pub(crate) at: u64,
    /// Whether the mark must be exact after a power cut, too, which takes flushes.
    pub(crate) power_cuts: PowerCuts,
    /// Makes all changes of the object durable.
    pub(crate) flush: F,
}

impl<F: Fn() -> Result<()>> Mark<F> {
    /// Marks the object as in use.
    ///
    /// The caller's record is in use already, and the caller has not used the object yet. If
    /// `power_cuts` is `Told`, the disk does not have `IN_ORDER` when the call returns.
    pub(crate) fn attach<W: Machine>(&self, machine: &W) -> Result<()> {
        // A compare-exchange, although it changes nothing: in contrast to a load, it is ordered with
        // a leaver's exchange of the mark. It either finds the leaver's mark, or precedes it, and
        // then the leaver finds this record.
        if machine.compare_exchange_32(self.at, KNOWN, KNOWN)? == KNOWN {
            return Ok(());
        }
        // From here on the last exchange of a leaver that missed this record fails.
        machine.swap_32(self.at, USED)?;
        if self.power_cuts == PowerCuts::Told {
            // Death before or during the flush: the mark stays `USED`, and the next attacher that
            // must know flushes again.
            (self.flush)()?;
            // Fails if a leaver or another attacher has changed the mark since. The disk does not
            // have `IN_ORDER` then either: no leaver stores it while this record is in use.
            machine.compare_exchange_32(self.at, USED, KNOWN)?;
        }
        Ok(())
    }

    /// Marks the object as clean if no other participant is attached. Returns `true` if it did.
    ///
    /// The caller's record is free already, and the caller still holds its liveness lock as
    /// `participant`. `look` searches the records for other participants and recovers dead ones.
    pub(crate) fn leave<W: Machine>(
        &self,
        machine: &W,
        participant: u32,
        look: impl Fn() -> Result<Others>,
    ) -> Result<bool> {
        let leaving = LEAVING + participant;
        // Before the mark is changed: `KNOWN` saves the remaining participants a flush. Of two
        // leavers that search at once, the one that freed its record last finds no other.
        if look()? == Others::Somebody {
            return Ok(false);
        }
        loop {
            // Death after this leaves a mark that counts as unclean, until the next leaver.
            machine.swap_32(self.at, leaving)?;
            match look()? {
                // The other participant replaces the mark when it leaves.
                Others::Somebody => return Ok(false),
                // Once more, with a new mark: during the recovery this process held the liveness
                // locks of the dead. Another leaver may have taken them for living participants and
                // returned, with its mark in place of this one.
                Others::Dead => {}
                Others::Nobody => break,
            }
        }
        // Before the mark: `IN_ORDER` must not reach the disk before all that participants have
        // written, up to the search that found none.
        if self.power_cuts == PowerCuts::Told {
            (self.flush)()?;
        }
        Ok(machine.compare_exchange_32(self.at, leaving, IN_ORDER)? == leaving)
    }
}
