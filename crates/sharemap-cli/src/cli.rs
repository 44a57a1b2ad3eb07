//! The command line: commands, global options and the options that commands share.

use crate::commands::{
    cat, check, completions, doctor, evict, export, gc, get, hex, lock, locks, ls, man, map, new,
    rm, set, stat, touch, tour, who, write,
};
use crate::units;
use clap::{Args, ColorChoice, Parser, Subcommand};

/// Inspects, reads, writes and measures memory-mapped files and shared memory.
///
/// Start with `sharemap tour`, which demonstrates the library on real files. No file that this
/// command reads can end it by a signal: a file that shrinks or a disk that fails is reported as an
/// error with an offset.
#[derive(Debug, Parser)]
#[command(
    name = "sharemap",
    bin_name = "sharemap",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 check failed, 5 busy or \
                  denied.\nSizes and offsets are bytes: 4096, 0x1000, 64KiB, 5GiB."
)]
pub(crate) struct Cli {
    /// Prints one JSON object instead of text.
    #[arg(long, global = true, help_heading = "Output", display_order = 100)]
    pub(crate) json: bool,
    /// When to use colours: auto, always or never; auto respects NO_COLOR.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        help_heading = "Output",
        display_order = 101
    )]
    pub(crate) color: ColorChoice,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Tour(tour::Args),
    Stat(stat::Args),
    Map(map::Args),
    Cat(cat::Args),
    Hex(hex::Args),
    Write(write::Args),
    Touch(touch::Args),
    Evict(evict::Args),
    Ls(ls::Args),
    Who(who::Args),
    Locks(locks::Args),
    Lock(lock::Args),
    Rm(rm::Args),
    Gc(gc::Args),
    New(new::Args),
    Get(get::Args),
    Set(set::Args),
    Check(check::Args),
    Export(export::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    Man(man::Args),
    /// Runs as the second process of a step of the tour.
    #[command(hide = true)]
    TourPeer(tour::task::Args),
}

impl Command {
    /// Returns the name of the command, as it is typed and as JSON states it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Tour(_) => "tour",
            Self::Stat(_) => "stat",
            Self::Map(_) => "map",
            Self::Cat(_) => "cat",
            Self::Hex(_) => "hex",
            Self::Write(_) => "write",
            Self::Touch(_) => "touch",
            Self::Evict(_) => "evict",
            Self::Ls(_) => "ls",
            Self::Who(_) => "who",
            Self::Locks(_) => "locks",
            Self::Lock(_) => "lock",
            Self::Rm(_) => "rm",
            Self::Gc(_) => "gc",
            Self::New(_) => "new",
            Self::Get(_) => "get",
            Self::Set(_) => "set",
            Self::Check(_) => "check",
            Self::Export(_) => "export",
            Self::Doctor(_) => "doctor",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
            Self::TourPeer(_) => "tour-peer",
        }
    }
}

/// The part of a file that a command works on.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Part {
    /// The offset of the first byte.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, default_value = "0")]
    pub(crate) offset: u64,
    /// The number of bytes [default: up to the end].
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    pub(crate) length: Option<u64>,
}

impl Part {
    /// Returns the range of offsets in a file of `size` bytes, or the reason why the file is too short.
    pub(crate) fn within(self, size: u64) -> Result<std::ops::Range<u64>, String> {
        let beyond = |what: &str, value: u64| {
            format!("{what} {value} is beyond the end: the file has {size} bytes")
        };
        let start = self.offset;
        if start > size {
            return Err(beyond("offset", start));
        }
        let Some(length) = self.length else {
            return Ok(start..size);
        };
        match start.checked_add(length) {
            Some(end) if end <= size => Ok(start..end),
            Some(end) => Err(beyond("offset + length =", end)),
            None => Err(format!("offset {start} + length {length} overflows")),
        }
    }

    /// Returns a part with this offset and another length.
    pub(crate) fn with_length(self, length: u64) -> Self {
        Self { length: Some(length), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn parts_are_checked() {
        let part = |offset, length| Part { offset, length };
        assert_eq!(part(0, None).within(10), Ok(0..10));
        assert_eq!(part(10, None).within(10), Ok(10..10));
        assert_eq!(part(3, Some(4)).within(10), Ok(3..7));
        assert!(part(11, None).within(10).is_err());
        assert!(part(3, Some(8)).within(10).is_err());
        assert!(part(3, Some(u64::MAX)).within(10).is_err());
    }
}
