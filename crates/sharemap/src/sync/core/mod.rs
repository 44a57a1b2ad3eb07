//! The parts that the algorithms share.
//!
//! `word` is the lock word and its states, `gate` the word that waiters sleep on, `waiter` a thread's wait at
//! a gate, and `unlock` the order of a release. `announcement` encodes what a lane announces, and
//! `double_buffer` is a value that is replaced in one step.

pub(crate) mod announcement;
pub(crate) mod double_buffer;
pub(crate) mod gate;
pub(crate) mod unlock;
pub(crate) mod waiter;
pub(crate) mod word;
