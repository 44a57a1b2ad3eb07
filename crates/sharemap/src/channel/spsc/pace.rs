//! How long a side pauses that has found nothing, before it looks again.
//!
//! Each look at the other side's position takes its cache line away. A receiver that keeps up with its sender, and looks
//! for each message at once, therefore slows both down to the time that a line takes from one processor to the other, and
//! stays where it is, one message behind. If it pauses instead, the sender fills some slots undisturbed, and the receiver
//! finds those without a look.
//!
//! But a receiver that waits for a single message, as for an answer, should look often. What tells the two apart is the
//! past: whether several messages were found without a look, or several times the next one within a few pauses, which is
//! less time than an answer takes.

use std::time::Duration;

/// The pauses of the processor that let the other side fill, or release, several slots.
const LONG: u32 = 16;
/// The number of messages found without a look that are a stream.
const STREAK: u32 = 2;
/// The number of times in a row that a message was found soon, and alone, that are a stream.
const CHASE: u32 = 4;
/// The pauses, with a look after each, within which a message was found soon.
const SOON: u32 = 4;

/// What a receiver remembers of its last looks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// The messages found since the channel was last found empty.
    streak: u32,
    /// How often in a row a message was found soon.
    chase: u32,
}

impl Pace {
    /// Notes that a message was found.
    #[inline(always)]
    pub(super) fn note_found(&mut self) {
        self.streak = self.streak.saturating_add(1);
    }

    /// Pauses after the channel was found empty, and looks again by `look`. Returns `false` if the caller should wait.
    pub(super) fn pause(&mut self, mut look: impl FnMut() -> bool) -> bool {
        let is_stream = std::mem::take(&mut self.streak) >= STREAK || self.chase >= CHASE;
        if is_stream {
            self.chase = 0;
            pause_long();
            return look();
        }
        let found = (0..SOON).any(|_| {
            std::hint::spin_loop();
            look()
        });
        self.chase = if found { self.chase + 1 } else { 0 };
        found
    }
}

/// Pauses for as long as the other side takes for several messages.
pub(super) fn pause_long() {
    (0..LONG).for_each(|_| std::hint::spin_loop());
}

/// When a side that never waits looks whether the other is alive: about once a millisecond, without a look at the clock at
/// each call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    /// The number of calls until the next look at the clock, and after the one before.
    left: u32,
    interval: u32,
    /// The time of the last look at the other side.
    last: Duration,
}

impl Watch {
    /// Returns `true` if a look at the other side is due. `now` returns the time.
    pub(super) fn is_due(&mut self, now: impl FnOnce() -> Duration) -> bool {
        const PERIOD: Duration = Duration::from_millis(1);
        const MOST: u32 = 256;
        if self.left > 1 {
            self.left -= 1;
            return false;
        }
        let now = now();
        let is_due = now.saturating_sub(self.last) >= PERIOD;
        // Calls that come rarely look at the clock each time.
        self.interval = if is_due { 1 } else { (2 * self.interval).clamp(1, MOST) };
        self.left = self.interval;
        if is_due {
            self.last = now;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deaths_are_looked_for_once_a_millisecond() {
        let (mut watch, mut time, mut looks) = (Watch::default(), Duration::from_secs(1), 0);
        // Calls every 100 ns for 100 ms, and then every 10 ms.
        for _ in 0..1_000_000 {
            time += Duration::from_nanos(100);
            looks += u32::from(watch.is_due(|| time));
        }
        assert!((90..=100).contains(&looks), "{looks}");
        let rare = (0..400).filter(|_| {
            time += Duration::from_millis(10);
            watch.is_due(|| time)
        });
        assert!(rare.count() >= 400 - 256);
    }
}
