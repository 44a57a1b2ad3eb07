//! Pages gathered into as many cells as there is room for.

use sharemap::PageState;

/// What one cell of a picture stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell {
    /// The part of its pages that is in memory, from 0 to 1, of those that the system tells of.
    Known(f64),
    /// The system tells of none of them.
    Unknown,
}

/// A grid of cells that is read like a page of text.
pub(super) struct Grid {
    pub(super) columns: usize,
    pub(super) pages_per_cell: usize,
    pub(super) cells: Vec<Cell>,
}

impl Grid {
    /// At most `rows` rows of `columns` cells.
    pub(super) fn new(states: &[PageState], columns: usize, rows: usize) -> Self {
        let per_cell = states.len().div_ceil(columns * rows).max(1);
        // Powers of two, so that rows begin at round offsets.
        let pages_per_cell = per_cell.next_power_of_two();
        Self { columns, pages_per_cell, cells: states.chunks(pages_per_cell).map(cell).collect() }
    }

    pub(super) fn rows(&self) -> usize {
        self.cells.len().div_ceil(self.columns)
    }
}

fn cell(pages: &[PageState]) -> Cell {
    let number = |wanted| pages.iter().filter(|&&state| state == wanted).count();
    let resident = number(PageState::Resident);
    let known = resident + number(PageState::Absent);
    if known == 0 { Cell::Unknown } else { Cell::Known(resident as f64 / known as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PageState::{Absent, Resident, Unknown};

    #[test]
    fn every_page_is_in_one_cell() {
        for pages in [1, 7, 64, 65, 1000, 100_000] {
            let grid = Grid::new(&vec![Resident; pages], 16, 4);
            assert!(grid.rows() <= 4);
            assert_eq!(grid.cells.len(), pages.div_ceil(grid.pages_per_cell));
            assert!(grid.cells.iter().all(|&cell| cell == Cell::Known(1.0)));
        }
        assert_eq!(Grid::new(&[], 16, 4).rows(), 0);
    }

    #[test]
    fn unknown_pages_count_for_nothing() {
        assert_eq!(cell(&[Resident, Absent, Unknown, Unknown]), Cell::Known(0.5));
        assert_eq!(cell(&[Unknown]), Cell::Unknown);
    }
}
