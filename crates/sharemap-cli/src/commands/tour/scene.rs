//! What a step of the tour has at hand.

use super::peer::{Action, Peer};
use super::{Outcome, interrupt};
use serde::Serialize;
use std::error::Error;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

/// What a step tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Note {
    Did(String),
    Saw(String),
}

/// A directory to work in, and a sheet of paper.
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

    /// The size asked for of the file that is scanned.
    pub(super) fn scan(&self) -> u64 {
        self.scan
    }

    pub(super) fn did(&mut self, what: impl Into<String>) {
        let what = self.shorten(&what.into());
        self.note(Note::Did(what));
    }

    pub(super) fn saw(&mut self, what: impl Into<String>) {
        let what = self.shorten(&what.into());
        self.note(Note::Saw(what));
    }

    /// Ends the step if the tour is to end: everything it has open is closed on the way.
    fn note(&mut self, note: Note) {
        if interrupt::pending() {
            resume_unwind(Box::new("interrupted"));
        }
        self.notes.push(note);
    }

    /// Without the directory's name, which would be most of many a line.
    fn shorten(&self, text: &str) -> String {
        // The form that the library's errors use.
        let dir = self.dir.join("").to_string_lossy().into_owned();
        text.replace(&dir, "")
    }

    /// Starts a second process of this very program.
    pub(super) fn peer(&self, action: Action, path: &Path) -> Result<Peer, Box<dyn Error>> {
        Peer::start(action, path)
    }

    pub(super) fn into_notes(self) -> Vec<Note> {
        self.notes
    }
}

/// Fails the step unless `true`; `what` says what should have been.
pub(super) fn expect(holds: bool, what: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(what.into().into()) }
}

/// The error that there has to be.
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

/// A file of zeros that takes next to no space, where the file system has holes.
pub(super) fn sparse_file(path: &Path, size: u64) -> Outcome {
    // The library makes it sparse, which on some systems has to be said.
    sharemap::MapOptions::new().sparse().create(path, 4096)?.close()?;
    std::fs::OpenOptions::new().write(true).open(path)?.set_len(size)?;
    Ok(())
}
