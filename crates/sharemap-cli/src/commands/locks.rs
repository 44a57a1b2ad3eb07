//! `sharemap locks`: who holds the locks of an object, who waits, and for how long.

use super::objects::{self, Attached, Target};
use crate::failure::Failure;
use crate::output::Output;
use crate::units;
use serde::Serialize;
use sharemap::inspect::{Inspection, LockInfo, LockKind, ThreadInfo};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// Show who holds the locks of a shared object, who waits for them, and for how long.
///
/// Locks show that somebody holds or asks for. Taking one that is free takes no time, and nobody notes
/// when it was: "held for at least" is how long somebody has slept for it without a release, which is
/// known after some milliseconds, and "seen" how long this command saw it with the same owner, looking
/// again and again for the time given by --for (it may have been released and taken again between two
/// looks).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The object's name, or a path with a separator.
    #[arg(value_name = "NAME")]
    name: String,
    /// How long to look.
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
    /// By who waits.
    held_at_least_seconds: Option<f64>,
    /// With the same owner at every look.
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

/// What many looks have shown: the locks as they are at the last one, and for how long each had its
/// owner.
struct Watched {
    locks: Vec<LockInfo>,
    /// By offset: the owner's lane, and the end of the first of the looks that all saw it there.
    owned: BTreeMap<u64, (u32, Duration)>,
    looks: u64,
    seconds: f64,
    /// When the last look began.
    last: Duration,
}

/// Of those who wait for what somebody owns, and a moment more.
const LONGEST_SLEEP: Duration = Duration::from_millis(6);

impl Watched {
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
    let thread = |who: &ThreadInfo| {
        let known = who.participant.and_then(|number| processes.get(&number));
        Thread {
            lane: who.lane,
            participant: who.participant,
            process: who.process,
            pid: known.and_then(|known| known.pid),
            program: known.and_then(|known| known.program.clone()),
            alive: known.and_then(|known| known.alive),
            asleep_seconds: who.asleep_for.map(|time| time.as_secs_f64()),
        }
    };
    let owner = lock.owner.as_ref();
    let seen = owner.and_then(|_| watched.owned.get(&lock.offset));
    let seen = seen.map(|(_, since)| watched.last.saturating_sub(*since));
    // Who was not woken by the release that made it this owner's has noticed by now.
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
    if report.locks.is_empty() {
        return output.line("nobody holds or asks for a lock in it");
    }
    for lock in &report.locks {
        output.line(format!("{} at offset {}{}", lock.kind, lock.offset, flags(lock)))?;
        if let Some(owner) = &lock.owner {
            output.field("owner", format!("{}{}", owner.text(), held(lock, report.looks)))?;
        }
        let held = match lock.kind {
            "rwlock" => "reads",
            "semaphore" => "has a permit",
            _ => "to come",
        };
        for holder in &lock.holders {
            output.field(held, holder.text())?;
        }
        for waiter in &lock.waiters {
            output.field("waits", format!("{}{}", waiter.text(), waiter.asleep()))?;
        }
        if lock.sleepers && lock.waiters.is_empty() {
            output.field("waits", "somebody sleeps, or did until a moment ago")?;
        }
    }
    Ok(())
}

fn flags(lock: &Shown) -> String {
    let all = [
        (lock.upgradable, "had upgradably"),
        (lock.poisoned, "poisoned"),
        (lock.owner_died, "an owner died, and none since has accepted the value"),
        (lock.done, "done"),
    ];
    all.iter().filter(|(set, _)| *set).map(|(_, what)| format!("; {what}")).collect()
}

fn held(lock: &Shown, looks: u64) -> String {
    let time = |seconds: f64| units::duration(Duration::from_secs_f64(seconds));
    match (lock.held_at_least_seconds, lock.seen_held_seconds) {
        (Some(least), Some(seen)) if least >= seen => {
            format!("; held for at least {}", time(least))
        }
        (_, Some(seen)) if looks > 1 && seen > 0.0 => {
            format!("; seen so at every look for {}, since when is not known", time(seen))
        }
        _ => "; since when is not known".into(),
    }
}

impl Thread {
    fn text(&self) -> String {
        let lane = self.lane;
        let Some(process) = self.process else { return format!("lane {lane}, nobody's any more") };
        let here = match self.pid {
            Some(pid) if pid != process => format!(" ({pid} here)"),
            _ => String::new(),
        };
        let program = self.program.as_deref().map_or(String::new(), |name| format!(" {name}"));
        let dead = match self.alive {
            Some(false) => ", which died: the next to ask is told",
            _ => "",
        };
        format!("process {process}{here}{program} (lane {lane}){dead}")
    }

    fn asleep(&self) -> String {
        let text = |seconds| units::duration(Duration::from_secs_f64(seconds));
        self.asleep_seconds.map_or(String::new(), |time| format!(", asleep for {}", text(time)))
    }
}
