//! Judges whether a process uses an object or may still want it.

use crate::commands::objects::{self, Target, is_missing, is_raw, who_holds};
use crate::system::holders::Holders;
use crate::{system, units};
use sharemap::inspect::{ExclusiveClaim, FileRole, Inspection, ObjectFile, State};
use sharemap::{ErrorKind, Location};
use std::fs::File;
use std::time::{Duration, SystemTime};

/// The decision about an object.
pub(super) enum Verdict {
    /// No process uses the object, and none can open it while this value lives.
    ExclusiveClaim(ExclusiveClaim),
    /// No process uses the object, but one may want it. It is removed by name or on request only.
    Idle,
    /// A process uses the object, or may use it; the text says which.
    Keep(String),
    /// There is no such object.
    Gone,
}

pub(super) struct Judged {
    pub(super) name: String,
    pub(super) what: &'static str,
    pub(super) size: Option<u64>,
    pub(super) resident: Option<u64>,
    /// The time since the last use, as far as the file's times show it.
    pub(super) age: Option<Duration>,
    /// The reasons why no process uses the object.
    pub(super) proof: Vec<String>,
    pub(super) verdict: Verdict,
}

/// The rules that decide what may be removed.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) holders: Option<&'a Holders>,
    /// Objects without a header of this library may be removed.
    pub(super) foreign: bool,
    /// Idle objects may be removed if they have been unused for this long. `None`: they are kept.
    pub(super) idle_for: Option<Duration>,
    /// The caller named the object.
    pub(super) is_named: bool,
}

/// The claim to remove an object.
enum Claim {
    /// No process can want it.
    Garbage,
    /// A process may want it.
    Wanted,
}

/// A judged object, or a companion that is judged later.
pub(super) enum Found {
    Judged(Judged),
    Companion(ObjectFile, (u64, u64)),
}

/// Judges an object. Companions are returned, because they are judged together.
pub(super) fn judge(target: &Target, rules: Rules<'_>) -> Found {
    let file = match ObjectFile::open(&target.location) {
        Ok(file) => file,
        Err(error) => {
            let verdict = match is_missing(&error) {
                true => Verdict::Gone,
                false => Verdict::Keep(error.to_string()),
            };
            return Found::Judged(judged(
                &target.name,
                "unknown",
                Measures::default(),
                Vec::new(),
                verdict,
            ));
        }
    };
    if let FileRole::Companion { device, file: number } = file.role() {
        return Found::Companion(file, (device, number));
    }
    Found::Judged(judge_file(&target.name, file, rules))
}

fn judge_file(name: &str, file: ObjectFile, rules: Rules<'_>) -> Judged {
    let mut proof = Vec::new();
    let (what, claim) = classify(name, &file, rules, &mut proof);
    let claim = claim.and_then(|claim| may_go(&file, rules).map(|()| claim));
    // Before the claim, which excludes every other handle on Windows.
    let measures = Measures::of(file.file());
    let verdict = claim.and_then(|claim| {
        let unused = claim_alone(file, rules.holders, &mut proof)?;
        match claim {
            Claim::Wanted if !rules.is_named && !is_old(measures.age, rules.idle_for) => {
                Ok(Verdict::Idle)
            }
            _ => Ok(Verdict::ExclusiveClaim(unused)),
        }
    });
    let verdict = verdict.unwrap_or_else(Verdict::Keep);
    judged(name, what, measures, proof, verdict)
}

/// The properties of a file that the report shows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measures {
    size: Option<u64>,
    resident: Option<u64>,
    /// The time since the file was last used.
    age: Option<Duration>,
}

impl Measures {
    pub(super) fn of(file: &File) -> Self {
        Self {
            size: file.metadata().ok().map(|metadata| metadata.len()),
            resident: system::allocated_by(file),
            age: age(file),
        }
    }
}

pub(super) fn judged(
    name: &str,
    what: &'static str,
    measures: Measures,
    mut proof: Vec<String>,
    verdict: Verdict,
) -> Judged {
    if matches!(verdict, Verdict::Keep(_)) {
        proof.clear();
    }
    Judged {
        name: name.to_owned(),
        what,
        size: measures.size,
        resident: measures.resident,
        age: measures.age,
        proof,
        verdict,
    }
}

/// Returns the kind of the object, and the claim to remove it or the reason why it is kept.
fn classify(
    name: &str,
    file: &ObjectFile,
    rules: Rules<'_>,
    proof: &mut Vec<String>,
) -> (&'static str, Result<Claim, String>) {
    match file.role() {
        FileRole::Draft => {
            proof.push("it has the name of a draft, an object that was being created".into());
            return ("unfinished", Ok(Claim::Garbage));
        }
        FileRole::Moved if !rules.is_named => {
            return ("moved", Err("a removal that is still running moved it there".into()));
        }
        _ => {}
    }
    let look = match file.inspect() {
        Ok(look) => look.facts().is_some().then_some(look),
        Err(error) if is_raw(&error) => None,
        Err(error) if error.kind() == ErrorKind::WrongVersion => {
            return ("of another version", Err(error.to_string()));
        }
        Err(error) => return ("unknown", Err(error.to_string())),
    };
    let is_temporary = Location::name(name).is_temporary();
    let generated = "its name is a generated one, which no other process looks up";
    let Some(look) = look else {
        if is_temporary {
            proof.push(generated.into());
            return ("temporary", Ok(Claim::Garbage));
        }
        return (
            "foreign",
            match rules.foreign {
                true => Ok(Claim::Wanted),
                false => Err("it was not made by sharemap; --foreign includes it".into()),
            },
        );
    };
    let what = match look.state() {
        Ok(State::Creating) => "unfinished",
        Ok(_) if is_temporary => "temporary",
        Ok(_) => "object",
        Err(error) => return ("malformed", Err(error.to_string())),
    };
    let claim = is_unattached(&look, proof).and_then(|()| match what {
        "unfinished" => Ok(Claim::Garbage),
        _ if rules.is_named => Ok(Claim::Wanted),
        _ if is_of_earlier_boot(&look, file.file()) => {
            proof.push("it was last used, and last changed, before this system started".into());
            Ok(Claim::Garbage)
        }
        "temporary" => of_this_container(&look).map(|()| {
            proof.push(generated.into());
            Claim::Garbage
        }),
        _ => of_this_container(&look).map(|()| Claim::Wanted),
    });
    (what, claim)
}

/// Queries the kernel about every slot of the object. Returns an error if a process holds one.
fn is_unattached(look: &Inspection, proof: &mut Vec<String>) -> Result<(), String> {
    match who_holds(look).map_err(|error| error.to_string())? {
        Some(who) => Err(who),
        None => {
            let participants = look.facts().map_or(0, |facts| facts.participants);
            proof.push(format!(
                "the kernel says that no process holds one of its liveness locks: those of its \
                 {participants} participants, its readers and its creator"
            ));
            Ok(())
        }
    }
}

/// Returns `true` if the object was last used before this system started.
///
/// The header and the file's time must agree. The header alone is not proof: it may be a copy, or
/// come from a container with another boot id.
fn is_of_earlier_boot(look: &Inspection, file: &File) -> bool {
    let changed = system::changed(file);
    let before = changed.zip(system::procfs::boot_time()).is_some_and(|(then, boot)| then < boot);
    before && look.is_of_this_boot().is_ok_and(|this| this == Some(false))
}

/// Returns an error if the object records a participant of another pid namespace.
fn of_this_container(look: &Inspection) -> Result<(), String> {
    let own = system::procfs::own_pid_namespace();
    let participants = look.participants().map_err(|error| error.to_string())?;
    let is_elsewhere = |space: u64| space != 0 && own.is_some_and(|own| own != space);
    match participants.iter().find(|found| is_elsewhere(found.id_space)) {
        Some(_) => {
            Err("a process of another container was attached to it; name it to remove it".into())
        }
        None => Ok(()),
    }
}

/// Returns an error if the object must stay: it belongs to another user and was not named, or a
/// process uses it.
pub(super) fn may_go(file: &ObjectFile, rules: Rules<'_>) -> Result<(), String> {
    match system::foreign_owner(file.file()) {
        Some(owner) if !rules.is_named => {
            Err(format!("it belongs to user {owner}; name it to remove it"))
        }
        _ => is_file_unheld(file, rules.holders),
    }
}

fn age(file: &File) -> Option<Duration> {
    SystemTime::now().duration_since(system::unused_since(file)?).ok()
}

/// Returns `true` if `age` has reached `limit`. An unknown age reaches no limit but zero.
fn is_old(age: Option<Duration>, limit: Option<Duration>) -> bool {
    match limit {
        None => false,
        Some(Duration::ZERO) => true,
        Some(limit) => age.is_some_and(|age| age >= limit),
    }
}

/// Claims exclusive use of the file from the kernel, and adds the proof that no process uses it.
fn claim_alone(
    file: ObjectFile,
    holders: Option<&Holders>,
    proof: &mut Vec<String>,
) -> Result<ExclusiveClaim, String> {
    let identity = system::identity_of(file.file());
    let unused = match file.claim() {
        Ok(Some(unused)) => unused,
        Ok(None) => {
            return Err(
                "the kernel says that a process uses it, which is not visible from here".into()
            );
        }
        Err(error) => return Err(error.to_string()),
    };
    if unused.sees_mappings() {
        proof.push("the kernel says that no process has it open or mapped".into());
        if let Some(holders) = holders {
            proof.push(seen(holders));
        }
        return Ok(unused);
    }
    // No process has the file open, and none can open it now. Only /proc shows which have it
    // mapped.
    match Holders::look() {
        Some(now) if !now.lists_all => {
            Err("not all processes are visible from here, and any may have it mapped".into())
        }
        Some(now) if now.hidden == 0 => {
            is_unheld(identity, Some(&now))?;
            proof.push("the kernel says that no process has it open".into());
            proof.push(seen(&now));
            Ok(unused)
        }
        Some(now) => Err(format!(
            "{} could not be inspected, and may have it mapped",
            units::count(now.hidden, "process")
        )),
        None => Err("this system does not report which processes have it mapped".into()),
    }
}

/// Returns an error if a known process holds the file.
fn is_file_unheld(file: &ObjectFile, holders: Option<&Holders>) -> Result<(), String> {
    is_unheld(system::identity_of(file.file()), holders)
}

fn is_unheld(identity: Option<(u64, u64)>, holders: Option<&Holders>) -> Result<(), String> {
    match identity.zip(holders).map(|(file, holders)| holders.of(file)).as_deref() {
        Some(found @ [_, ..]) => Err(format!("held by {}", objects::held_by(Some(found)))),
        _ => Ok(()),
    }
}

/// Describes the search for holders.
fn seen(holders: &Holders) -> String {
    let looked = units::count(holders.seen, "process");
    let hidden = match holders.hidden {
        0 => String::new(),
        hidden => format!("; {hidden} could not be inspected"),
    };
    format!("none of {looked} inspected has it open or mapped{hidden}")
}
