//! The residency of a file's pages, stored as runs: one value for each page may not fit into memory.

use crate::failure::Failure;
use serde::{Serialize, Serializer};
use sharemap::{ErrorKind, MapOptions, Mapping, PageState};
use std::fs::File;
use std::ops::Range;

/// The number of bytes of which the residency is queried at a time.
const PIECE: usize = 1 << 30;

/// Neighbouring pages in the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Run {
    #[serde(serialize_with = "word")]
    pub(super) state: PageState,
    pub(super) first_page: u64,
    pub(super) pages: u64,
}

fn word<S: Serializer>(state: &PageState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match state {
        PageState::Resident => "resident",
        PageState::Absent => "absent",
        _ => "unknown",
    })
}

/// The states of the pages that contain a range, in order. The first of them is page 0.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pages {
    runs: Vec<Run>,
}

impl Pages {
    /// Queries the pages of `range` in a mapping of a whole file. `None` if the system does not report
    /// them.
    pub(super) fn of(map: &Mapping, range: &Range<usize>) -> Result<Option<Self>, Failure> {
        let page = sharemap::page_size();
        let mut found = Self::default();
        let mut start = range.start / page * page;
        while start < range.end {
            let piece = start..range.end.min(start.saturating_add(PIECE));
            start = piece.end;
            // Saves the query of each page where nothing is cached, as in most of a large sparse file.
            if map.cache_status_range(piece.clone()).is_ok_and(|cache| cache.cached == 0) {
                found.add(PageState::Absent, piece.len().div_ceil(page) as u64);
                continue;
            }
            match map.residency_range(piece) {
                Ok(residency) => residency
                    .pages()
                    .chunk_by(|one, next| one == next)
                    .for_each(|run| found.add(run[0], run.len() as u64)),
                Err(error) => match error.kind() {
                    ErrorKind::Unsupported | ErrorKind::PermissionDenied => return Ok(None),
                    _ => return Err(error.into()),
                },
            }
        }
        Ok(Some(found))
    }

    /// Appends the pages of `more`.
    pub(super) fn append(&mut self, more: &Self) {
        more.runs.iter().for_each(|run| self.add(run.state, run.pages));
    }

    /// Returns `pages` pages in an unknown state.
    pub(super) fn unknown(pages: u64) -> Self {
        let mut found = Self::default();
        found.add(PageState::Unknown, pages);
        found
    }

    fn add(&mut self, state: PageState, pages: u64) {
        let first_page = self.len();
        match self.runs.last_mut() {
            Some(run) if run.state == state => run.pages += pages,
            _ if pages == 0 => {}
            _ => self.runs.push(Run { state, first_page, pages }),
        }
    }

    /// Returns the number of pages.
    pub(super) fn len(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.first_page + run.pages)
    }

    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Returns the number of pages in `state`.
    pub(super) fn number(&self, state: PageState) -> u64 {
        self.runs.iter().filter(|run| run.state == state).map(|run| run.pages).sum()
    }

    #[cfg(test)]
    pub(super) fn from_states(states: &[PageState]) -> Self {
        let mut pages = Self::default();
        states.iter().for_each(|&state| pages.add(state, 1));
        pages
    }
}

/// Returns the number of pages of `range` in memory. `None` unless the system reports every page.
pub(super) fn resident(map: &Mapping, range: &Range<usize>) -> Result<Option<u64>, Failure> {
    let pages = Pages::of(map, range)?;
    Ok(pages
        .filter(|pages| pages.number(PageState::Unknown) == 0)
        .map(|pages| pages.number(PageState::Resident)))
}

/// Describes the numbers of pages in memory before and after.
pub(super) fn change(before: Option<u64>, after: Option<u64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => {
            format!("in memory: {before} before, {after} now")
        }
        _ => "the system does not report which pages are in memory".into(),
    }
}

/// Calls `look` with a mapping of each part of the first `size` bytes in turn. The parts are
/// smaller where address space is short.
pub(super) fn in_parts(
    file: &File,
    size: u64,
    mut look: impl FnMut(&Mapping) -> Result<(), Failure>,
) -> Result<Mappable, Failure> {
    const LEAST: usize = 1 << 20;
    let mut most = PIECE;
    let mut start = 0;
    while start < size {
        let part = (most as u64).min(size - start) as usize;
        match MapOptions::new().offset(start).len(part).map(file) {
            Ok(map) => {
                look(&map)?;
                start += part as u64;
            }
            Err(error) => match error.kind() {
                ErrorKind::OutOfAddressSpace if most > LEAST => most /= 2,
                // A lack of address space or a truncated file does not show that the file cannot be
                // mapped.
                ErrorKind::OutOfAddressSpace
                | ErrorKind::TooManyMappings
                | ErrorKind::LockLimit
                | ErrorKind::OutOfBounds => return Err(error.into()),
                _ => return Ok(Mappable::Refused),
            },
        }
    }
    Ok(Mappable::Yes)
}

/// Whether the system can map a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mappable {
    Yes,
    /// The file can only be read.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;
    use PageState::{Absent, Resident, Unknown};

    #[test]
    fn runs_join_equal_neighbours() {
        let found = Pages::from_states(&[Resident, Resident, Absent, Resident]);
        let run = |state, first_page, pages| Run { state, first_page, pages };
        assert_eq!(found.runs(), [run(Resident, 0, 2), run(Absent, 2, 1), run(Resident, 3, 1)]);
        assert_eq!((found.len(), found.number(Resident), found.number(Unknown)), (4, 3, 0));
        assert_eq!(Pages::from_states(&[]).runs(), []);
        assert_eq!(Pages::unknown(0).len(), 0);
    }
}
