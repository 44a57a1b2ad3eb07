//! `sharemap completions`: prints the completion script of a shell.

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::Output;
use clap::CommandFactory;
use clap_complete::Shell;
use serde::Serialize;

/// Prints the completion script of a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell to print the script for.
    shell: Shell,
}

#[derive(Serialize)]
struct Script {
    shell: String,
    script: String,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "sharemap", &mut script);
    if output.json() {
        output.object(&Script {
            shell: args.shell.to_string(),
            script: String::from_utf8_lossy(&script).into_owned(),
        })
    } else {
        output.bytes(&script)
    }
}
