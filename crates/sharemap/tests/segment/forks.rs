//! A forked child uses its parent's handles as another process.

#![allow(unsafe_code, reason = "forks")]

use sharemap::UnlinkOnDrop;

use super::peer::{Peer, tell};
use super::*;
use crate::common::role;

const ROLE: &str = "forks::forks_with_an_open_segment";
const CHILDREN: u64 = 8;

/// Runs `action` in a forked child of this single-threaded process. Returns its process id.
fn fork(action: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the process has one thread. The child exits here.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(action));
        // SAFETY: ends the child without running any code of the test program.
        unsafe { libc::_exit(ended.is_err().into()) };
    }
    child
}

fn wait(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: the child belongs to this process.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

/// Child role, in which the process has one thread.
#[test]
fn forks_with_an_open_segment() {
    let Some(name) = role(ROLE) else { return };
    let segment = Segment::open(name.to_str().unwrap()).unwrap();
    let map = segment.hash_map::<u64, u64>("map").unwrap();
    let blocks = segment.hash_map::<u64, [u8]>("blocks").unwrap();
    // This thread has a lane, a stack of blocks, and caches, all of which a child must not use.
    for key in 0..500 {
        map.insert(&key, &key).unwrap();
        blocks.insert(&key, &[1; 50]).unwrap();
    }
    let work = |child: u64| {
        for key in 0..500 {
            let own = child << 32 | key;
            assert_eq!(map.insert(&own, &child).unwrap(), None);
            blocks.insert(&own, &vec![child as u8; 20 + key as usize % 60]).unwrap();
            if key % 3 == 0 {
                assert_eq!(map.remove(&own).unwrap(), Some(child));
                assert!(blocks.remove(&own).unwrap().is_some());
            }
            map.update(&key, |value| value + 1000).unwrap();
        }
    };
    let children: Vec<_> = (1..=CHILDREN).map(|child| fork(|| work(child))).collect();
    work(CHILDREN + 1);
    assert!(children.into_iter().all(|child| wait(child) == 0));
    // Another child dies while it works, and its parent goes on.
    for round in 0..20 {
        let child = fork(|| {
            loop {
                work_until_killed(&blocks, 1000 + round);
            }
        });
        work_until_killed(&blocks, 2000 + round);
        // SAFETY: the child belongs to this process.
        unsafe { libc::kill(child, libc::SIGKILL) };
        assert_ne!(wait(child), 0);
        for key in 0..100_u64 {
            blocks.remove(&((1000 + round) << 32 | key)).unwrap();
            blocks.remove(&((2000 + round) << 32 | key)).unwrap();
        }
    }
    segment.repair().unwrap();
    assert_whole(&segment, 0);
    tell("done");
}

fn work_until_killed(blocks: &sharemap::containers::HashMap<u64, [u8]>, number: u64) {
    for key in 0..100 {
        blocks.insert(&(number << 32 | key), &vec![1; 30 + key as usize]).unwrap();
    }
}

#[test]
fn forked_children_use_the_handles_of_their_parent() {
    need_atomics!();
    let name = format!("segment-forks-{}", std::process::id());
    let _unlinked = UnlinkOnDrop::new(&name);
    let segment = Segment::create_new(&name, 1 << 20, 1 << 26).unwrap();
    let mut peer = Peer::start(ROLE, &name);
    assert_eq!(peer.hear(), "done");
    drop(peer);
    let map = segment.hash_map::<u64, u64>("map").unwrap();
    let blocks = segment.hash_map::<u64, [u8]>("blocks").unwrap();
    let all = CHILDREN + 1;
    for key in 0..500 {
        assert_eq!(map.get(&key).unwrap(), Some(key + 1000 * all), "{key}");
        for child in 1..=all {
            let expected = (key % 3 != 0).then_some(child);
            assert_eq!(map.get(&(child << 32 | key)).unwrap(), expected);
            assert_eq!(blocks.contains_key(&(child << 32 | key)).unwrap(), expected.is_some());
        }
    }
    segment.repair().unwrap();
    assert_whole(&segment, 0);
}
