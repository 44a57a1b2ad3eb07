//! Tests of forked children that have the process id of their parent, in a pid namespace of their own.

#![allow(unsafe_code, reason = "maps pages at chosen addresses")]

use std::fs::File;
use std::mem::ManuallyDrop;
use std::ptr;

use rustix::fs::MemfdFlags;

use crate::sys::SlotMode;
use crate::sys::linux::liveness::{LivenessLock, Slots};
use crate::sys::linux::{fork, map};
use crate::sys::testing::{self, fork as fork_child};

/// Runs `body` as process 1 of a pid namespace. Its next child is process 1 of another namespace.
fn as_first(body: impl FnOnce()) {
    if !fork::wipes() {
        eprintln!("skipped: this kernel does not follow advice about forks");
        return;
    }
    let outer = fork_child(|| {
        if let Err(why) = testing::leave_ids() {
            eprintln!("skipped: {why}");
            return;
        }
        let first = fork_child(|| {
            testing::leave_ids().unwrap();
            body();
        });
        assert!(first.unwrap().passed());
    });
    assert!(outer.unwrap().passed());
}

#[test]
fn no_process_has_the_number_of_an_ancestor() {
    as_first(|| {
        let (id, number) = (std::process::id(), fork::process());
        assert_eq!(fork::process(), number);
        let child = fork_child(|| {
            let (own_id, own) = (std::process::id(), fork::process());
            assert_eq!(own_id, id);
            assert_ne!(own, number);
            assert_eq!(fork::process(), own);
            assert!(
                fork_child(|| assert!(![number, own].contains(&fork::process()))).unwrap().passed()
            );
        });
        assert!(child.unwrap().passed());
        assert_eq!(fork::process(), number);
    });
}

/// The child does not inherit the page of its parent's lock, and may map another page at that address.
#[test]
fn dropping_an_inherited_lock_unmaps_nothing() {
    as_first(|| {
        let object = rustix::fs::memfd_create("slots", MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(object);
        let slots = Slots::open(&file, None, [0; 16]).unwrap();
        let raw = slots.take(5, SlotMode::Shared).unwrap().expect("free").into_raw();
        // SAFETY: the number is from above, and is converted once; the child has a copy of the result.
        let mut hold = ManuallyDrop::new(unsafe { LivenessLock::from_raw(raw) });
        let child = fork_child(|| {
            let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let at = ptr::without_provenance_mut(raw);
            // SAFETY: the flag ensures that no page is replaced; this process drops its copy once; the last
            // call only asks whether a page is mapped.
            unsafe {
                let flags = flags | libc::MAP_FIXED_NOREPLACE;
                let page = libc::mmap(at, map::page_size(), protection, flags, -1, 0);
                assert_eq!(page, at, "the child inherited the page");
                ManuallyDrop::drop(&mut hold);
                assert_eq!(
                    libc::msync(page, map::page_size(), libc::MS_ASYNC),
                    0,
                    "the new page was unmapped"
                );
            }
        });
        assert!(child.unwrap().passed());
        assert!(!slots.is_free(5).unwrap());
    });
}
