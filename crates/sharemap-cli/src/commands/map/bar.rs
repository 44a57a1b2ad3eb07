//! Prints residency as rows of coloured blocks.

use super::cells::{Cell, Grid};
use crate::commands::pages::Pages;
use crate::failure::Failure;
use crate::output::Output;
use crate::text::Text;
use crate::units;
use console::{Style, Term};

/// The largest number of rows.
const ROWS: usize = 16;

pub(super) fn print(output: &mut Output, pages: &Pages, page_size: u64) -> Result<(), Failure> {
    if pages.len() == 0 {
        return Ok(());
    }
    let grid = Grid::new(pages, columns(output), ROWS);
    let per_cell = grid.pages_per_cell * page_size;
    for (row, cells) in grid.cells.chunks(grid.columns).enumerate() {
        let offset = row as u64 * grid.columns as u64 * per_cell;
        let blocks: Text = cells.iter().map(|&cell| block(cell)).collect();
        output.line(Text::from(format!("{:>10} ", units::size(offset))) + blocks)?;
    }
    let sample = |part| block(Cell::Known(part));
    output.line(
        Text::default().padded(11)
            + sample(1.0)
            + " all in memory  "
            + sample(0.9)
            + " "
            + sample(0.6)
            + " "
            + sample(0.1)
            + " part  "
            + sample(0.0)
            + " none  "
            + block(Cell::Unknown)
            + format!(" unknown; one block is {}", units::size(per_cell)),
    )
}

/// Returns the number of columns: a power of two that fits beside the offsets; 64 if the output is not a
/// terminal.
fn columns(output: &Output) -> usize {
    if !output.is_terminal() {
        return 64;
    }
    let width = usize::from(Term::stdout().size().1).saturating_sub(12);
    1 << width.clamp(8, 128).ilog2()
}

/// Returns the block of a cell. The shapes differ as well as the colours, which may be unavailable or
/// hard to tell apart.
fn block(cell: Cell) -> Text {
    let (shape, style) = match cell {
        Cell::Known(part) if part >= 1.0 => ('█', Style::new().green()),
        Cell::Known(part) if part >= 0.75 => ('▓', Style::new().green()),
        Cell::Known(part) if part >= 0.25 => ('▒', Style::new().yellow()),
        Cell::Known(part) if part > 0.0 => ('░', Style::new().yellow()),
        Cell::Known(_) => ('·', Style::new().blue()),
        Cell::Unknown => ('?', Style::new().dim()),
    };
    Text::styled(&style, shape)
}
