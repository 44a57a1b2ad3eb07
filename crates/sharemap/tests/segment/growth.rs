//! A segment that three processes fill while it grows. Nothing is lost, and no offset changes.

use std::time::{Duration, Instant};

use sharemap::UnlinkOnDrop;
use sharemap::containers::HashMap;

use super::peer::{Peer, listen, tell};
use super::*;

const ROLE: &str = "growth::inserts_while_the_segment_grows";
const PROCESSES: u64 = 3;

/// The longest of many calls, by the clock and by the processor time of the thread.
#[derive(Clone, Copy, Debug, Default)]
struct Longest {
    elapsed: Duration,
    own: Duration,
    /// The number of calls of more than a millisecond of processor time.
    long: u64,
}

/// Returns the processor time of this thread, where the system tells.
#[cfg(unix)]
#[allow(unsafe_code, reason = "asks the system for a time")]
fn own_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the time.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(not(unix))]
fn own_time() -> Duration {
    Duration::ZERO
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
    let (mut count, mut most) = (0, Longest::default());
    loop {
        let key = key(process, count);
        let (start, own) = (Instant::now(), own_time());
        let result = numbers.insert(&key, &!key).and_then(|previous| {
            assert_eq!(previous, None);
            blocks.insert(&key, &value(key, longest))
        });
        let own = own_time() - own;
        most.elapsed = most.elapsed.max(start.elapsed());
        most.own = most.own.max(own);
        most.long += u64::from(own > Duration::from_millis(1));
        match result {
            Ok(previous) => assert_eq!(previous, None),
            // The last growth is to the limit.
            Err(error) => {
                assert_eq!(error.kind(), sharemap::ErrorKind::NoSpace, "{error}");
                break;
            }
        }
        count += 1;
        if count % 256 == 0 && segment.file().unwrap().metadata().unwrap().len() >= until {
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
    tell(&format!("{count} {most:?}"));
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
