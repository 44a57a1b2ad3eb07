//! Faults are recovered however the library is linked. Each program here makes guarded accesses fault,
//! and must continue; then it faults outside of the library, and must die of that.
//!
//! Cargo builds the programs offline from the workspace's lock file, into this test's temporary
//! directory under `target/`. The fast suite builds them once, unoptimised (20 seconds the first
//! time, on two processors). With SHAREMAP_LONG=1 they are also built with several optimisation
//! profiles, linked by each installed linker, statically too, and rewritten by BOLT. A missing tool
//! is reported and skipped.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

mod build;
mod long;
mod programs;
