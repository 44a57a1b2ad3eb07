//! The gate: the word that waiters sleep on (FORMAT.md, "The gate").
//!
//! Bit 0 says that a waiter may sleep, bit 1 that one has waited for long. Bits 2 to 31 are a sequence,
//! which advances with every wake.
//!
//! | `SLEEPER` | `STARVING` | Meaning | Changed by, to |
//! |---|---|---|---|
//! | 0 | 0 | no waiter, or a woken one will set it | waiter, woken waiter: sets `SLEEPER` |
//! | 1 | 0 | a waiter may sleep | releaser: clears both, advances, wakes |
//! | 1 | 1 | a waiter has waited 10 ms | releaser: as above, then pauses 100 us |
//! | 0 | 1 | not written | waiter: sets `SLEEPER`; releasers ignore it |
//! | any | any | | waiter after 10 ms: sets both; recoverer: clears both, advances, wakes all |
//!
//! A releaser wakes one waiter or all, as the lock's kind requires. A wake of one clears `SLEEPER` on behalf
//! of all waiters. The woken waiter sets it again for those that still sleep, whether it acquires or gives up
//! ([`Waiter::restore_sleeper_bit`](super::waiter::Waiter::restore_sleeper_bit)). The notification of one
//! waiter of a condition variable advances the sequence and leaves `SLEEPER` set.
//!
//! # Why no wake is missed
//!
//! A waiter sets `SLEEPER`, loads what it waits for, and then sleeps while the gate is unchanged. A releaser
//! publishes its change, and then loads the gate. If the change is an atomic operation, one of the two sees
//! the other. A plain store may still be in the releaser's store buffer when its load executes. Waiters for
//! such a change therefore call `fence_all` after setting the bit: every store from before the fence is then
//! visible to the waiter, and every load after it sees the bit. The sequence covers the time between the
//! waiter's load and its sleep: a gate that has advanced does not let it fall asleep.
//!
//! A releaser that dies between its store and the wake leaves waiters asleep. If it announces the lock, its
//! recovery wakes them ([`wake_all_after_recovery`]). A thread that posts, sets or notifies announces nothing.
//! In each case the sleeps are bounded, by 4 ms or 100 ms, and the waiters look again.
//!
//! # Starvation
//!
//! A releaser that acquires the lock again at once does so before a woken waiter runs. A waiter to which this
//! has happened for 10 ms also sets `STARVING`, and the next releaser pauses after the wake.

use std::time::Duration;

use crate::error::Result;
use crate::peer::Machine;

/// A waiter sleeps, or is about to.
pub(crate) const SLEEPER: u32 = 1;
/// A waiter has waited for 10 ms. Never set without `SLEEPER`.
pub(crate) const STARVING: u32 = 2;
/// One step of the sequence, which lies above the two bits.
const ADVANCE: u32 = 4;
/// How long a releaser pauses for a starving waiter: about the time that a wake takes.
const HANDOFF_PAUSE: Duration = Duration::from_micros(100);

/// How many waiters a release wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// One waiter, which sets the sleeper bit again on behalf of the others.
    One,
    All,
}

/// Wakes waiters, if the gate says that any may sleep.
///
/// The caller has published its change. If it owned the lock, it still announces it, so that its recovery
/// wakes the waiters if it dies before the wake.
#[inline(always)]
pub(crate) fn open<W: Machine>(machine: &W, gate: u64, wake: Wake) -> Result<()> {
    let seen = machine.load_32(gate)?;
    if seen & SLEEPER != 0 { clear(machine, gate, seen, wake) } else { Ok(()) }
}

#[cold]
#[inline(never)]
fn clear<W: Machine>(machine: &W, gate: u64, mut seen: u32, wake: Wake) -> Result<()> {
    while seen & SLEEPER != 0 {
        // The sequence advances before the wake: a waiter that registered earlier and is not asleep yet
        // finds the gate changed, and does not fall asleep.
        let found = machine.compare_exchange_32(gate, seen, advanced(seen))?;
        if found == seen {
            let how_many = if wake == Wake::One { 1 } else { u32::MAX };
            // Death here: the bit is clear, so later releasers wake no waiter. Recovery ignores the bit.
            machine.wake(gate, how_many)?;
            if seen & STARVING != 0 {
                machine.nap(HANDOFF_PAUSE);
            }
            return Ok(());
        }
        seen = found;
    }
    // Another thread cleared the bit, and wakes. A woken waiter that does not see this thread's change yet
    // registers again before it sleeps, and its fence makes the change visible.
    Ok(())
}

/// Wakes all waiters after the death of a lane that announced the lock, even if the sleeper bit is clear.
///
/// The dead thread may have cleared the bit and died before its wake, or may have been woken and died before
/// it restored the bit. The sequence advances, so that no waiter falls asleep in between.
pub(crate) fn wake_all_after_recovery<W: Machine>(machine: &W, gate: u64) -> Result<()> {
    let mut seen = machine.load_32(gate)?;
    loop {
        let found = machine.compare_exchange_32(gate, seen, advanced(seen))?;
        if found == seen {
            // Death here: the announcement is still there, and the next recoverer wakes again.
            machine.wake(gate, u32::MAX)?;
            return Ok(());
        }
        seen = found;
    }
}

/// Returns `seen` with both bits clear and the sequence advanced, so that it differs from `seen`.
pub(crate) fn advanced(seen: u32) -> u32 {
    (seen & !(SLEEPER | STARVING)).wrapping_add(ADVANCE)
}
