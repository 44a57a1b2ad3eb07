//! The locks in the explorer: exclusion, whole values, reports of deaths, no missed wake-ups. In the short form:
//! a part of the states; in the long form all of them (`testing/explorer`).

mod barrier;
mod clean_flag;
mod condvar;
mod counting_semaphore;
mod event;
mod mutex;
mod once;
mod poison;
mod rwlock;
mod semaphore;
