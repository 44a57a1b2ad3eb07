//! Where waiters sleep: a word whose bit 0 says that someone does, under a sequence.
//!
//! A waiter sets the bit and sleeps while the word stays as it was then. Whoever changes what others
//! wait for looks at the bit afterwards; if it is set, it clears it, advances the sequence and wakes.
//! A change by a plain store can be overtaken by the look: waiters for such a change fence.
//!
//! Whoever releases a lock and wants it again at once is there long before one who has to wake up.
//! One to whom that happens for too long sets bit 1 too, and whoever opens the gate then gives way
//! for a moment.

use std::time::Duration;

use crate::error::Result;
use crate::peer::Machine;

pub(crate) const SLEEPER: u32 = 1;
/// Somebody sleeps who has come too late again and again. Never set without `SLEEPER`.
pub(crate) const STARVING: u32 = 2;
const ADVANCE: u32 = 4;
/// About as long as it takes to wake up.
const HANDOFF_PAUSE: Duration = Duration::from_micros(100);

/// How many to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// One, who sets the bit again when it has what it waited for, on behalf of the others.
    One,
    All,
}

/// Wakes if somebody sleeps.
#[inline(always)]
pub(crate) fn open<W: Machine>(machine: &W, gate: u64, wake: Wake) -> Result<()> {
    let seen = machine.load_32(gate)?;
    if seen & SLEEPER != 0 { clear(machine, gate, seen, wake) } else { Ok(()) }
}

#[cold]
#[inline(never)]
fn clear<W: Machine>(machine: &W, gate: u64, mut seen: u32, wake: Wake) -> Result<()> {
    while seen & SLEEPER != 0 {
        let found = machine.compare_exchange_32(gate, seen, advanced(seen))?;
        if found == seen {
            let how_many = if wake == Wake::One { 1 } else { u32::MAX };
            machine.wake(gate, how_many)?;
            if seen & STARVING != 0 {
                machine.nap(HANDOFF_PAUSE);
            }
            return Ok(());
        }
        seen = found;
    }
    Ok(())
}

/// Wakes all, also those whose bit a dead process cleared before it could wake them.
pub(crate) fn wake_all_after_recovery<W: Machine>(machine: &W, gate: u64) -> Result<()> {
    let mut seen = machine.load_32(gate)?;
    loop {
        let found = machine.compare_exchange_32(gate, seen, advanced(seen))?;
        if found == seen {
            machine.wake(gate, u32::MAX)?;
            return Ok(());
        }
        seen = found;
    }
}

/// Clear, and not the same as before.
pub(crate) fn advanced(seen: u32) -> u32 {
    (seen & !(SLEEPER | STARVING)).wrapping_add(ADVANCE)
}
