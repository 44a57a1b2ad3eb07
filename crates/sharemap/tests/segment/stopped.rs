//! A stopped writer: lookups go on, and writers go on once it does.

#![allow(unsafe_code, reason = "sends signals")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sharemap::{ErrorKind, UnlinkOnDrop};

use super::peer::{Peer, tell};
use super::*;
use crate::common::role;

const ROLE: &str = "stopped::changes_a_map";
const KEYS: u64 = 64;

/// Child role: changes two maps without end.
#[test]
fn changes_a_map() {
    let Some(name) = role(ROLE) else { return };
    let segment = Segment::open(name.to_str().unwrap()).unwrap();
    let words = segment.hash_map::<u64, u64>("words").unwrap();
    let blocks = segment.hash_map::<u64, [u8]>("blocks").unwrap();
    tell("works");
    for round in 0_u64.. {
        let key = round % KEYS;
        words.insert(&key, &(round << 8 | key)).unwrap();
        blocks.insert(&key, &vec![key as u8; 100 + (round % 100) as usize]).unwrap();
        // Pages are rebuilt.
        words.insert(&(1000 + round % 50), &round).unwrap();
        words.remove(&(1000 + (round + 25) % 50)).unwrap();
    }
}

fn signal(peer: &Peer, signal: i32) {
    let process = peer.id() as i32;
    // SAFETY: a child of this process, which is waited for only until it stops.
    unsafe {
        assert_eq!(libc::kill(process, signal), 0);
        if signal == libc::SIGSTOP {
            let stopped = libc::waitpid(process, std::ptr::null_mut(), libc::WUNTRACED);
            assert_eq!(stopped, process);
        }
    }
}

/// While a writer is stopped, every key can be read; a thread that needs its lock waits, and goes on afterwards.
#[test]
fn lookups_go_on_beside_a_stopped_writer() {
    need_atomics!();
    let name = format!("segment-stopped-{}", std::process::id());
    let _unlinked = UnlinkOnDrop::new(&name);
    let segment = Segment::create_new(&name, 1 << 20, 1 << 24).unwrap();
    let words = segment.hash_map::<u64, u64>("words").unwrap();
    let blocks = segment.hash_map::<u64, [u8]>("blocks").unwrap();
    for key in 0..KEYS {
        words.insert(&key, &key).unwrap();
        blocks.insert(&key, &[key as u8; 100]).unwrap();
    }
    let peer = &mut Peer::start(ROLE, &name);
    assert_eq!(peer.hear(), "works");
    let (done, writes) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            // All locks of the map, in turn.
            for round in 0_u64.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                words.insert(&(2000 + round % 300), &round).unwrap();
                writes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let (stops, mut blocked) = (if is_long() { 500 } else { 40 }, 0);
            for stop in 0..stops {
                signal(peer, libc::SIGSTOP);
                let before = writes.load(Ordering::Relaxed);
                for _ in 0..20 {
                    for key in 0..KEYS {
                        let value = words.get(&key).unwrap().unwrap();
                        assert_eq!(value & 0xff, key, "stop {stop}");
                        let value = blocks.get(&key).unwrap().unwrap();
                        assert!(value.len() >= 100 && value.iter().all(|it| *it == key as u8));
                    }
                    assert_eq!(words.get(&9999).unwrap(), None);
                }
                thread::yield_now();
                blocked += u64::from(writes.load(Ordering::Relaxed) == before);
                signal(peer, libc::SIGCONT);
                // The writer of this process goes on, whatever the stopped one held.
                let (now, start) = (writes.load(Ordering::Relaxed), Instant::now());
                while writes.load(Ordering::Relaxed) < now + 10 {
                    assert!(start.elapsed() < Duration::from_secs(60), "no write after a stop");
                    thread::yield_now();
                }
            }
            println!("{stops} stops; a writer made no progress in {blocked} of them");
        }));
        done.store(true, Ordering::Relaxed);
        signal(peer, libc::SIGCONT);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
    peer.kill();
    segment.repair().unwrap();
    assert_whole(&segment, 0);
}

/// A change that needs a lock of a stopped writer fails after the handle's timeout, and succeeds once the writer goes on.
#[test]
fn changes_beside_a_stopped_writer_time_out() {
    need_atomics!();
    let name = format!("segment-timeout-{}", std::process::id());
    let _unlinked = UnlinkOnDrop::new(&name);
    let segment = Segment::create_new(&name, 1 << 20, 1 << 24).unwrap();
    let timeout = Duration::from_millis(20);
    let words = segment.hash_map::<u64, u64>("words").unwrap();
    let patient = segment.with_timeout(timeout).hash_map::<u64, u64>("words").unwrap();
    let peer = &mut Peer::start(ROLE, &name);
    assert_eq!(peer.hear(), "works");
    let start = Instant::now();
    let key = loop {
        assert!(start.elapsed() < Duration::from_secs(120), "no stop in the middle of a change");
        signal(peer, libc::SIGSTOP);
        // All locks of the map.
        let refused = (2000..2300).find(|key| match patient.insert(key, &1) {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                true
            }
        });
        if let Some(key) = refused {
            break key;
        }
        signal(peer, libc::SIGCONT);
    };
    let before = words.get(&key).unwrap();
    let start = Instant::now();
    assert_eq!(patient.insert(&key, &2).unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(patient.remove(&key).unwrap_err().kind(), ErrorKind::Timeout);
    assert!(start.elapsed() >= 2 * timeout, "the changes waited");
    assert_eq!(words.get(&key).unwrap(), before, "the map is as before");
    // A handle without a timeout waits.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| words.insert(&key, &3));
        signal(peer, libc::SIGCONT);
        assert_eq!(waiting.join().unwrap().unwrap(), before);
    });
    assert_eq!(patient.insert(&key, &4).unwrap(), Some(3));
    peer.kill();
    segment.repair().unwrap();
    assert_whole(&segment, 0);
}
