//! A segment that three processes fill while it grows. Nothing is lost, and no offset changes.

use std::time::{Duration, Instant};

use sharemap::UnlinkOnDrop;
use sharemap::containers::HashMap;

use super::peer::{Peer, listen, tell};
use super::*;

const ROLE: &str = "growth::inserts_while_the_segment_grows";
const PROCESSES: u64 = 3;

/// What a call cost its thread.
#[derive(Clone, Copy, Default)]
struct Cost {
    elapsed: Duration,
    /// Processor time.
    own: Duration,
    /// How often the thread gave up its processor to wait: for another's lock, or for the system.
    waits: u64,
}

impl Cost {
    fn until(self, now: Self, elapsed: Duration) -> Self {
        Self { elapsed, own: now.own - self.own, waits: now.waits - self.waits }
    }
}

/// The most expensive of many calls.
#[derive(Clone, Copy, Default)]
struct Most {
    calls: u64,
    /// The call of the most processor time; by the clock where that is not counted.
    longest: Cost,
    /// The waits of the call that waited most often.
    waits: u64,
}

impl Most {
    fn add(&mut self, cost: Cost) {
        self.calls += 1;
        self.waits = self.waits.max(cost.waits);
        let longest = self.longest;
        if (cost.own, cost.elapsed) >= (longest.own, longest.elapsed) {
            self.longest = cost;
        }
    }
}

impl std::fmt::Display for Most {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cost { elapsed, own, waits } = self.longest;
        write!(
            f,
            "{} insertions, the longest {own:?} of processor time, {elapsed:?} by the clock and {waits} waits; \
             the most waits {}",
            self.calls, self.waits
        )
    }
}

/// Returns what this thread has cost so far, where the system tells.
#[cfg(unix)]
#[allow(unsafe_code, reason = "asks the system for times and counts")]
fn spent() -> Cost {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the time.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let own = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    #[cfg(target_os = "linux")]
    let waits = {
        // SAFETY: zeros are valid.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: writes the usage.
        unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
        usage.ru_nvcsw as u64
    };
    #[cfg(not(target_os = "linux"))]
    let waits = 0;
    Cost { own, waits, ..Cost::default() }
}

#[cfg(not(unix))]
fn spent() -> Cost {
    Cost::default()
}

fn key(process: u64, number: u64) -> u64 {
    number * PROCESSES + process
}

/// Returns the value of a key: its length varies, and all bytes follow from the key.
fn value(key: u64, longest: u64) -> Vec<u8> {
    let len = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    vec![key as u8; (8 + len % longest) as usize]
}

/// Child role: inserts keys of its own until the segment has a length, and looks up all of them.
#[test]
fn inserts_while_the_segment_grows() {
    let Some(argument) = crate::common::role(ROLE) else { return };
    let argument = argument.to_str().unwrap().to_owned();
    let words: Vec<&str> = argument.split(' ').collect();
    let number = |index: usize| words[index].parse::<u64>().unwrap();
    let (process, until, longest) = (number(1), number(2), number(3));
    let segment = Segment::open(words[0]).unwrap();
    let numbers = segment.hash_map::<u64, u64>("numbers").unwrap();
    let blocks = segment.hash_map::<u64, [u8]>("blocks").unwrap();
    let first = segment.allocate(&[process; 20]).unwrap();
    tell("ready");
    assert_eq!(listen().as_deref(), Some("go"));
    // Insertions by what they did beside inserting.
    let (mut plain, mut grew, mut doubled) = (Most::default(), Most::default(), Most::default());
    let facts = || {
        let len = segment.file().unwrap().metadata().unwrap().len();
        let directories = numbers.directory_len().unwrap() + blocks.directory_len().unwrap();
        (len, directories)
    };
    let mut count = 0;
    let mut before = facts();
    loop {
        let key = key(process, count);
        let (start, spent_before) = (Instant::now(), spent());
        let result = numbers.insert(&key, &!key).and_then(|previous| {
            assert_eq!(previous, None);
            blocks.insert(&key, &value(key, longest))
        });
        let cost = spent_before.until(spent(), start.elapsed());
        let after = facts();
        // Others grow the segment too: what happened during a call need not be this call's work.
        match (before.0 != after.0, before.1 != after.1) {
            (_, true) => &mut doubled,
            (true, false) => &mut grew,
            (false, false) => &mut plain,
        }
        .add(cost);
        before = after;
        match result {
            Ok(previous) => assert_eq!(previous, None),
            // The last growth is to the limit.
            Err(error) => {
                assert_eq!(error.kind(), sharemap::ErrorKind::NoSpace, "{error}");
                break;
            }
        }
        count += 1;
        if count % 256 == 0 && after.0 >= until {
            break;
        }
    }
    assert_eq!(segment.read(first).unwrap(), [process; 20]);
    for number in 0..count {
        let key = key(process, number);
        assert_eq!(numbers.get(&key).unwrap(), Some(!key));
        assert_eq!(blocks.get(&key).unwrap(), Some(value(key, longest)));
    }
    segment.free(first).unwrap();
    tell(&format!(
        "{count} keys; while a directory doubled: {doubled}; while the segment grew: {grew}; else: {plain}"
    ));
    // Stays attached until all have ended.
    listen();
}

fn grow(until: u64, longest: u64) {
    let name = format!("segment-growth-{}", std::process::id());
    let _unlinked = UnlinkOnDrop::new(&name);
    let segment = Segment::create_new(&name, 1 << 20, until + (until >> 2)).unwrap();
    let numbers = HashMap::<u64, u64>::create_new(&segment, "numbers").unwrap();
    let blocks = HashMap::<u64, [u8]>::create_new(&segment, "blocks").unwrap();
    segment.create_value("first", &[1_u64, 2, 3]).unwrap();
    let first = segment.offset::<[u64; 3]>("first").unwrap().unwrap();
    let mut peers: Vec<Peer> = (0..PROCESSES)
        .map(|process| Peer::start(ROLE, &format!("{name} {process} {until} {longest}")))
        .collect();
    peers.iter_mut().for_each(|peer| assert_eq!(peer.hear(), "ready"));
    let before = segment.stats().unwrap();
    peers.iter_mut().for_each(|peer| peer.say("go"));
    // A reader, which learns of the growth by no call of its own.
    let (mut reads, mut found, start) = (0_u64, 0_u64, Instant::now());
    while segment.file().unwrap().metadata().unwrap().len() < until {
        assert_eq!(segment.read(first).unwrap(), [1, 2, 3]);
        for number in 0..200 {
            let key = key(reads % PROCESSES, number * (1 + reads % 50));
            if let Some(value) = numbers.get(&key).unwrap() {
                assert_eq!(value, !key);
                found += 1;
            }
            if let Some(found) = blocks.get(&key).unwrap() {
                assert_eq!(found, value(key, longest));
            }
        }
        reads += 1;
        assert!(start.elapsed() < Duration::from_secs(3000), "the segment does not grow");
    }
    let mut total = 0;
    for (process, peer) in (0..).zip(&mut peers) {
        let told = peer.hear();
        println!("process {process}: {told}");
        let count: u64 = told.split(' ').next().unwrap().parse().unwrap();
        total += count;
        for number in (0..count).step_by(if count > 100_000 { 97 } else { 1 }) {
            let key = key(process, number);
            assert_eq!(numbers.get(&key).unwrap(), Some(!key));
            assert_eq!(blocks.get(&key).unwrap(), Some(value(key, longest)));
        }
    }
    let after = segment.stats().unwrap();
    if !cfg!(target_os = "linux") {
        println!("waits are counted on Linux only, processor time on Linux and macOS");
    }
    println!(
        "from {} to {} bytes, {total} keys; {reads} rounds of lookups, {found} found",
        before.len, after.len
    );
    assert!(after.len >= until, "{after:?}");
    // A process without space for a block has inserted the number.
    let len = numbers.len().unwrap();
    assert!(len >= total && len <= total + PROCESSES, "{len} keys, {total} inserted");
    assert_eq!(segment.offset::<[u64; 3]>("first").unwrap(), Some(first));
    assert_whole(&segment, 0);
    drop(peers);
    // All are gone: what they had is recovered, and nothing is lost.
    segment.repair().unwrap();
    assert_whole(&segment, 0);
    drop((segment, numbers, blocks));
    let segment = Segment::open(&name).unwrap();
    assert_eq!(segment.hash_map::<u64, u64>("numbers").unwrap().len().unwrap(), len);
}

/// Three processes insert while the segment grows, and no process loses anything.
#[test]
fn three_processes_fill_a_segment_that_grows() {
    need_atomics!();
    match is_long() {
        true => grow(4 << 30, 2000),
        false => grow(16 << 20, 200),
    }
}
