//! Processes that are told apart by nothing but the kernel's word: ids that are used again, programs
//! that take over a process, children made behind the C library's back, recoverers that stop.

#![allow(unsafe_code, reason = "clones, stops, executes, and chooses process ids")]

use super::{DIED, Scratch, need_atomics, open, release, shape};
use crate::error::Result;
use crate::peer::session::{FIRST, Session};
use crate::peer::world::{Settled, World};
use crate::peer::{Terms, create};
use crate::shm::Location;
use crate::sys::second::{Second, listen, role, tell};

/// Locks the word at this distance into the payload; gives the lane.
fn lock(session: &Session, distance: u64) -> u32 {
    let at = session.payload_at() + distance;
    let held = session.announce(at).unwrap();
    assert_eq!(session.compare_exchange_32(at, 0, held.lane + 1).unwrap(), 0);
    held.lane
}

fn settle_soon(session: &Session, lane: u32) {
    while session.settle(lane).unwrap() == Settled::Alive {
        std::thread::yield_now();
    }
}

/// Has a word, and does what it is told.
#[test]
fn holder() {
    let Some(argument) = role("peer::tests::pids::holder") else { return };
    let (distance, path) = argument.split_once(' ').unwrap();
    let session = open(path);
    tell(&lock(&session, distance.parse().unwrap()).to_string());
    loop {
        match listen().as_str() {
            #[cfg(unix)]
            "exec" => {
                use std::os::unix::process::CommandExt;
                panic!("{}", std::process::Command::new("sleep").arg("60").exec());
            }
            #[cfg(target_os = "linux")]
            "clone" => tell(&clone_alone().to_string()),
            #[cfg(target_os = "linux")]
            "share" => {
                share_memory();
                tell("the other ended");
            }
            _ => return,
        }
    }
}

fn held(file: &Scratch, distance: u64) -> (Second, u32) {
    let argument = format!("{distance} {}", file.name());
    let mut second = Second::start("peer::tests::pids::holder", &argument);
    let lane = second.hear().parse().unwrap();
    (second, lane)
}

/// A process with a copy of this one's memory, that no handler for forks has seen; it sleeps.
#[cfg(target_os = "linux")]
fn clone_alone() -> i32 {
    // SAFETY: as a fork; the child only sleeps, until it is killed.
    unsafe {
        let child = libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as i32;
        if child == 0 {
            loop {
                libc::pause();
            }
        }
        assert!(child > 0);
        child
    }
}

/// A process in this one's own memory and with its own descriptors, that ends.
#[cfg(target_os = "linux")]
fn share_memory() {
    extern "C" fn end(_: *mut libc::c_void) -> libc::c_int {
        // SAFETY: ends the process that calls it, and nothing of the other's.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        0
    }
    let mut stack = vec![0_u128; 4096];
    // SAFETY: a stack of its own, that is there until it has ended; the function uses no more.
    unsafe {
        let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::SIGCHLD;
        let top = stack.as_mut_ptr_range().end.cast();
        let child = libc::clone(end, top, flags, std::ptr::null_mut());
        assert!(child > 0);
        assert_eq!(libc::waitpid(child, std::ptr::null_mut(), 0), child);
    }
}

/// The same process with the same start, and another program in it: its memory is gone.
#[cfg(unix)]
#[test]
fn a_process_that_executes_another_program_is_dead() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let (mut second, lane) = held(&file, 0);
    second.say("exec");
    settle_soon(&session, lane);
    assert_eq!(session.load_32(session.payload_at()).unwrap(), DIED);
    assert_eq!(session.participants().unwrap().len(), 1);
}

#[cfg(target_os = "linux")]
#[test]
fn a_clone_keeps_nobody_alive() {
    need_atomics!();
    if !crate::sys::fork::wipes() {
        eprintln!("skipped: this kernel does not follow advice about forks");
        return;
    }
    let file = Scratch::new();
    let session = file.create();
    let (mut second, lane) = held(&file, 0);
    second.say("clone");
    let child: i32 = second.hear().parse().unwrap();
    assert_eq!(session.settle(lane).unwrap(), Settled::Alive);
    second.kill();
    settle_soon(&session, lane);
    assert_eq!(session.load_32(session.payload_at()).unwrap(), DIED);
    // SAFETY: the process that was made above, which sleeps.
    unsafe { libc::kill(child, libc::SIGKILL) };
}

#[cfg(target_os = "linux")]
#[test]
fn a_clone_in_the_same_memory_takes_nobody_along() {
    need_atomics!();
    if !crate::sys::fork::wipes() {
        eprintln!("skipped: an emulator does not clone so");
        return;
    }
    let file = Scratch::new();
    let session = file.create();
    let (mut second, lane) = held(&file, 0);
    second.say("share");
    second.expect("the other ended");
    for _ in 0..100 {
        assert_eq!(session.settle(lane).unwrap(), Settled::Alive);
    }
    assert_eq!(session.load_32(session.payload_at()).unwrap(), lane + 1);
    second.kill();
    settle_soon(&session, lane);
}

/// Its number is another process's when it is asked about: that one neither counts as it, nor is
/// taken for dead.
#[cfg(target_os = "linux")]
#[test]
fn an_id_that_is_used_again_is_another_process() {
    use crate::sys::second::fork;
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let outer = fork(|| {
        // SAFETY: takes numbers only; this process has one thread.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
            eprintln!("skipped: no new pid namespaces for this user");
            return;
        }
        assert!(fork(|| use_an_id_again(&session)).unwrap().passed());
    });
    assert!(outer.is_none_or(|outer| outer.passed()));
}

/// In the first process of a namespace, where ids can be chosen.
#[cfg(target_os = "linux")]
fn use_an_id_again(session: &Session) {
    let kill = |process: i32| {
        // SAFETY: our own child, waited for once.
        unsafe {
            libc::kill(process, libc::SIGKILL);
            assert_eq!(libc::waitpid(process, std::ptr::null_mut(), 0), process);
        }
    };
    // A child that has the word and sleeps.
    let start = |distance| {
        // SAFETY: this process has one thread.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let locked = std::panic::catch_unwind(|| lock(session, distance));
            // SAFETY: sleeps until it is killed, or ends.
            unsafe {
                while locked.is_ok() {
                    libc::pause();
                }
                libc::_exit(1);
            }
        }
        let at = session.payload_at() + distance;
        while session.load_32(at).unwrap() == 0 {
            std::thread::yield_now();
        }
        (child, session.load_32(at).unwrap() - 1)
    };
    let (first, lane) = start(0);
    kill(first);
    let chosen = std::fs::write("/proc/sys/kernel/ns_last_pid", (first - 1).to_string());
    if let Err(error) = chosen {
        eprintln!("skipped: process ids cannot be chosen here: {error}");
        return;
    }
    let (second, others) = start(16);
    assert_eq!(second, first, "the id was to be used again");
    assert_ne!(others, lane, "the dead one's lane is not free before it is recovered");
    // One is dead and the other lives, whatever their number.
    settle_soon(session, lane);
    assert_eq!(session.load_32(session.payload_at()).unwrap(), DIED);
    assert_eq!(session.settle(others).unwrap(), Settled::Alive);
    assert_eq!(session.load_32(session.payload_at() + 16).unwrap(), others + 1);
    kill(second);
    settle_soon(session, others);
    assert_eq!(session.load_32(session.payload_at() + 16).unwrap(), DIED);
}

/// Recovers somebody, and waits in the middle of it.
#[test]
fn recoverer() {
    fn wait_half_way(session: &Session, slot: u64, what: u64, lane: u32) -> Result<()> {
        tell("half-way");
        listen();
        release(session, slot, what, lane)
    }
    let Some(path) = role("peer::tests::pids::recoverer") else { return };
    let (location, terms) = (Location::file(path), Terms::default());
    let session = create::open(&location, &shape(), &terms, wait_half_way).unwrap();
    tell("attached");
    listen();
    while session.sweep().unwrap() == 0 {
        std::thread::yield_now();
    }
    tell("done");
    listen();
}

/// Two that are dead; the first is being recovered by one who is stopped in the middle of it.
fn stopped_in_the_middle(file: &Scratch, session: &Session) -> Option<(Second, u32, u32)> {
    let (mut first, one) = held(file, 0);
    let mut recoverer = Second::start("peer::tests::pids::recoverer", file.name());
    recoverer.expect("attached");
    let (mut other, two) = held(file, 16);
    first.kill();
    recoverer.say("recover");
    recoverer.expect("half-way");
    if !recoverer.stop() {
        eprintln!("skipped: nothing stops processes here");
        return None;
    }
    other.kill();
    // The dead one that nobody is at is recovered; the other waits for whoever is at it.
    settle_soon(session, two);
    assert_eq!(session.load_32(session.payload_at() + 16).unwrap(), DIED);
    for _ in 0..100 {
        assert_eq!(session.settle(one).unwrap(), Settled::Alive);
    }
    assert_eq!(session.load_32(session.payload_at()).unwrap(), one + 1);
    // Others come, and have what is free.
    let (mut third, three) = held(file, 32);
    third.kill();
    settle_soon(session, three);
    Some((recoverer, one, two))
}

#[test]
fn a_stopped_recoverer_holds_up_what_its_dead_peer_had_and_nothing_else() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let Some((mut recoverer, one, _)) = stopped_in_the_middle(&file, &session) else { return };
    recoverer.go_on();
    recoverer.say("go on");
    recoverer.expect("done");
    assert_eq!(session.settle(one).unwrap(), Settled::Recovered);
    assert_eq!(session.load_32(session.payload_at()).unwrap(), DIED);
    recoverer.say("end");
    assert!(recoverer.finish().success());
}

#[test]
fn a_recoverer_that_is_killed_where_it_is_stopped_is_replaced() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let Some((mut recoverer, one, _)) = stopped_in_the_middle(&file, &session) else { return };
    recoverer.kill();
    settle_soon(&session, one);
    assert_eq!(session.load_32(session.payload_at()).unwrap(), DIED);
    while session.sweep().unwrap() + session.participants().unwrap().len() as u32 != 1 {
        std::thread::yield_now();
    }
    for participant in 1..session.header().participants {
        assert!(session.slots.is_free(FIRST + u64::from(participant)).unwrap());
    }
}
