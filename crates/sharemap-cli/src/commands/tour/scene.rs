//! A step of the tour, and its environment: its directory, its notes and its helpers.

use super::interrupt;
use super::peer::{Action, Peer};
use serde::Serialize;
use std::error::Error;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

/// The result of a step. An error states what should have been.
pub(super) type Outcome = Result<(), Box<dyn Error>>;

/// One step of the tour.
pub(super) struct Step {
    /// The name on the command line and in JSON, in one word.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Performs the step in a directory of its own, records notes, and checks what it sees.
    pub(super) run: fn(&mut Scene<'_>) -> Outcome,
}

/// A note of a step.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Note {
    Did(String),
    Saw(String),
}

/// The directory and the notes of a step.
pub(super) struct Scene<'a> {
    dir: &'a Path,
    scan: u64,
    notes: Vec<Note>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(dir: &'a Path, scan: u64) -> Self {
        Self { dir, scan, notes: Vec::new() }
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns the requested size of the file that is scanned.
    pub(super) fn scan(&self) -> u64 {
        self.scan
    }

    /// Records what the step did.
    pub(super) fn did(&mut self, what: impl Into<String>) {
        let what = self.shorten(&what.into());
        self.note(Note::Did(what));
    }

    /// Records what the step saw.
    pub(super) fn saw(&mut self, what: impl Into<String>) {
        let what = self.shorten(&what.into());
        self.note(Note::Saw(what));
    }

    /// Records a note. If the tour is ending, unwinds the step, which closes its files.
    fn note(&mut self, note: Note) {
        if interrupt::pending() {
            resume_unwind(Box::new("interrupted"));
        }
        self.notes.push(note);
    }

    /// Removes the name of the directory from `text`, which would be most of many lines.
    fn shorten(&self, text: &str) -> String {
        // The form that the library's errors use.
        let dir = self.dir.join("").to_string_lossy().into_owned();
        text.replace(&dir, "")
    }

    /// Starts a second process of this program.
    pub(super) fn peer(&self, action: Action, path: &Path) -> Result<Peer, Box<dyn Error>> {
        Peer::start(action, path)
    }

    pub(super) fn into_notes(self) -> Vec<Note> {
        self.notes
    }
}

/// Returns an error unless `holds` is `true`; `what` states what should have been.
pub(super) fn expect(holds: bool, what: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(what.into().into()) }
}

/// Returns the error of `result`, which must be of kind `kind`.
pub(super) fn refused<T>(
    result: sharemap::Result<T>,
    kind: sharemap::ErrorKind,
    what: &str,
) -> Result<sharemap::Error, Box<dyn Error>> {
    match result {
        Err(error) if error.kind() == kind => Ok(error),
        Err(error) => Err(format!("{what}: expected {kind:?}, but: {error}").into()),
        Ok(_) => Err(format!("{what}: expected {kind:?}, but it was allowed").into()),
    }
}

/// Creates a file of zeros, which takes almost no space if the file system has holes.
pub(super) fn sparse_file(path: &Path, size: u64) -> Outcome {
    // The library marks the file as sparse, which some systems require.
    sharemap::MapOptions::new().sparse().create(path, 4096)?.close()?;
    std::fs::OpenOptions::new().write(true).open(path)?.set_len(size)?;
    Ok(())
}

/// Returns `true` if locks in shared memory are supported here. Records a note if not.
pub(super) fn locks_work(scene: &mut Scene<'_>) -> bool {
    let works = sharemap::guard::recovery() == sharemap::guard::Recovery::InPlace;
    if !works {
        scene.did("asked whether faults can be recovered in place");
        scene.saw("they cannot: there are no locks in shared memory here, and nothing to show");
    }
    works
}
