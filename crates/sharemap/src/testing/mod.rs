//! What the tests of several modules use: child processes, and a search of the states that a kill leaves.

pub(crate) mod child;
pub(crate) mod kill_search;
pub(crate) mod process_tricks;
