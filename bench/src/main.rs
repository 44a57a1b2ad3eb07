//! `sharemap-bench map`, `sync`, `heap` and `channel`: measures mapping and guarded access, locks, segments, and messages
//! between processes, each beside its peers. `sharemap-bench budget` counts instructions. See README.md.

#[cfg(not(target_os = "linux"))]
compile_error!("the benchmarks compare with system calls of Linux and run there only");

mod budget;
mod channel;
mod figure;
mod heap;
mod map;
mod measure;
mod peers;
mod reason;
mod report;
mod samples;
mod stats;
mod sync;
mod trace;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use figure::{Figure, Setup};
use measure::{Cpus, Effort};
use report::Row;

const USAGE: &str = "\
Usage: sharemap-bench map|sync|heap|channel [--json] [--rounds N] [--only TEXT] [--dir DIRECTORY] [--list]
       sharemap-bench budget

  map              mapping files, and guarded access
  sync             locks between processes
  heap             segments: blocks, named objects, and maps
  channel          messages between two processes
  budget           instructions of the shortest operations, and their limits

  --json           rows as a JSON array on standard output, else a table
  --rounds N       rounds of every figure (at least 6; default: about 8 seconds each)
  --only TEXT      only figures whose name contains TEXT
  --dir DIRECTORY  where files on disk are put (default: beside the program)
  --list           the names of the figures
";

struct Arguments {
    json: bool,
    list: bool,
    rounds: Option<usize>,
    only: Option<String>,
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let result = match words.next().as_deref() {
        Some(group @ ("map" | "sync" | "heap" | "channel")) => match parse(words) {
            Ok(arguments) => measure_all(
                &arguments,
                match group {
                    "map" => map::figures(),
                    "sync" => sync::figures(),
                    "channel" => channel::figures(),
                    _ => heap::figures(),
                },
            ),
            Err(wrong) => {
                eprint!("{wrong}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        },
        Some("budget") => budget::run(),
        // The program starts itself for measurements that need a separate process.
        Some("serve") => peers::child::serve(&words.collect::<Vec<_>>()),
        Some("native") => map::native::child(words.next()),
        Some("--help" | "-h" | "help") => {
            print!("{USAGE}");
            Ok(())
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("sharemap-bench: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { json: false, list: false, rounds: None, only: None, dir: None };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--json" => arguments.json = true,
            "--list" => arguments.list = true,
            "--rounds" => {
                let rounds = value()?;
                let rounds =
                    rounds.parse().map_err(|_| format!("--rounds {rounds}: not a number"))?;
                if rounds < measure::FEWEST_ROUNDS {
                    return Err(format!("--rounds {rounds}: fewer than 6 give no 95 % interval"));
                }
                arguments.rounds = Some(rounds);
            }
            "--only" => arguments.only = Some(value()?),
            "--dir" => arguments.dir = Some(value()?.into()),
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    Ok(arguments)
}

fn measure_all(arguments: &Arguments, mut figures: Vec<Figure>) -> Result<(), String> {
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|text| name.contains(text));
    figures.retain(|figure| wanted(figure.name));
    if arguments.list {
        figures.iter().for_each(|figure| println!("{}", figure.name));
        return Ok(());
    }
    if figures.is_empty() {
        return Err("no figure has that in its name; --list shows them".into());
    }
    let setup = Setup {
        effort: Effort { rounds: arguments.rounds },
        cpus: Cpus::detect().map_err(reason::why)?,
        dir: match &arguments.dir {
            Some(dir) => dir.clone(),
            None => beside_the_program()?,
        },
    };
    let mut rows = Vec::new();
    for (index, figure) in figures.iter().enumerate() {
        progress(&format!("[{}/{}] {}", index + 1, figures.len(), figure.name));
        setup.cpus.pin().map_err(reason::why)?;
        match (figure.run)(&setup) {
            Ok(more) => rows.extend(more),
            Err(reason) => rows.push(Row::skipped(figure.name, reason)),
        }
    }
    progress("");
    let text = if arguments.json { report::json(&rows) + "\n" } else { report::table(&rows) };
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn beside_the_program() -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(reason::why)?;
    program.parent().map(PathBuf::from).ok_or_else(|| "the program has no directory".into())
}

fn progress(text: &str) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K{text}");
        let _ = err.flush();
    }
}
