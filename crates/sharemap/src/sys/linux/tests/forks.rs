//! Tests: children that have their parent's process id.

#![allow(unsafe_code, reason = "maps pages at chosen addresses")]

use std::fs::File;
use std::mem::ManuallyDrop;
use std::ptr;

use rustix::fs::MemfdFlags;

use crate::sys::SlotMode;
use crate::sys::linux::liveness::{LivenessLock, Slots};
use crate::sys::linux::{fork, map};
use crate::testing::child::fork as fork_child;
use crate::testing::process_tricks;

/// Runs it in the first process of a namespace, of which the next child is the first of another.
fn as_first(body: impl FnOnce()) {
    if !fork::wipes() {
        eprintln!("skipped: this kernel does not follow advice about forks");
        return;
    }
    let outer = fork_child(|| {
        if let Err(why) = process_tricks::leave_ids() {
            eprintln!("skipped: {why}");
            return;
        }
        let first = fork_child(|| {
            process_tricks::leave_ids().unwrap();
            body();
        });
        assert!(first.unwrap().passed());
    });
    assert!(outer.unwrap().passed());
}

#[test]
fn a_process_has_a_number_that_its_parents_do_not_have() {
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

/// It has no page there, so the address is free for others; its parent keeps the slot.
#[test]
fn a_child_unmaps_no_page_where_its_parent_holds_a_slot() {
    as_first(|| {
        let object = rustix::fs::memfd_create("slots", MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(object);
        let slots = Slots::open(&file, None, [0; 16]).unwrap();
        let raw = slots.take(5, SlotMode::Shared).unwrap().expect("free").into_raw();
        // SAFETY: from above, once; what the child has is a copy of it.
        let mut hold = ManuallyDrop::new(unsafe { LivenessLock::from_raw(raw) });
        let child = fork_child(|| {
            let (protection, flags) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            let at = ptr::without_provenance_mut(raw);
            // SAFETY: a page where there is none, as the flag makes sure; the hold is taken once in
            // this process; the last call only asks whether a page is there.
            unsafe {
                let flags = flags | libc::MAP_FIXED_NOREPLACE;
                let page = libc::mmap(at, map::page_size(), protection, flags, -1, 0);
                assert_eq!(page, at, "the child has the page");
                ManuallyDrop::drop(&mut hold);
                assert_eq!(
                    libc::msync(page, map::page_size(), libc::MS_ASYNC),
                    0,
                    "it was unmapped"
                );
            }
        });
        assert!(child.unwrap().passed());
        assert!(!slots.is_free(5).unwrap());
    });
}
