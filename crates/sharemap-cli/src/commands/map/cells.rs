//! Groups pages into cells, as many as there is room for.

use crate::commands::pages::Pages;
use sharemap::PageState;

/// The residency of the pages in one cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell {
    /// The fraction in memory, from 0 to 1, of the pages of known state.
    Known(f64),
    /// No page in a known state.
    Unknown,
}

/// A grid of cells, in rows from left to right.
pub(super) struct Grid {
    pub(super) columns: usize,
    pub(super) pages_per_cell: u64,
    pub(super) cells: Vec<Cell>,
}

impl Grid {
    /// Groups `pages` into at most `rows` rows of `columns` cells.
    pub(super) fn new(pages: &Pages, columns: usize, rows: usize) -> Self {
        let per_cell = pages.len().div_ceil((columns * rows) as u64).max(1);
        // A power of two, so that rows begin at round offsets.
        let pages_per_cell = per_cell.next_power_of_two();
        let mut counts = vec![Count::default(); pages.len().div_ceil(pages_per_cell) as usize];
        for run in pages.runs() {
            let mut page = run.first_page;
            while page < run.first_page + run.pages {
                let cell = page / pages_per_cell;
                let end = (run.first_page + run.pages).min((cell + 1) * pages_per_cell);
                counts[cell as usize].add(run.state, end - page);
                page = end;
            }
        }
        Self { columns, pages_per_cell, cells: counts.into_iter().map(Count::cell).collect() }
    }

    pub(super) fn rows(&self) -> usize {
        self.cells.len().div_ceil(self.columns)
    }
}

#[derive(Clone, Copy, Default)]
struct Count {
    resident: u64,
    known: u64,
}

impl Count {
    fn add(&mut self, state: PageState, pages: u64) {
        match state {
            PageState::Resident => {
                self.resident += pages;
                self.known += pages;
            }
            PageState::Absent => self.known += pages,
            _ => {}
        }
    }

    fn cell(self) -> Cell {
        match self.known {
            0 => Cell::Unknown,
            known => Cell::Known(self.resident as f64 / known as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PageState::{Absent, Resident, Unknown};

    #[test]
    fn every_page_is_in_one_cell() {
        for pages in [1, 7, 64, 65, 1000, 100_000] {
            let grid = Grid::new(&Pages::from_states(&vec![Resident; pages]), 16, 4);
            assert!(grid.rows() <= 4);
            assert_eq!(grid.cells.len() as u64, (pages as u64).div_ceil(grid.pages_per_cell));
            assert!(grid.cells.iter().all(|&cell| cell == Cell::Known(1.0)));
        }
        assert_eq!(Grid::new(&Pages::from_states(&[]), 16, 4).rows(), 0);
        assert!(Grid::new(&Pages::unknown(u64::MAX >> 12), 16, 4).rows() <= 4);
    }

    #[test]
    fn unknown_pages_do_not_count() {
        let cells = |states: &[PageState]| Grid::new(&Pages::from_states(states), 1, 1).cells;
        assert_eq!(cells(&[Resident, Absent, Unknown, Unknown]), [Cell::Known(0.5)]);
        assert_eq!(cells(&[Unknown]), [Cell::Unknown]);
    }

    #[test]
    fn runs_are_cut_where_cells_end() {
        let states: Vec<_> =
            (0..64).map(|page| if page < 21 { Resident } else { Absent }).collect();
        let grid = Grid::new(&Pages::from_states(&states), 4, 1);
        let parts = [1.0, 5.0 / 16.0, 0.0, 0.0].map(Cell::Known);
        assert_eq!((grid.pages_per_cell, &grid.cells[..]), (16, &parts[..]));
    }
}
