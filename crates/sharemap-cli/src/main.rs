//! The `sharemap` command: see, read, write and measure memory-mapped files from a shell.

mod cli;
mod commands;
mod failure;
mod output;
mod progress;
mod system;
mod units;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    output::choose_colors(cli.color);
    let mut output = output::Output::new(cli.command.name(), cli.json);
    let result = commands::run(&cli.command, &mut output).and_then(|()| output.flush());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&mut output),
    }
}
