//! The error lists in the documentation of public functions: each listed kind exists and can be
//! created in the layers below the function, each kind is listed somewhere, and errors that
//! functions return are in their lists.

#[path = "common/mod.rs"]
mod common;
#[path = "common/layers.rs"]
mod layers;
#[path = "error_lists/parse.rs"]
mod parse;
#[cfg(target_os = "linux")]
#[path = "error_lists/provoked.rs"]
mod provoked;

use std::collections::BTreeSet;

use layers::LAYERS;
use parse::Library;

fn layer(path: &str) -> usize {
    let noun = path.split('/').next().unwrap().trim_end_matches(".rs");
    LAYERS.iter().position(|layer| *layer == noun).unwrap_or(LAYERS.len())
}

/// Every listed kind exists and is created in a layer that the function can call.
#[test]
fn listed_kinds_exist_and_are_produced_in_reach() {
    let library = Library::read();
    assert!(library.kinds.len() > 40, "{} kinds found", library.kinds.len());
    assert!(library.lists.len() > 130, "{} lists found", library.lists.len());
    let mut wrong = Vec::new();
    for list in &library.lists {
        for kind in &list.kinds {
            if !library.kinds.contains(kind) {
                wrong.push(format!("{list}: there is no kind {kind}"));
                continue;
            }
            let makers = library.makers.get(kind).into_iter().flatten();
            if !makers.into_iter().any(|maker| layer(maker) <= layer(&list.path)) {
                wrong.push(format!("{list}: nothing in its reach makes {kind}"));
            }
        }
        for (owner, name) in &list.references {
            if library.find(owner, name).next().is_none() {
                wrong.push(format!("{list}: refers to {owner}::{name}, which has no list"));
            }
        }
        if library.promised(list).is_empty() && !list.tells_in_words {
            wrong.push(format!("{list}: lists no kind"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every kind is created and listed somewhere.
#[test]
fn every_kind_is_produced_and_listed() {
    let library = Library::read();
    let listed: BTreeSet<_> = library.lists.iter().flat_map(|list| list.kinds.iter()).collect();
    let mut wrong = Vec::new();
    for kind in &library.kinds {
        if !library.makers.contains_key(kind) {
            wrong.push(format!("{kind} is never made"));
        }
        if !listed.contains(kind) {
            wrong.push(format!("{kind} is made, and no list has it"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
