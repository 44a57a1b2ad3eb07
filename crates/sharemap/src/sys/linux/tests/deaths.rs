//! Tests of liveness locks and what ends them, of waits between processes, and of wiped memory.

#![allow(unsafe_code, reason = "processes, mounts and shared addresses")]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::error::ErrorKind;
use crate::sys::linux::liveness::Slots;
use crate::sys::linux::{fence, fork, map, wait};
use crate::sys::{Access, HugePages, MapRequest, SlotHome, SlotMode, Span, WaitPlace};
use crate::testing::child::{Second, command, listen, role, tell};

const SLOT: u64 = 7;

struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new("/dev/shm").join(format!("sharemap-deaths-{}-{number}", std::process::id()));
        std::fs::write(&path, [0; 4096]).unwrap();
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn slots(&self) -> Slots {
        slots(self.name())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn open(path: &str) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

fn slots(path: &str) -> Slots {
    Slots::open(&open(path), Some(Path::new(path)), [0; 16]).unwrap()
}

/// Waits until [`SLOT`] is free, for at most five seconds. The kernel frees the address space of a killed
/// child at some time before or after the child can be reaped.
fn is_free_soon(slots: &Slots) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        if slots.is_free(SLOT).unwrap() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn a_slot_is_held_exclusively_or_shared() {
    let file = Scratch::new();
    let (one, two) = (file.slots(), file.slots());
    assert!(one.is_free(SLOT).unwrap());
    let hold = one.take(SLOT, SlotMode::Alone).unwrap().expect("free");
    assert!(!one.is_free(SLOT).unwrap() && !two.is_free(SLOT).unwrap());
    assert!(one.is_free(SLOT + 1).unwrap());
    for mode in [SlotMode::Alone, SlotMode::Shared] {
        assert!(one.take(SLOT, mode).unwrap().is_none());
        assert!(two.take(SLOT, mode).unwrap().is_none());
    }
    drop(hold);
    becomes_free(&two);

    let shared = one.take(SLOT, SlotMode::Shared).unwrap().expect("free");
    let also = two.take(SLOT, SlotMode::Shared).unwrap().expect("shared");
    assert!(one.take(SLOT, SlotMode::Alone).unwrap().is_none());
    drop(shared);
    assert!(!one.is_free(SLOT).unwrap());
    drop(also);
    becomes_free(&one);
    assert_eq!(one.home(), SlotHome::Object);
}

/// Waits until the slot is free. A child that another test starts by a raw `clone` (the self-test of
/// the handler) may have a copy of the descriptor for a moment.
fn becomes_free(slots: &Slots) {
    let begun = Instant::now();
    while !slots.is_free(SLOT).unwrap() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the slot stays locked");
        std::thread::yield_now();
    }
}

#[test]
fn closing_another_descriptor_does_not_release_a_slot() {
    let file = Scratch::new();
    let slots = file.slots();
    let hold = slots.take(SLOT, SlotMode::Alone).unwrap().expect("free");
    drop(open(file.name()));
    assert!(!slots.is_free(SLOT).unwrap());
    // SAFETY: the descriptor is open during the call.
    assert_eq!(unsafe { libc::lockf(open(file.name()).as_raw_fd(), libc::F_TEST, 1) }, 0);
    drop(hold);
}

/// The child process of the tests below: holds a slot, and obeys commands.
#[test]
fn holder() {
    let Some(path) = role("sys::linux::tests::deaths::holder") else { return };
    let slots = slots(&path);
    let hold = slots.take(SLOT, SlotMode::Alone).unwrap().expect("free");
    tell("held");
    loop {
        match listen().as_str() {
            "" => break,
            "close all" => {
                // SAFETY: only the first three descriptors are used afterwards.
                unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
            }
            "fork" => {
                // SAFETY: the child only sleeps until it is killed.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    loop {
                        // SAFETY: the call only sleeps.
                        unsafe { libc::pause() };
                    }
                }
                tell(&child.to_string());
                continue;
            }
            "exec" => {
                tell("executing");
                use std::os::unix::process::CommandExt;
                panic!("{}", std::process::Command::new("/bin/sleep").arg("60").exec());
            }
            other => panic!("{other}"),
        }
        tell("done");
    }
    drop(hold);
}

/// Starts a process that holds [`SLOT`].
fn held(file: &Scratch) -> Second {
    let mut second = Second::start("sys::linux::tests::deaths::holder", file.name());
    second.expect("held");
    second
}

#[test]
fn a_slot_ends_with_a_kill() {
    let file = Scratch::new();
    let slots = file.slots();
    let mut second = held(&file);
    assert!(!slots.is_free(SLOT).unwrap());
    second.kill();
    assert!(is_free_soon(&slots));
}

#[test]
fn a_slot_survives_close_range() {
    let file = Scratch::new();
    let slots = file.slots();
    let mut second = held(&file);
    second.say("close all");
    second.expect("done");
    assert!(!slots.is_free(SLOT).unwrap());
    second.kill();
    assert!(is_free_soon(&slots));
}

#[test]
fn a_forked_child_does_not_keep_a_slot() {
    if !fork::wipes() {
        eprintln!("skipped: this kernel does not follow advice about forks");
        return;
    }
    let file = Scratch::new();
    let slots = file.slots();
    let mut second = held(&file);
    second.say("fork");
    let child: i32 = second.hear().parse().unwrap();
    assert!(!slots.is_free(SLOT).unwrap());
    second.kill();
    let free = is_free_soon(&slots);
    // SAFETY: the child was forked above and is not reaped yet.
    unsafe { libc::kill(child, libc::SIGKILL) };
    assert!(free, "the forked child holds the slot of its dead parent");
}

#[test]
fn a_slot_ends_with_exec() {
    let file = Scratch::new();
    let slots = file.slots();
    let mut second = held(&file);
    second.say("exec");
    second.expect("executing");
    assert!(is_free_soon(&slots));
}

#[test]
fn a_stopped_process_lives() {
    let file = Scratch::new();
    let slots = file.slots();
    let mut second = held(&file);
    assert!(second.stop());
    assert!(!slots.is_free(SLOT).unwrap());
    second.kill();
    assert!(is_free_soon(&slots));
}

#[test]
fn a_slot_is_seen_across_pid_namespaces() {
    let file = Scratch::new();
    let slots = file.slots();
    let inner = command("sys::linux::tests::deaths::holder", file.name());
    let mut outer = std::process::Command::new("unshare");
    outer
        .args(["--pid", "--fork", "--kill-child", "--"])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (key, value) in inner.get_envs() {
        outer.env(key, value.unwrap());
    }
    let probe = std::process::Command::new("unshare").args(["--pid", "--fork", "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: no new pid namespaces for this user");
        return;
    }
    use std::process::Stdio;
    outer.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut second = Second::of(outer);
    second.expect("held");
    assert!(!slots.is_free(SLOT).unwrap());
    second.kill();
    assert!(is_free_soon(&slots));
}

#[test]
fn a_replaced_descriptor_is_detected() {
    let file = Scratch::new();
    let slots = file.slots();
    let hold = slots.take(SLOT, SlotMode::Alone).unwrap().expect("free");
    let other = Scratch::new();
    slots.point_elsewhere(&open(other.name()));
    assert!(!slots.is_free(SLOT).unwrap(), "the query was about another file");
    assert!(slots.take(SLOT, SlotMode::Alone).unwrap().is_none());
    let _others = other.slots().take(SLOT, SlotMode::Alone).unwrap().expect("free");
    drop(hold);
    assert!(slots.is_free(SLOT).unwrap(), "the query was about another file");
}

/// Maps a page of the file, with a word to wait on.
fn shared(file: &File) -> (Span, WaitPlace) {
    let request = MapRequest {
        file: Some(file),
        offset: 0,
        len: 4096,
        reserve: 4096,
        access: Access::Write,
        executable: false,
        huge: HugePages::Default,
    };
    let span = map::map(&request).unwrap();
    let place = WaitPlace { word: span.base, bucket: 0, sleepers: span.base.wrapping_add(4) };
    (span, place)
}

#[test]
fn waits_end_by_wake_timeout_change_and_fault() {
    const ROLE: &str = "sys::linux::tests::deaths::waits_end_by_wake_timeout_change_and_fault";
    let waits = wait::Waits::new([0; 16]);
    if let Some(path) = role(ROLE) {
        let (_span, place) = shared(&open(&path));
        tell("waiting");
        // SAFETY: the word lies in the span.
        unsafe { waits.wait(&place, 0, Some(Duration::from_secs(60))) }.unwrap();
        tell("woken");
        return;
    }
    let file = Scratch::new();
    let (span, place) = shared(&open(file.name()));
    let start = Instant::now();
    // SAFETY: the words lie in the span, here and below.
    unsafe {
        waits.wait(&place, 0, Some(Duration::from_millis(20))).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
        waits.wait(&place, 1, None).unwrap();
        assert_eq!(waits.wake(&place, 1).unwrap(), 0);
    }
    let mut second = Second::start(ROLE, file.name());
    second.expect("waiting");
    // SAFETY: as above.
    while unsafe { waits.wake(&place, 1) }.unwrap() == 0 {
        std::thread::yield_now();
    }
    second.expect("woken");
    assert!(second.finish().success());

    open(file.name()).set_len(0).unwrap();
    // SAFETY: as above; the page is gone.
    unsafe {
        let error = waits.wait(&place, 0, Some(Duration::from_secs(60))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fault, "{error}");
        let error = waits.wake(&place, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fault, "{error}");
        map::unmap(&span).unwrap();
    }
}

#[test]
fn a_registered_process_can_fence() {
    fence::register();
    if !fence::is_registered() {
        eprintln!("skipped: this kernel has no membarrier between processes");
        return;
    }
    assert!(fence::fence_all());
}

#[test]
fn a_forked_child_finds_wiped_memory_zeroed() {
    if !fork::wipes() {
        eprintln!("skipped: this kernel does not wipe memory of children");
        return;
    }
    let memory = fork::WipeOnFork::new(100).unwrap();
    let word = memory.base().cast::<u64>();
    // SAFETY: the memory is this test's; each child only reads it and exits.
    unsafe {
        assert_eq!(word.read(), 0);
        word.write(7);
        for raw in [false, true] {
            let child = if raw {
                libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t
            } else {
                libc::fork()
            };
            if child == 0 {
                libc::_exit(i32::from(word.read_volatile() != 0));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &mut status, 0), child);
            assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status:#x}");
        }
        assert_eq!(word.read(), 7);
    }
}

#[test]
fn the_kernel_reports_the_identity_of_a_process() {
    use crate::sys::linux::process;
    let me = std::process::id();
    assert!(process::start_time(me).is_some_and(|time| time > 0));
    assert_eq!(process::start_time(me), process::start_time(me));
    assert_eq!(process::start_time(u32::MAX), None);
    assert!(process::boot_id().is_some());
    assert_ne!(process::id_space(), 0);
    assert_ne!(process::random_id().unwrap(), process::random_id().unwrap());
}
