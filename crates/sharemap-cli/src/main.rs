//! The `sharemap` command: inspects, reads, writes and measures memory-mapped files and shared memory.

// All printed text goes through `text::Text`, which escapes it; see clippy.toml beside Cargo.toml.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod cli;
mod commands;
mod failure;
mod output;
mod progress;
mod report;
mod system;
mod text;
mod units;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::try_parse().unwrap_or_else(|error| failure::escaped(error).exit());
    output::choose_colors(cli.color);
    let mut output = output::Output::new(cli.command.name(), cli.json);
    let result = commands::run(&cli.command, &mut output).and_then(|()| output.flush());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&mut output),
    }
}
