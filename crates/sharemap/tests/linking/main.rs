//! The library recovers however it is linked: each program here is built, and run with faults of
//! ours and with a foreign one, of which it dies.
//!
//! The programs are built by cargo, without a network, from the workspace's own lock file, into
//! this test's temporary directory under `target/`. The fast suite builds them once, unoptimised
//! (20 seconds the first time, on two processors). With SHAREMAP_LONG=1 they are built with every
//! kind of optimisation and by every linker there is, statically too, and rewritten by BOLT; a tool
//! that is missing is said.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

mod build;
mod long;
mod programs;
