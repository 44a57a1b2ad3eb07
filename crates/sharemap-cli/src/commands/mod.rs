//! The commands: one file for each, with its arguments and its implementation.

pub(crate) mod cat;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod evict;
pub(crate) mod export;
pub(crate) mod gc;
pub(crate) mod get;
pub(crate) mod hex;
mod input;
pub(crate) mod lock;
pub(crate) mod locks;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod map;
pub(crate) mod new;
mod objects;
mod pages;
pub(crate) mod rm;
mod segment;
pub(crate) mod set;
pub(crate) mod stat;
pub(crate) mod touch;
pub(crate) mod tour;
pub(crate) mod who;
pub(crate) mod write;

use crate::cli::Command;
use crate::failure::Failure;
use crate::output::Output;

/// Runs the command that was typed.
pub(crate) fn run(command: &Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Tour(args) => tour::run(args, output),
        Command::Stat(args) => stat::run(args, output),
        Command::Map(args) => map::run(args, output),
        Command::Cat(args) => cat::run(args, output),
        Command::Hex(args) => hex::run(args, output),
        Command::Write(args) => write::run(args, output),
        Command::Touch(args) => touch::run(args, output),
        Command::Evict(args) => evict::run(args, output),
        Command::Ls(args) => ls::run(args, output),
        Command::Who(args) => who::run(args, output),
        Command::Locks(args) => locks::run(args, output),
        Command::Gc(args) => gc::run(args, output),
        Command::Lock(args) => lock::run(args, output),
        Command::Rm(args) => rm::run(args, output),
        Command::New(args) => new::run(args, output),
        Command::Get(args) => get::run(args, output),
        Command::Set(args) => set::run(args, output),
        Command::Check(args) => check::run(args, output),
        Command::Export(args) => export::run(args, output),
        Command::Doctor(args) => doctor::run(args, output),
        Command::Completions(args) => completions::run(args, output),
        Command::Man(args) => man::run(args, output),
        Command::TourPeer(args) => tour::task::run(args),
    }
}
