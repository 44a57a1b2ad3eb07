//! `sharemap man`: prints or writes the manual pages.

use crate::cli::Cli;
use crate::failure::Failure;
use crate::output::Output;
use crate::text::lossless;
use clap::CommandFactory;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Prints the manual page, or writes the pages of all commands into a directory.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Writes sharemap.1, sharemap-stat.1 and so on into this directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Serialize)]
struct Page {
    page: String,
}

#[derive(Serialize)]
struct Written {
    written: Vec<String>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = &args.dir else {
        let page = render(command, Path::new("standard output"))?;
        return if output.json() {
            let page = String::from_utf8_lossy(&page).into_owned();
            output.object(&Page { page })
        } else {
            output.bytes(&page)
        };
    };
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    let mut pages = vec![("sharemap.1".to_owned(), command.clone())];
    pages.extend(shown.map(|shown| (format!("sharemap-{}.1", shown.get_name()), shown.clone())));
    let mut written = Vec::new();
    for (name, command) in pages {
        let path = dir.join(name);
        let page = render(command, &path)?;
        std::fs::write(&path, page).map_err(|error| Failure::file("write", &path, error))?;
        written.push(lossless(path));
    }
    if output.json() {
        return output.object(&Written { written });
    }
    written.iter().try_for_each(|path| output.line(path))
}

fn render(command: clap::Command, path: &Path) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Failure::file("write", path, error))?;
    Ok(page)
}
