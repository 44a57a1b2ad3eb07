//! Tests of mechanisms that only Linux has.

mod deaths;
mod drafts;
mod forks;
mod leases;
mod overlays;
mod removals;
mod self_tests;
