//! `sharemap tour`: demonstrates the library on real files, step by step.
//!
//! A step is a module with a constant `STEP`, which is listed in [`STEPS`].

mod copy_on_write;
mod edit;
mod file_lock;
mod greeting;
mod interrupt;
mod large_blocks;
mod named_map;
mod open;
mod owner_died;
mod peer;
mod refusals;
mod regions;
mod scene;
mod shared_block;
mod signals;
mod surface;
pub(crate) mod task;
mod tiles;
mod truncation;
mod two_mappings;

use crate::failure::Failure;
use crate::output::Output;
use crate::text::{Text, lossless};
use crate::{system, units};
use console::Style;
use indicatif::{ProgressBar, ProgressDrawTarget};
use scene::{Note, Scene, Step};
use serde::Serialize;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const STEPS: &[Step] = &[
    open::STEP,
    edit::STEP,
    two_mappings::STEP,
    refusals::STEP,
    truncation::STEP,
    copy_on_write::STEP,
    regions::STEP,
    large_blocks::STEP,
    surface::STEP,
    tiles::STEP,
    shared_block::STEP,
    greeting::STEP,
    signals::STEP,
    file_lock::STEP,
    owner_died::STEP,
    named_map::STEP,
];

/// Demonstrates the library on real files, step by step.
///
/// Each step prints what it did, what it saw, and PASS or FAIL. The tour works in a directory of its
/// own, which it removes at the end, and also after Ctrl-C. It needs no privileges and takes seconds.
/// Exits with status 1 if a step fails.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The steps to perform, by number or name [default: all].
    #[arg(value_name = "STEP", value_parser = parse_step)]
    steps: Vec<usize>,
    /// Lists the steps and performs none.
    #[arg(long)]
    list: bool,
    /// Works below this directory [default: the system's directory for temporary files].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The size of the file that the step about large blocks scans.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size, default_value = "256MiB")]
    scan: u64,
}

fn parse_step(text: &str) -> Result<usize, String> {
    let position = match text.parse::<usize>() {
        Ok(number) => number.checked_sub(1).filter(|&position| position < STEPS.len()),
        Err(_) => STEPS.iter().position(|step| step.name == text),
    };
    position.ok_or_else(|| {
        let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        format!("expected 1 to {} or one of {}", STEPS.len(), names.join(", "))
    })
}

#[derive(Serialize)]
struct Report {
    dir: String,
    steps: Vec<StepReport>,
    passed: usize,
    failed: usize,
    seconds: f64,
}

#[derive(Serialize)]
struct StepReport {
    number: usize,
    name: &'static str,
    title: &'static str,
    passed: bool,
    notes: Vec<Note>,
    /// The reason why the step failed.
    failure: Option<String>,
    seconds: f64,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    if args.list {
        return list(output);
    }
    let chosen: Vec<usize> = match args.steps.as_slice() {
        [] => (0..STEPS.len()).collect(),
        some => some.to_vec(),
    };
    let begun = Instant::now();
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    interrupt::watch()
        .map_err(|error| Failure::refused(format!("cannot watch for signals: {error}")))?;
    let dir = interrupt::directory(&parent)
        .map_err(|error| Failure::file("create a directory in", &parent, error))?;
    if !output.json() {
        let steps = units::count(chosen.len() as u64, "step");
        let place = Text::styled(&Style::new().dim(), lossless(dir.path()));
        output.line(Text::from(steps) + ", in " + place)?;
        output.line("")?;
    }
    let mut report =
        Report { dir: lossless(dir.path()), steps: Vec::new(), passed: 0, failed: 0, seconds: 0.0 };
    for position in chosen {
        let spinner = spinner(output, position);
        let step = walk(position, dir.path(), args.scan);
        spinner.finish_and_clear();
        if interrupt::pending() {
            break;
        }
        if !output.json() {
            print(&step, output)?;
        }
        report.passed += usize::from(step.passed);
        report.failed += usize::from(!step.passed);
        report.steps.push(step);
    }
    let path = dir.path().to_owned();
    let closed = dir.close();
    if interrupt::pending() {
        system::end_of_interrupt();
        return Err(Failure::Reported);
    }
    closed.map_err(|error| Failure::file("remove", &path, error))?;
    report.seconds = begun.elapsed().as_secs_f64();
    let failed = report.failed;
    if output.json() {
        output.object(&report)?;
    } else {
        let passed = Text::styled(&Style::new().green(), format!("{} passed", report.passed));
        let failed = match failed {
            0 => Text::from("0 failed"),
            number => Text::styled(&Style::new().red().bold(), format!("{number} failed")),
        };
        let seconds = format!(", in {:.1} s; nothing left behind", report.seconds);
        output.line(passed + ", " + failed + seconds)?;
    }
    if failed > 0 { Err(Failure::Reported) } else { Ok(()) }
}

/// Performs one step in a directory of its own, which is removed afterwards.
fn walk(position: usize, dir: &Path, scan: u64) -> StepReport {
    let step = &STEPS[position];
    let dir = dir.join(step.name);
    let begun = Instant::now();
    let mut scene = Scene::new(&dir, scan);
    let outcome = std::fs::create_dir(&dir).map_err(Into::into).and_then(|()| {
        // A step that panics fails; the other steps continue.
        catch_unwind(AssertUnwindSafe(|| (step.run)(&mut scene)))
            .unwrap_or_else(|panic| Err(format!("it panicked: {}", words(&*panic)).into()))
    });
    let seconds = begun.elapsed().as_secs_f64();
    let removed = std::fs::remove_dir_all(&dir)
        .map_err(|error| format!("cannot remove {}: {error}", lossless(&dir)));
    let failure = match (outcome, removed) {
        (Err(failure), _) => Some(failure.to_string()),
        (Ok(()), Err(failure)) => Some(failure),
        (Ok(()), Ok(())) => None,
    };
    StepReport {
        number: position + 1,
        name: step.name,
        title: step.title,
        passed: failure.is_none(),
        notes: scene.into_notes(),
        failure,
        seconds,
    }
}

/// Returns the message of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

fn print(step: &StepReport, output: &mut Output) -> Result<(), Failure> {
    let result = if step.passed {
        Text::styled(&Style::new().green().bold(), "PASS")
    } else {
        Text::styled(&Style::new().red().bold(), "FAIL")
    };
    output.paragraph(Text::from(format!("{:>2}  ", step.number)) + result + "  ", step.title)?;
    let label = |style: Style, word| Text::from("    ") + Text::styled(&style, word) + "  ";
    for note in &step.notes {
        let (word, text) = match note {
            Note::Did(text) => ("did", text),
            Note::Saw(text) => ("saw", text),
        };
        let mut label = label(Style::new().dim(), word);
        // A table has several lines; scenes report counts, not data.
        for line in text.lines() {
            let indent = Text::default().padded(label.width());
            output.paragraph(std::mem::replace(&mut label, indent), line)?;
        }
    }
    if let Some(failure) = &step.failure {
        output.paragraph(label(Style::new().red(), "why"), failure)?;
    }
    output.line("")?;
    output.flush()
}

fn spinner(output: &Output, position: usize) -> ProgressBar {
    if !output.is_terminal() && !output.json() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    spinner.set_message(STEPS[position].title);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

#[derive(Serialize)]
struct Listed {
    steps: Vec<ListedStep>,
}

#[derive(Serialize)]
struct ListedStep {
    number: usize,
    name: &'static str,
    title: &'static str,
}

fn list(output: &mut Output) -> Result<(), Failure> {
    let steps = STEPS.iter().enumerate();
    if output.json() {
        let listed = |(i, step): (usize, &Step)| ListedStep {
            number: i + 1,
            name: step.name,
            title: step.title,
        };
        return output.object(&Listed { steps: steps.map(listed).collect() });
    }
    for (i, step) in steps {
        output.line(format!("{:>2}  {:<14} {}", i + 1, step.name, step.title))?;
    }
    Ok(())
}
