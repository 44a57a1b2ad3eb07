//! The mark by which the next boot tells whether the object was left in order.
//!
//! Whoever attaches writes its record, then changes the mark, then uses the object. Whoever leaves
//! frees its record, puts its own number into the mark, looks at the records, and says that all is in
//! order only if its number is still there. So nobody says so while somebody is attached, however late
//! it says it; and whoever is killed in the middle leaves a mark that says nothing.

use crate::error::Result;
use crate::peer::create::PowerCuts;
use crate::peer::machine::Machine;

/// Somebody is attached, and the mark on the disk has not been `IN_ORDER` since that was made sure.
const KNOWN: u32 = 0;
/// Nobody is attached, and whoever was left it in order.
pub(crate) const IN_ORDER: u32 = 1;
/// Somebody is attached; the disk may not have it yet.
const USED: u32 = 2;
/// Plus a participant's number: that one leaves. It holds its slot, so no other has the number.
const LEAVING: u32 = 3;

/// Whom one who leaves finds there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    Somebody,
    /// Nobody but the dead, which have been recovered.
    Dead,
    Nobody,
}

/// The mark at an offset, and how all of the object is made durable.
pub(crate) struct Mark<F> {
    pub(crate) at: u64,
    pub(crate) power_cuts: PowerCuts,
    pub(crate) flush: F,
}

impl<F: Fn() -> Result<()>> Mark<F> {
    /// By one whose record says that it is there, before it uses the object.
    pub(crate) fn attach<W: Machine>(&self, machine: &W) -> Result<()> {
        // An exchange, though it changes nothing: whoever changes the mark after it sees the record.
        if machine.compare_exchange_32(self.at, KNOWN, KNOWN)? == KNOWN {
            return Ok(());
        }
        machine.swap_32(self.at, USED)?;
        if self.power_cuts == PowerCuts::Told {
            (self.flush)()?;
            machine.compare_exchange_32(self.at, USED, KNOWN)?;
        }
        Ok(())
    }

    /// By one whose record is free, and who holds its slot; whether it said that all is in order.
    pub(crate) fn leave<W: Machine>(
        &self,
        machine: &W,
        participant: u32,
        look: impl Fn() -> Result<Others>,
    ) -> Result<bool> {
        let leaving = LEAVING + participant;
        if look()? == Others::Somebody {
            return Ok(false);
        }
        loop {
            machine.swap_32(self.at, leaving)?;
            match look()? {
                Others::Somebody => return Ok(false),
                // Others who leave may have taken those for alive whose slots were held just now, and
                // their marks may be the last.
                Others::Dead => {}
                Others::Nobody => break,
            }
        }
        // What those wrote who left before the look.
        if self.power_cuts == PowerCuts::Told {
            (self.flush)()?;
        }
        Ok(machine.compare_exchange_32(self.at, leaving, IN_ORDER)? == leaving)
    }
}
