//! `sharemap locks`: lists the holders and waiters of an object's locks, with times.

use super::objects::{self, Attached, Target};
use crate::failure::Failure;
use crate::output::Output;
use crate::units;
use serde::Serialize;
use sharemap::inspect::{Inspection, LockInfo, LockKind, ThreadInfo};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// Lists the locks of a shared object that a thread holds or waits for.
///
/// The time at which a lock was acquired is not recorded. "held for at least" is how long a waiter has
/// slept without a release; it is known after the lock has been observed for some milliseconds. "same
/// owner at every look" is how long this command observed the same owner, looking repeatedly for the
/// time given by --for. The lock may have been released and acquired again between two looks.
///
/// The locks of a segment are not listed: a thread holds them for one change only. `sharemap stat` counts
/// the changes.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the object, or a path with a separator.
    #[arg(value_name = "NAME")]
    name: String,
    /// How long to observe the locks.
    #[arg(
        long = "for",
        value_name = "DURATION",
        value_parser = units::parse_duration,
        default_value = "100ms"
    )]
    duration: Duration,
}

#[derive(Serialize)]
struct Report {
    name: String,
    kind: String,
    state: &'static str,
    looks: u64,
    seconds: f64,
    locks: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    offset: u64,
    kind: &'static str,
    owner: Option<Thread>,
    holders: Vec<Thread>,
    waiters: Vec<Thread>,
    upgradable: bool,
    poisoned: bool,
    owner_died: bool,
    done: bool,
    sleepers: bool,
    /// How long a waiter has slept without a release.
    held_at_least_seconds: Option<f64>,
    /// How long every look found the same owner.
    seen_held_seconds: Option<f64>,
}

#[derive(Serialize)]
struct Thread {
    lane: u32,
    participant: Option<u32>,
    process: Option<u32>,
    pid: Option<u32>,
    program: Option<String>,
    alive: Option<bool>,
    asleep_seconds: Option<f64>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let target = Target::find(&args.name)?;
    let look = target.inspect()?;
    let watched = Watched::watch(&look, args.duration)?;
    let threads = look.participants()?.iter().map(|p| (p.number, Attached::of(p))).collect();
    let locks = watched.locks.iter().map(|lock| shown(lock, &watched, &threads)).collect();
    let report = Report {
        name: target.name,
        kind: objects::kind(&look),
        state: objects::state(&look)?,
        looks: watched.looks,
        seconds: watched.seconds,
        locks,
    };
    if output.json() { output.object(&report) } else { print(&report, output) }
}

/// The result of repeated looks: the locks at the last look, and the time that each had its owner.
struct Watched {
    locks: Vec<LockInfo>,
    /// By offset: the owner's lane, and the end of the first look in the unbroken row that found it.
    owned: BTreeMap<u64, (u32, Duration)>,
    looks: u64,
    seconds: f64,
    /// The time at which the last look began.
    last: Duration,
}

/// The longest sleep of a waiter for an owned lock (4 ms), and a margin.
const LONGEST_SLEEP: Duration = Duration::from_millis(6);

impl Watched {
    /// Looks at the locks repeatedly for `duration`, and at least once.
    fn watch(look: &Inspection, duration: Duration) -> Result<Self, Failure> {
        const PAUSE: Duration = Duration::from_millis(5);
        let begun = Instant::now();
        let mut owned: BTreeMap<u64, (u32, Duration)> = BTreeMap::new();
        let mut looks = 0;
        loop {
            let now = begun.elapsed();
            let locks = look.locks()?;
            let elapsed = begun.elapsed();
            looks += 1;
            let mut still = BTreeMap::new();
            for lock in &locks {
                let Some(owner) = &lock.owner else { continue };
                let since = match owned.get(&lock.offset) {
                    Some((lane, since)) if *lane == owner.lane => *since,
                    _ => elapsed,
                };
                still.insert(lock.offset, (owner.lane, since));
            }
            owned = still;
            if elapsed >= duration {
                return Ok(Self { locks, owned, looks, seconds: elapsed.as_secs_f64(), last: now });
            }
            thread::sleep(PAUSE.min(duration - elapsed));
        }
    }
}

fn shown(lock: &LockInfo, watched: &Watched, processes: &BTreeMap<u32, Attached>) -> Shown {
    let thread = |info: &ThreadInfo| {
        let known = info.participant.and_then(|number| processes.get(&number));
        Thread {
            lane: info.lane,
            participant: info.participant,
            process: info.process,
            pid: known.and_then(|known| known.pid),
            program: known.and_then(|known| known.program.clone()),
            alive: known.and_then(|known| known.alive),
            asleep_seconds: info.asleep_for.map(|time| time.as_secs_f64()),
        }
    };
    let owner = lock.owner.as_ref();
    let seen = owner.and_then(|_| watched.owned.get(&lock.offset));
    let seen = seen.map(|(_, since)| watched.last.saturating_sub(*since));
    // A waiter notices a release only when its sleep ends. If the owner has been seen for longer than
    // one sleep, the waiters have noticed the release before it, and their times are this owner's.
    let noticed = seen > Some(LONGEST_SLEEP);
    Shown {
        offset: lock.offset,
        kind: kind(lock.kind),
        owner: owner.map(thread),
        holders: lock.holders.iter().map(thread).collect(),
        waiters: lock.waiters.iter().map(thread).collect(),
        upgradable: lock.is_upgradable,
        poisoned: lock.is_poisoned,
        owner_died: lock.owner_died,
        done: lock.is_done,
        sleepers: lock.has_sleepers,
        held_at_least_seconds: lock.held_for.filter(|_| noticed).map(|time| time.as_secs_f64()),
        seen_held_seconds: seen.map(|time| time.as_secs_f64()),
    }
}

fn kind(kind: LockKind) -> &'static str {
    match kind {
        LockKind::Mutex => "mutex",
        LockKind::RwLock => "rwlock",
        LockKind::Condvar => "condvar",
        LockKind::CountingSemaphoreOrEvent => "counting semaphore or event",
        LockKind::Once => "once",
        LockKind::Semaphore => "semaphore",
        LockKind::Barrier => "barrier",
        _ => "unknown",
    }
}

fn print(report: &Report, output: &mut Output) -> Result<(), Failure> {
    output.line(format!("{}: {}, {}", report.name, report.kind, report.state))?;
    if report.kind == "segment" {
        return output.line(
            "a thread holds the locks of a segment for one change only; `sharemap stat` counts the changes",
        );
    }
    if report.kind == "spsc" {
        return output
            .line("a channel has no locks; `sharemap stat` shows its ends and its messages");
    }
    if report.locks.is_empty() {
        return output.line("no thread holds or waits for a lock in it");
    }
    for lock in &report.locks {
        output.line(format!("{} at offset {}{}", lock.kind, lock.offset, flags(lock)))?;
        if let Some(owner) = &lock.owner {
            output.field("owner", format!("{}{}", owner.text(), held(lock, report.looks)))?;
        }
        let held = match lock.kind {
            "rwlock" => "reader",
            "semaphore" => "holds permit",
            _ => "not arrived",
        };
        for holder in &lock.holders {
            output.field(held, holder.text())?;
        }
        for waiter in &lock.waiters {
            output.field("waiter", format!("{}{}", waiter.text(), waiter.asleep()))?;
        }
        if lock.sleepers && lock.waiters.is_empty() {
            output.field("waiter", "a thread sleeps, or slept until a moment ago")?;
        }
    }
    Ok(())
}

/// Returns the flags of a lock as text.
fn flags(lock: &Shown) -> String {
    let all = [
        (lock.upgradable, "held upgradable"),
        (lock.poisoned, "poisoned"),
        (lock.owner_died, "an owner died, and no owner since has marked the value consistent"),
        (lock.done, "done"),
    ];
    all.iter().filter(|(set, _)| *set).map(|(_, what)| format!("; {what}")).collect()
}

/// Returns how long the lock has been held, as text.
fn held(lock: &Shown, looks: u64) -> String {
    let time = |seconds: f64| units::duration(Duration::from_secs_f64(seconds));
    match (lock.held_at_least_seconds, lock.seen_held_seconds) {
        (Some(least), Some(seen)) if least >= seen => {
            format!("; held for at least {}", time(least))
        }
        (_, Some(seen)) if looks > 1 && seen > 0.0 => {
            format!("; same owner at every look for {}, acquired at an unknown time", time(seen))
        }
        _ => "; acquired at an unknown time".into(),
    }
}

impl Thread {
    fn text(&self) -> String {
        let lane = self.lane;
        let Some(process) = self.process else {
            return format!("lane {lane}, which is no longer in use");
        };
        let here = match self.pid {
            Some(pid) if pid != process => format!(" ({pid} here)"),
            _ => String::new(),
        };
        let program = self.program.as_deref().map_or(String::new(), |name| format!(" {name}"));
        let dead = match self.alive {
            Some(false) => ", which died and has not been recovered",
            _ => "",
        };
        format!("process {process}{here}{program} (lane {lane}){dead}")
    }

    fn asleep(&self) -> String {
        let text = |seconds| units::duration(Duration::from_secs_f64(seconds));
        self.asleep_seconds.map_or(String::new(), |time| format!(", asleep for {}", text(time)))
    }
}
