//! Tests every command by running the program. Each command has a file. Conventions of all commands (exit
//! codes, JSON, colours, bad files) are tested in `conventions`; `run` runs the program.

#[macro_use]
mod run;

mod cat;
mod check;
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
mod segment;
mod shared;
mod stat;
mod strangers;
#[cfg(target_os = "linux")]
mod terminal;
mod tour;
mod write;
