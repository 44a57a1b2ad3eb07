//! Tests of what only Linux has.

mod deaths;
mod forks;
mod leases;
mod overlays;
mod removals;
