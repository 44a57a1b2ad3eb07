//! Atomic operations in mappings, compared with those of the standard library, and used by many
//! threads, through several mappings, and by several processes.

mod common;
#[path = "common/random.rs"]
mod random;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::thread;

use common::{TempDir, child, passes, role, skip};
use proptest::collection::vec;
use proptest::prelude::*;
use random::check;
use sharemap::guard::{self, Recovery};
use sharemap::{AtomicElement, ErrorKind, Mapping, MappingMut, ViewMut};

/// Returns `true` if mappings support atomic operations on this system.
fn supported() -> bool {
    let supported = guard::recovery() == Recovery::InPlace;
    if !supported {
        eprintln!("skipped: no atomics where accesses are system calls");
    }
    supported
}

#[derive(Clone, Debug)]
enum Step {
    Load,
    Store(u64),
    Swap(u64),
    /// A compare-exchange that expects the current value (`None`) or another one.
    Exchange(Option<u64>, u64),
    Add(u64),
    Sub(u64),
    Or(u64),
    And(u64),
    Xor(u64),
    Update(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Load),
        any::<u64>().prop_map(Step::Store),
        any::<u64>().prop_map(Step::Swap),
        (any::<Option<u64>>(), any::<u64>()).prop_map(|(seen, new)| Step::Exchange(seen, new)),
        any::<u64>().prop_map(Step::Add),
        any::<u64>().prop_map(Step::Sub),
        any::<u64>().prop_map(Step::Or),
        any::<u64>().prop_map(Step::And),
        any::<u64>().prop_map(Step::Xor),
        any::<u64>().prop_map(Step::Update),
    ]
}

const LOADS: [Ordering; 3] = [Ordering::Relaxed, Ordering::Acquire, Ordering::SeqCst];
const STORES: [Ordering; 3] = [Ordering::Relaxed, Ordering::Release, Ordering::SeqCst];
const BOTH: [Ordering; 4] =
    [Ordering::Relaxed, Ordering::Acquire, Ordering::AcqRel, Ordering::SeqCst];

/// Every operation, with every ordering that the standard library accepts, returns and leaves the
/// same value.
macro_rules! like_std {
    ($($name:ident $int:ty, $atomic:ty;)*) => { $(
        #[test]
        fn $name() {
            if !supported() {
                return;
            }
            check(100, &vec((step(), 0usize..12), 1..50), |steps| {
                let map = MappingMut::anonymous(4096).unwrap();
                let view = map.view::<$int>().unwrap();
                let (ours, theirs) = (view.atomic(5).unwrap(), <$atomic>::new(0));
                for (step, order) in steps {
                    let (load, store, both) = (LOADS[order % 3], STORES[order % 3], BOTH[order % 4]);
                    match step {
                        Step::Load => {
                            assert_eq!(ours.load(load).unwrap(), theirs.load(load));
                            assert_eq!(view.atomic_load(5, load).unwrap(), theirs.load(load));
                        }
                        Step::Store(value) => {
                            ours.store(value as $int, store).unwrap();
                            theirs.store(value as $int, store);
                        }
                        Step::Swap(value) => {
                            let (value, theirs) = (value as $int, theirs.swap(value as $int, both));
                            assert_eq!(ours.swap(value, both).unwrap(), theirs);
                        }
                        Step::Exchange(seen, new) => {
                            let seen = seen.map_or(theirs.load(load), |seen| seen as $int);
                            assert_eq!(
                                ours.compare_exchange(seen, new as $int, both, load).unwrap(),
                                theirs.compare_exchange(seen, new as $int, both, load)
                            );
                        }
                        Step::Add(value) => {
                            let theirs = theirs.fetch_add(value as $int, both);
                            assert_eq!(ours.fetch_add(value as $int, both).unwrap(), theirs);
                        }
                        Step::Sub(value) => {
                            let theirs = theirs.fetch_sub(value as $int, both);
                            assert_eq!(ours.fetch_sub(value as $int, both).unwrap(), theirs);
                        }
                        Step::Or(value) => {
                            let theirs = theirs.fetch_or(value as $int, both);
                            assert_eq!(ours.fetch_or(value as $int, both).unwrap(), theirs);
                        }
                        Step::And(value) => {
                            let theirs = theirs.fetch_and(value as $int, both);
                            assert_eq!(ours.fetch_and(value as $int, both).unwrap(), theirs);
                        }
                        Step::Xor(value) => {
                            let theirs = theirs.fetch_xor(value as $int, both);
                            assert_eq!(ours.fetch_xor(value as $int, both).unwrap(), theirs);
                        }
                        Step::Update(value) => {
                            let change = |old: $int| old.wrapping_mul(3) ^ value as $int;
                            let theirs = theirs.fetch_update(both, load, |old| Some(change(old)));
                            assert_eq!(ours.fetch_update(both, change).unwrap(), theirs.unwrap());
                        }
                    }
                    assert_eq!(view.get(5).unwrap(), theirs.load(Ordering::SeqCst));
                }
                // The neighbouring elements are unchanged.
                assert_eq!(view.get(4).unwrap(), 0);
                assert_eq!(view.get(6).unwrap(), 0);
            });
        }
    )* };
}

like_std! {
    u32_like_std u32, AtomicU32;
    i32_like_std i32, AtomicI32;
    u64_like_std u64, AtomicU64;
    i64_like_std i64, AtomicI64;
}

/// Out-of-bounds and misaligned atomics are rejected.
#[test]
fn bounds() {
    let map = MappingMut::anonymous(4096).unwrap();
    let view = map.view::<u64>().unwrap();
    for index in [512, 513, usize::MAX] {
        assert_eq!(view.atomic(index).unwrap_err().kind(), ErrorKind::OutOfBounds, "{index}");
        let error = view.atomic_load(index, Ordering::SeqCst).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfBounds, "{index}");
    }
    if guard::recovery() == Recovery::Syscall {
        assert_eq!(view.atomic(0).unwrap_err().kind(), ErrorKind::Unsupported);
        let error = view.atomic_load(0, Ordering::SeqCst).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
    assert_eq!(
        map.bytes().subview(2..10).unwrap().cast::<u64>().unwrap_err().kind(),
        ErrorKind::Alignment
    );
}

/// Atomics in read-only mappings can be loaded.
#[test]
fn loads_from_read_only_mappings() {
    if !supported() {
        return;
    }
    let dir = TempDir::new();
    let path = dir.file("a", [7; 64]);
    let map = Mapping::open(&path).unwrap();
    let view = map.view::<u32>().unwrap();
    assert_eq!(view.atomic_load(15, Ordering::Acquire).unwrap(), 0x0707_0707);
}

const THREADS: u64 = 8;
const ADDITIONS: u64 = 20_000;

/// Adds to a word from many threads, half of them through each of two views.
fn add_everything<T: AtomicElement + Send + Sync>(views: [ViewMut<'_, T>; 2], one: T) {
    thread::scope(|scope| {
        for number in 0..THREADS {
            let word = views[number as usize % 2].atomic(3).unwrap();
            scope.spawn(move || {
                for _ in 0..ADDITIONS {
                    word.fetch_add(one, Ordering::Relaxed).unwrap();
                }
            });
        }
    });
}

/// Many threads that add to one word lose no addition.
#[test]
fn sums_of_many_threads_are_exact() {
    if !supported() {
        return;
    }
    let map = MappingMut::anonymous(4096).unwrap();
    add_everything([map.view::<u64>().unwrap(); 2], 3);
    assert_eq!(map.view::<u64>().unwrap().get(3).unwrap(), 3 * THREADS * ADDITIONS);
    let halves = map.view_at::<i32>(1024, 8).unwrap();
    add_everything([halves; 2], -1);
    assert_eq!(halves.get(3).unwrap(), -((THREADS * ADDITIONS) as i32));
}

/// Additions through two mappings of one file lose no addition.
#[test]
fn sums_through_two_mappings_are_exact() {
    if !supported() {
        return;
    }
    let dir = TempDir::new();
    let one = Arc::new(MappingMut::create_new(dir.join("a"), 4096).unwrap());
    let other = MappingMut::open(dir.join("a")).unwrap();
    let owned = one.owned_view::<u64>().unwrap();
    add_everything([owned.as_view(), other.view().unwrap()], 1);
    assert_eq!(other.view::<u64>().unwrap().get(3).unwrap(), THREADS * ADDITIONS);
}

/// Compare-exchange loops of several threads lose no update.
#[test]
fn compare_exchange_loops() {
    if !supported() {
        return;
    }
    let map = MappingMut::anonymous(4096).unwrap();
    let view = map.view::<u64>().unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let word = view.atomic(0).unwrap();
            scope.spawn(move || {
                for _ in 0..ADDITIONS / 4 {
                    let mut seen = word.load(Ordering::Relaxed).unwrap();
                    // The upper half counts the updates; the lower half is right only if no
                    // exchange was torn.
                    loop {
                        let count = (seen >> 32) + 1;
                        let new = count << 32 | (count.wrapping_mul(0x9e37_79b9) & 0xffff_ffff);
                        let (ok, fail) = (Ordering::AcqRel, Ordering::Relaxed);
                        match word.compare_exchange(seen, new, ok, fail).unwrap() {
                            Ok(_) => break,
                            Err(now) => seen = now,
                        }
                        assert_eq!(
                            seen & 0xffff_ffff,
                            (seen >> 32).wrapping_mul(0x9e37_79b9) & 0xffff_ffff
                        );
                    }
                }
            });
        }
    });
    assert_eq!(view.get(0).unwrap() >> 32, THREADS * ADDITIONS / 4);
}

/// A spin lock built from atomics orders plain accesses: acquire and release have their meaning.
#[test]
fn a_spin_lock_orders_plain_accesses() {
    if !supported() {
        return;
    }
    let map = MappingMut::anonymous(4096).unwrap();
    let view = map.view::<u32>().unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                let lock = view.atomic(0).unwrap();
                for _ in 0..2000 {
                    while lock.swap(1, Ordering::Acquire).unwrap() == 1 {
                        thread::yield_now();
                    }
                    // Two plain elements, far apart.
                    let (a, b) = (view.get(100).unwrap(), view.get(900).unwrap());
                    assert_eq!(a, b);
                    view.set(100, a + 1).unwrap();
                    view.set(900, b + 1).unwrap();
                    lock.store(0, Ordering::Release).unwrap();
                }
            });
        }
    });
    assert_eq!(view.get(100).unwrap(), 8000);
}

/// Of two threads that each store to their own word and load the other's, at least one sees the new
/// value under sequential consistency.
#[test]
fn sequentially_consistent_stores_and_loads() {
    if !supported() {
        return;
    }
    let map = MappingMut::anonymous(8192).unwrap();
    let view = map.view::<u64>().unwrap();
    let barrier = std::sync::Barrier::new(2);
    let side = |own: usize, other: usize| {
        let (own, other) = (view.atomic(own).unwrap(), view.atomic(other).unwrap());
        (1..=2000)
            .map(|round| {
                barrier.wait();
                own.store(round, Ordering::SeqCst).unwrap();
                let seen = other.load(Ordering::SeqCst).unwrap();
                barrier.wait();
                seen == round
            })
            .collect::<Vec<bool>>()
    };
    thread::scope(|scope| {
        let one = scope.spawn(|| side(0, 512));
        let other = side(512, 0);
        let both = one.join().unwrap();
        assert!(both.iter().zip(&other).all(|(one, other)| *one || *other));
    });
}

fn add_in_this_process(path: &Path) {
    let map = MappingMut::open(path).unwrap();
    add_everything([map.view::<u64>().unwrap(); 2], 1);
}

/// Additions by two processes lose no addition.
#[test]
fn sums_of_two_processes_are_exact() {
    const NAME: &str = "sums_of_two_processes_are_exact";
    if let Some(path) = role(NAME) {
        return add_in_this_process(&path);
    }
    if !supported() {
        return;
    }
    let dir = TempDir::new();
    let path = dir.join("a");
    let map = MappingMut::create_new(&path, 4096).unwrap();
    let other = thread::spawn({
        let path = path.clone();
        move || passes(child(NAME, &path))
    });
    add_in_this_process(&path);
    let processes = if other.join().unwrap() { 2 } else { 1 };
    assert_eq!(map.view::<u64>().unwrap().get(3).unwrap(), processes * THREADS * ADDITIONS);
    if processes == 1 {
        skip!("only one process");
    }
}
