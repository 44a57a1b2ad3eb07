//! `sharemap doctor`: checks limits and settings of this system.

mod linux;

use crate::failure::Failure;
use crate::output::Output;
use crate::text::Text;
use crate::units;
use console::Style;
use serde::Serialize;
use sharemap::guard::{self, Recovery};

/// Checks this system for limits and settings that cause failures.
///
/// The command changes nothing. A finding that affects most uses is a problem, and a finding that affects
/// some uses is a note. Values that this system does not report are left out. Exits with status 4 if
/// there is a problem.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leaves out the checks that found nothing.
    #[arg(long)]
    quiet: bool,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Note,
    Problem,
}

/// A check of one limit or setting.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    /// The consequence of what was found; `None` if the verdict is `Ok`.
    why: Option<String>,
    remedy: Option<String>,
}

impl Check {
    /// Creates a check that found nothing wrong.
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), why: None, remedy: None }
    }

    /// Changes the verdict, with its reason. An empty `remedy` means that there is none.
    fn but(mut self, verdict: Verdict, why: impl Into<String>, remedy: &str) -> Self {
        self.verdict = verdict;
        self.why = Some(why.into());
        self.remedy = Some(remedy.to_owned()).filter(|remedy| !remedy.is_empty());
        self
    }

    fn note(self, why: impl Into<String>, remedy: &str) -> Self {
        self.but(Verdict::Note, why, remedy)
    }

    fn problem(self, why: impl Into<String>, remedy: &str) -> Self {
        self.but(Verdict::Problem, why, remedy)
    }
}

#[derive(Serialize)]
struct Report {
    checks: Vec<Check>,
    notes: usize,
    problems: usize,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let mut checks = vec![faults()];
    checks.extend(linux::checks());
    let number = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let (notes, problems) = (number(Verdict::Note), number(Verdict::Problem));
    if args.quiet {
        checks.retain(|check| check.verdict != Verdict::Ok);
    }
    let report = Report { checks, notes, problems };
    if output.json() {
        output.object(&report)?;
    } else {
        report.checks.iter().try_for_each(|check| print(check, output))?;
        let (problems, notes) =
            (units::count(problems as u64, "problem"), units::count(notes as u64, "note"));
        output.line(format!("{problems}, {notes}"))?;
    }
    if report.problems > 0 { Err(Failure::CheckFailed) } else { Ok(()) }
}

fn print(check: &Check, output: &mut Output) -> Result<(), Failure> {
    let verdict = match check.verdict {
        Verdict::Ok => Text::styled(&Style::new().green(), "ok     "),
        Verdict::Note => Text::styled(&Style::new().yellow(), "note   "),
        Verdict::Problem => Text::styled(&Style::new().red().bold(), "problem"),
    };
    output.paragraph(verdict + format!("  {:<17}  ", check.name), &check.found)?;
    let indent = " ".repeat(28);
    for more in [&check.why, &check.remedy].into_iter().flatten() {
        output.paragraph(&indent, more)?;
    }
    Ok(())
}

fn faults() -> Check {
    const NAME: &str = "faults";
    match guard::recovery() {
        Recovery::InPlace => Check::ok(NAME, "become errors in place"),
        _ => Check::ok(NAME, "become errors by a system call for each access").note(
            "views are slower, and there are no atomics and no locks in shared memory: this \
             processor is not supported, or a debugger, an emulator or a sandbox intercepts \
             faults",
            "",
        ),
    }
}
