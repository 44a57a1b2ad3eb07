//! Helpers for the tests of several modules: child processes.

pub(crate) mod child;
