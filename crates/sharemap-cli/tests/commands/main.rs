//! Every command, by running the program. One file a command; what all have in common (exit codes,
//! JSON, colours, bad files) is in `conventions`; how they are run in `run`.

#[macro_use]
mod run;

mod cat;
mod conventions;
mod doctor;
mod gc;
mod hex;
mod lock;
mod locks;
mod map;
mod memory;
#[cfg(target_os = "linux")]
mod removal;
mod shared;
mod stat;
mod strangers;
#[cfg(target_os = "linux")]
mod terminal;
mod tour;
mod write;
