//! Whether anybody has an object: what the kernel says.

use super::companion;
use crate::commands::ls;
use crate::commands::objects::{Target, is_missing, is_raw, who_holds};
use crate::system::holders::Holders;
use crate::{system, units};
use sharemap::inspect::{Inspection, State, Unused};
use sharemap::{ErrorKind, Location};

/// What is to become of an object.
pub(super) enum Verdict {
    /// Nobody has it, and nobody can open it as long as this value lives.
    Unused(Unused),
    /// Somebody has it, or it is not known that nobody does.
    Keep(String),
    /// There is no such object.
    Gone,
}

pub(super) struct Judged {
    pub(super) name: String,
    pub(super) what: &'static str,
    pub(super) size: Option<u64>,
    pub(super) resident: Option<u64>,
    /// Why nobody has it.
    pub(super) proof: Vec<String>,
    pub(super) verdict: Verdict,
}

pub(super) fn judge(target: &Target, holders: Option<&Holders>, foreign: bool) -> Judged {
    let mut proof = Vec::new();
    let (what, verdict) = judge_by(target, holders, foreign, &mut proof);
    let verdict = verdict.unwrap_or_else(Verdict::Keep);
    if matches!(verdict, Verdict::Keep(_)) {
        proof.clear();
    }
    Judged {
        name: target.name.clone(),
        what,
        size: target.path.as_deref().and_then(|path| Some(path.metadata().ok()?.len())),
        resident: target.path.as_deref().and_then(system::allocated),
        proof,
        verdict,
    }
}

/// `Err`: why it is kept.
fn judge_by(
    target: &Target,
    holders: Option<&Holders>,
    foreign: bool,
    proof: &mut Vec<String>,
) -> (&'static str, Result<Verdict, String>) {
    if let (Some(carried), Some(path)) = (companion::carries(target), &target.path) {
        let held = held_by_nobody(target, holders);
        return ("companion", held.and_then(|()| companion::judge(carried, path, proof)));
    }
    // Names that sharemap gives for the time of making something.
    if is_draft(target) {
        return ("unfinished", unused(target, holders, proof));
    }
    // Dropped before the kernel is asked who has it.
    let look = match Inspection::open(&target.location) {
        Ok(look) => look.facts().is_some().then_some(look),
        Err(error) if is_raw(&error) => None,
        Err(error) if error.kind() == ErrorKind::WrongVersion => {
            return ("of another version", Err(error.to_string()));
        }
        Err(error) if is_missing(&error) => return ("unknown", Ok(Verdict::Gone)),
        Err(error) => return ("unknown", Err(error.to_string())),
    };
    let Some(look) = look else {
        return (
            "foreign",
            match foreign {
                true => unused(target, holders, proof),
                false => Err("it was not made by sharemap; --foreign includes it".into()),
            },
        );
    };
    let what = match look.state() {
        Ok(State::Creating) => "unfinished",
        Ok(_) => "object",
        Err(error) => return ("malformed", Err(error.to_string())),
    };
    let verdict = nobody_attached(&look, proof).and_then(|()| {
        drop(look);
        unused(target, holders, proof)
    });
    (what, verdict)
}

fn is_draft(target: &Target) -> bool {
    target.name.starts_with(".sharemap-new-")
}

/// Asks about every slot of the object.
fn nobody_attached(look: &Inspection, proof: &mut Vec<String>) -> Result<(), String> {
    match who_holds(look).map_err(|error| error.to_string())? {
        Some(who) => Err(who),
        None => {
            let participants = look.facts().map_or(0, |facts| facts.participants);
            proof.push(format!(
                "the kernel says that nobody holds a slot of it: its {participants} participants', its \
                 readers', its creator's"
            ));
            Ok(())
        }
    }
}

/// Asks the kernel for the file alone.
fn unused(
    target: &Target,
    holders: Option<&Holders>,
    proof: &mut Vec<String>,
) -> Result<Verdict, String> {
    held_by_nobody(target, holders)?;
    let location = match &target.path {
        Some(path) => Location::file(path),
        None => target.location.clone(),
    };
    let unused = match Unused::of(location) {
        Ok(Some(unused)) => unused,
        Ok(None) => {
            return Err(
                "the kernel says that somebody has it, who is not to be seen from here".into()
            );
        }
        Err(error) if is_missing(&error) => return Ok(Verdict::Gone),
        Err(error) => return Err(error.to_string()),
    };
    if unused.sees_mappings() {
        proof.push("the kernel says that no process has it open or mapped".into());
        if let Some(holders) = holders {
            proof.push(seen(holders));
        }
        return Ok(Verdict::Unused(unused));
    }
    // Nobody has it open; who has it mapped is only seen in the processes, and nobody can come now.
    match Holders::look() {
        Some(now) if !now.lists_all => {
            Err("not all processes are to be seen from here, and any may have it mapped".into())
        }
        Some(now) if now.hidden == 0 => {
            held_by_nobody(target, Some(&now))?;
            proof.push("the kernel says that no process has it open".into());
            proof.push(seen(&now));
            Ok(Verdict::Unused(unused))
        }
        Some(now) => Err(format!(
            "{} could not be looked into, and may have it mapped",
            units::count(now.hidden, "process")
        )),
        None => Err("this system does not tell who has it mapped".into()),
    }
}

fn held_by_nobody(target: &Target, holders: Option<&Holders>) -> Result<(), String> {
    match target.holders(holders).as_deref() {
        Some(found @ [_, ..]) => Err(format!("held by {}", ls::held_by(Some(found)))),
        _ => Ok(()),
    }
}

fn seen(holders: &Holders) -> String {
    let looked = units::count(holders.seen, "process");
    let hidden = match holders.hidden {
        0 => String::new(),
        hidden => format!("; {hidden} could not be looked into"),
    };
    format!("none of {looked} looked into has it{hidden}")
}
