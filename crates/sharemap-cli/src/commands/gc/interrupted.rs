//! Interrupted removals: moves back the files of removals that were killed before they ended.

use super::report::Item;
use crate::failure::Failure;
use crate::text::lossless;
use sharemap::inspect::InterruptedRemoval;
use std::path::{Path, is_separator};

/// Finds the interrupted removals of the named objects, and empty ones beside them; without names,
/// those of all shared memory.
pub(super) fn find(names: &[String]) -> Result<Vec<InterruptedRemoval>, Failure> {
    if names.is_empty() {
        return Ok(InterruptedRemoval::find_in_shared_memory()?);
    }
    let mut found: Vec<InterruptedRemoval> = Vec::new();
    for name in names {
        let path = Path::new(name);
        // An error of the directory is reported when the object is judged.
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

/// Returns `true` if one of `removals` contains the file of the object `name`.
pub(super) fn has(removals: &[InterruptedRemoval], name: &str) -> bool {
    let name = Path::new(name).file_name();
    removals
        .iter()
        .any(|removal| removal.names().iter().any(|moved| name == Some(moved.as_os_str())))
}

/// Describes an interrupted removal, and moves its files back if `apply` is `true`.
pub(super) fn settle(removal: &InterruptedRemoval, apply: bool) -> Item {
    let names: Vec<_> = removal.names().iter().map(lossless).collect();
    let moved = match names.is_empty() {
        true => "the directory is empty".to_owned(),
        false => format!("the directory contains {}, to be moved back", names.join(", ")),
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
