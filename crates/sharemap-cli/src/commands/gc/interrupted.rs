//! Removals that were killed before they ended: what they had moved away goes back.

use super::Item;
use crate::failure::Failure;
use crate::text::lossless;
use sharemap::inspect::InterruptedRemoval;
use std::path::{Path, is_separator};

/// Those of the named objects, and beside them such as have nothing; or those of all shared memory.
pub(super) fn find(names: &[String]) -> Result<Vec<InterruptedRemoval>, Failure> {
    if names.is_empty() {
        return Ok(InterruptedRemoval::find_in_shared_memory()?);
    }
    let mut found: Vec<InterruptedRemoval> = Vec::new();
    for name in names {
        let path = Path::new(name);
        // What is wrong with a directory is said of the object.
        let there = match path.parent().filter(|_| name.contains(is_separator)) {
            Some(parent) => InterruptedRemoval::find_in(parent),
            None => InterruptedRemoval::find_in_shared_memory(),
        };
        let is_its = |removal: &InterruptedRemoval| {
            let mut moved = removal.names().iter();
            removal.names().is_empty() || moved.any(|moved| path.file_name() == Some(moved))
        };
        found.extend(there.unwrap_or_default().into_iter().filter(is_its));
    }
    Ok(found)
}

/// Whether one has this object's file.
pub(super) fn has(removals: &[InterruptedRemoval], name: &str) -> bool {
    let name = Path::new(name).file_name();
    removals
        .iter()
        .any(|removal| removal.names().iter().any(|moved| name == Some(moved.as_os_str())))
}

pub(super) fn settle(removal: &InterruptedRemoval, apply: bool) -> Item {
    let names: Vec<_> = removal.names().iter().map(lossless).collect();
    let moved = match names.is_empty() {
        true => "nothing is in it".to_owned(),
        false => format!("it has {}, which goes back to its place", names.join(", ")),
    };
    let mut item = Item {
        name: lossless(removal.path()),
        what: "interrupted removal",
        size: None,
        age_seconds: None,
        verdict: "restorable",
        proof: vec![format!("the process that made it has ended; {moved}")],
        reason: None,
    };
    if apply {
        match removal.restore() {
            Ok(()) => item.verdict = "restored",
            Err(error) => {
                item.verdict = "kept";
                item.proof.clear();
                item.reason = Some(error.to_string());
            }
        }
    }
    item
}
