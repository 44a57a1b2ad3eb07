//! Tests of the algorithms: a search of all interleavings, stores and deaths, and races on real processors.

mod explorer;
mod races;
