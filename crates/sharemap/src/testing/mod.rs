//! Helpers for the tests of several modules: child processes, and a search of the states that kills leave.

pub(crate) mod child;
pub(crate) mod kill_search;
pub(crate) mod process_tricks;
