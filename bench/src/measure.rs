//! Contests: several sides do the same work in interleaved rounds of one run.

use std::io;
use std::time::{Duration, Instant};

use crate::reason::Reason;
use crate::report::{Goal, Row, Unit};
use crate::stats;

/// Runs an operation the given number of times and returns the elapsed time.
type Run<'a> = Box<dyn FnMut(u64) -> Result<Duration, Reason> + 'a>;

/// The effort of a measurement.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// The number of rounds that the user requested; by default as many as fit into `BUDGET`.
    pub rounds: Option<usize>,
}

/// The time for one contest, unless the number of rounds is given.
const BUDGET: Duration = Duration::from_secs(8);
const ROUNDS: std::ops::RangeInclusive<usize> = 31..=401;
/// The lowest number of rounds that yields a 95 % interval.
pub const FEWEST_ROUNDS: usize = 6;
/// The duration of a sample, long enough to hide the resolution of the clock (about 20 ns).
const SAMPLE: Duration = Duration::from_millis(2);

/// Several sides that do the same work.
pub struct Contest<'a> {
    sides: Vec<(&'static str, Run<'a>)>,
    repeats: Option<u64>,
}

impl<'a> Contest<'a> {
    pub fn new() -> Self {
        Self { sides: Vec::new(), repeats: None }
    }

    /// Sets the number of operations in a sample. By default they are chosen to fill [`SAMPLE`].
    pub fn repeats(mut self, repeats: u64) -> Self {
        self.repeats = Some(repeats);
        self
    }

    /// Adds a side of which the whole run is timed.
    pub fn side(
        self,
        name: &'static str,
        mut operation: impl FnMut() -> Result<(), Reason> + 'a,
    ) -> Self {
        self.timed_side(name, move |repeats| {
            let start = Instant::now();
            for _ in 0..repeats {
                operation()?;
            }
            Ok(start.elapsed())
        })
    }

    /// Adds a side that measures its own time, because it has set-up work or runs in another
    /// process.
    pub fn timed_side(
        mut self,
        name: &'static str,
        run: impl FnMut(u64) -> Result<Duration, Reason> + 'a,
    ) -> Self {
        self.sides.push((name, Box::new(run)));
        self
    }

    /// Measures all sides: one round to warm up, then rounds in which each side runs once. Each
    /// round starts with another side.
    pub fn run(mut self, effort: Effort) -> Result<Outcome, Reason> {
        let mut repeats = self.repeats.unwrap_or(1);
        let (_, first) = self.sides.first_mut().ok_or("no sides")?;
        if self.repeats.is_none() {
            while first(repeats)? < SAMPLE {
                repeats *= 2;
            }
        }
        let warm = Instant::now();
        for (_, run) in &mut self.sides {
            run(repeats)?;
        }
        let round = warm.elapsed().max(Duration::from_nanos(1));
        let affordable = (BUDGET.as_secs_f64() / round.as_secs_f64()) as usize;
        let rounds = effort
            .rounds
            .unwrap_or_else(|| affordable.clamp(*ROUNDS.start(), *ROUNDS.end()))
            .max(FEWEST_ROUNDS);
        let count = self.sides.len();
        let mut seconds = vec![Vec::with_capacity(rounds); count];
        for round in 0..rounds {
            for turn in 0..count {
                // Every other round runs backwards, so that no side always follows the same side.
                let turn = if round % 2 == 0 { turn } else { count - 1 - turn };
                let index = (round / 2 + turn) % count;
                let took = (self.sides[index].1)(repeats)?;
                seconds[index].push(took.as_secs_f64() / repeats as f64);
            }
        }
        let names = self.sides.iter().map(|(name, _)| *name).collect();
        Ok(Outcome { names, seconds })
    }
}

/// The seconds per operation of each side and round.
pub struct Outcome {
    names: Vec<&'static str>,
    seconds: Vec<Vec<f64>>,
}

impl Outcome {
    /// Returns the row of the report for `ours` beside `peer`.
    pub fn row(&self, figure: &str, unit: Unit, ours: &str, peer: &str, goal: Option<Goal>) -> Row {
        let (ours, peer_samples) = (self.samples(ours, unit), self.samples(peer, unit));
        let ratios: Vec<f64> = ours.iter().zip(&peer_samples).map(|(a, b)| a / b).collect();
        let mine = stats::summary(&ours);
        let interval = stats::median_interval(&ratios);
        Row {
            figure: figure.to_owned(),
            unit: unit.name().to_owned(),
            better: unit.better().to_owned(),
            ours: Some(mine.median),
            spread: Some(mine.quartiles),
            peer: Some(stats::summary(&peer_samples).median),
            peer_name: peer.to_owned(),
            ratio: Some(stats::summary(&ratios).median),
            interval,
            goal: goal.map(|goal| goal.bound),
            met: goal.zip(interval).map(|(goal, interval)| goal.reached_by(unit, interval)),
            skipped: None,
            rounds: ratios.len(),
            costs: None,
        }
    }

    /// Returns the row for `ours` beside the fastest of several peers.
    pub fn row_of_best(
        &self,
        figure: &str,
        unit: Unit,
        ours: &str,
        peers: &[&str],
        goal: Option<Goal>,
    ) -> Row {
        let median = |name: &str| stats::summary(&self.seconds[self.index(name)]).median;
        let best = peers.iter().min_by(|a, b| median(a).total_cmp(&median(b)));
        self.row(figure, unit, ours, best.expect("a row has a peer"), goal)
    }

    fn index(&self, name: &str) -> usize {
        self.names.iter().position(|n| *n == name).expect("a row names sides of its contest")
    }

    fn samples(&self, name: &str, unit: Unit) -> Vec<f64> {
        self.seconds[self.index(name)].iter().map(|s| unit.of_seconds(*s)).collect()
    }
}

/// The CPUs that this process may use, and the CPU on which most figures run.
pub struct Cpus {
    all: libc::cpu_set_t,
    one: libc::cpu_set_t,
}

impl Cpus {
    /// Detects the CPUs, and chooses the last one, because interrupts tend to run on the first.
    pub fn detect() -> io::Result<Self> {
        // SAFETY: a cpu_set_t is plain bits, for which zeros are the empty set.
        let (mut all, mut one) =
            unsafe { std::mem::zeroed::<(libc::cpu_set_t, libc::cpu_set_t)>() };
        // SAFETY: the size is that of the set.
        if unsafe { libc::sched_getaffinity(0, size_of_val(&all), &mut all) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the index is below the size of the set.
        let last =
            (0..libc::CPU_SETSIZE as usize).rfind(|cpu| unsafe { libc::CPU_ISSET(*cpu, &all) });
        let last = last.ok_or_else(|| io::Error::other("no CPU to run on"))?;
        // SAFETY: the index is below the size of the set.
        unsafe { libc::CPU_SET(last, &mut one) };
        Ok(Self { all, one })
    }

    /// Pins this thread and its future children to one CPU.
    pub fn pin(&self) -> io::Result<()> {
        set(&self.one)
    }

    /// Pins this thread and its future children to the first CPU, which is another one than that of
    /// [`pin`](Self::pin). Fails if this process may use only one.
    pub fn pin_to_other(&self) -> io::Result<()> {
        // SAFETY: the indices are below the size of the sets.
        let is_other = |cpu: &usize| unsafe {
            libc::CPU_ISSET(*cpu, &self.all) && !libc::CPU_ISSET(*cpu, &self.one)
        };
        let other = (0..libc::CPU_SETSIZE as usize).find(is_other);
        let other = other.ok_or_else(|| io::Error::other("only one CPU to run on"))?;
        // SAFETY: a cpu_set_t is plain bits, and the index is below its size.
        let set_of_other = unsafe {
            let mut cpus = std::mem::zeroed();
            libc::CPU_SET(other, &mut cpus);
            cpus
        };
        set(&set_of_other)
    }

    /// Lets this thread and the threads that it starts run on all CPUs.
    pub fn unpin(&self) -> io::Result<()> {
        set(&self.all)
    }
}

fn set(cpus: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the size is that of the set.
    if unsafe { libc::sched_setaffinity(0, size_of_val(cpus), cpus) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ratio compares the sides of each round, and the best peer is the fastest one.
    #[test]
    fn ratios_are_paired_and_the_best_peer_is_found() {
        let outcome = Outcome {
            names: vec!["ours", "slow", "fast"],
            seconds: vec![vec![2e-6; 9], vec![4e-6; 9], vec![1e-6; 9]],
        };
        let unit = Unit::Microseconds;
        let row =
            outcome.row_of_best("x", unit, "ours", &["slow", "fast"], Some(Goal::at_most(1.5)));
        assert_eq!(row.peer_name, "fast");
        assert!((row.ratio.unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(row.met, Some(false));
        let rate = outcome.row("x", Unit::rate(1000), "ours", "slow", Some(Goal::at_least(1.9)));
        assert!((rate.ratio.unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(rate.met, Some(true));
    }

    /// Every side runs in every round, including the warm-up.
    #[test]
    fn every_side_runs_in_every_round() {
        let (mut a, mut b) = (0, 0);
        let contest = Contest::new()
            .repeats(2)
            .side("a", || {
                a += 1;
                Ok(())
            })
            .side("b", || {
                b += 1;
                Ok(())
            });
        contest.run(Effort { rounds: Some(7) }).unwrap();
        assert_eq!((a, b), (16, 16));
    }
}
