//! Waiting for changes that no event announces, such as a process that detaches or completes an object.

use std::time::{Duration, Instant};

/// The limit for claiming a lane or an end of a channel, or attaching a forked child, within an operation. Long
/// enough for a participant that is detaching, or a recoverer, to free what it still has.
pub(crate) const BRIEFLY: Duration = Duration::from_millis(100);

/// A limit of the waits of one operation together: a duration that begins at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    begun: Instant,
    timeout: Duration,
}

impl From<Duration> for Limit {
    /// Returns a limit that begins now.
    fn from(timeout: Duration) -> Self {
        Self { begun: Instant::now(), timeout }
    }
}

/// A schedule for polling a state for a limited time, with naps between the queries.
///
/// A nap lasts an eighth of the time that has passed, between 0.2 and 5 ms. It is also at least eight
/// times as long as the query between it and the nap before, up to 100 ms, so that many waiting processes leave the
/// processors to others.
#[derive(Debug)]
pub(crate) struct Polling {
    limit: Limit,
    /// The end of the last nap. `None` before the first: most states need no nap, and no look at the clock.
    woken: Option<Instant>,
}

impl Polling {
    /// Starts to poll, until `limit` has passed at most.
    pub(crate) fn new(limit: impl Into<Limit>) -> Self {
        Self { limit: limit.into(), woken: None }
    }

    /// Returns `true` if the limit has passed.
    pub(super) fn is_over(&self) -> bool {
        self.limit.begun.elapsed() >= self.limit.timeout
    }

    /// Sleeps until the next query is due, or until the limit has passed. Returns `false` at once if it
    /// has passed already.
    pub(crate) fn nap(&mut self) -> bool {
        let waited = self.limit.begun.elapsed();
        let look = self.woken.map_or(Duration::ZERO, |woken| woken.elapsed());
        let left = self.limit.timeout.saturating_sub(waited);
        if left.is_zero() {
            return false;
        }
        std::thread::sleep(pause(waited, look).min(left));
        self.woken = Some(Instant::now());
        true
    }
}

/// Returns the length of a nap after `waited` in all and a query that took `look`.
fn pause(waited: Duration, look: Duration) -> Duration {
    const SHORTEST: Duration = Duration::from_micros(200);
    const USUAL: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_millis(100);
    let usual = (waited / 8).clamp(SHORTEST, USUAL);
    usual.max(look.saturating_mul(8)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_leave_the_processors_to_others() {
        let milliseconds = Duration::from_millis;
        assert_eq!(pause(Duration::ZERO, Duration::ZERO), Duration::from_micros(200));
        assert_eq!(pause(milliseconds(8), Duration::ZERO), milliseconds(1));
        assert_eq!(pause(Duration::MAX, Duration::ZERO), milliseconds(5));
        assert_eq!(pause(Duration::MAX, milliseconds(2)), milliseconds(16));
        assert_eq!(pause(Duration::ZERO, Duration::MAX), milliseconds(100));
    }

    #[test]
    fn naps_end_with_the_time() {
        assert!(!Polling::new(Duration::ZERO).nap());
        assert!(Polling::new(Duration::MAX).nap());
        let (begun, open_timeout) = (Instant::now(), Duration::from_millis(3));
        let mut polling = Polling::new(open_timeout);
        while polling.nap() {}
        assert!(polling.is_over() && begun.elapsed() >= open_timeout);
    }
}
