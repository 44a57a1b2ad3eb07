//! The algorithm of each lock, generic over the [`Machine`](crate::peer::Machine) on which it runs.
//!
//! Programs run the algorithms on a [`Session`](crate::peer::Session), the tests on an explorer.

pub(crate) mod barrier;
pub(crate) mod condvar;
pub(crate) mod counting_semaphore;
pub(crate) mod event;
pub(crate) mod exclusive;
pub(crate) mod mutex;
pub(crate) mod once;
pub(crate) mod rwlock;
pub(crate) mod semaphore;
