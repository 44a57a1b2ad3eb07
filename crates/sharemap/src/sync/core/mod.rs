//! What the algorithms have in common: words, gates, waiters, announcements.
//!
//! `word` is the lock word and its states. `gate` is the word that waiters sleep on, and `waiter` the way
//! of a thread that has to wait. `unlock` is the order of a release. `announcement` encodes what a lane
//! announces, and `double_buffer` holds a value that is replaced in one step.

pub(crate) mod announcement;
pub(crate) mod double_buffer;
pub(crate) mod gate;
pub(crate) mod unlock;
pub(crate) mod waiter;
pub(crate) mod word;
