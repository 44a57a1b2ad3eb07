//! The wait for the child of a self-test.

use std::mem::ManuallyDrop;
use std::time::Duration;

use crate::sys::linux::self_test::wait;
use crate::sys::testing::fork;

/// A child that does not end, as emulators may leave it, is killed after the time limit.
#[test]
fn a_stuck_child_is_killed() {
    // Waited for by `wait`.
    let stuck = ManuallyDrop::new(fork(|| std::thread::sleep(Duration::from_secs(50))).unwrap());
    assert!(!wait(stuck.id(), Some(Duration::from_millis(2))));
    assert!(wait(stuck.id(), None), "the child has been waited for");

    let ends = ManuallyDrop::new(fork(|| {}).unwrap());
    assert!(wait(ends.id(), Some(Duration::from_secs(50))));
    let ends = ManuallyDrop::new(fork(|| {}).unwrap());
    assert!(wait(ends.id(), None));
}
