//! Draws residency as a PNG or SVG picture, without libraries or fonts of the system.

use super::cells::{Cell, Grid};
use crate::commands::pages::Pages;
use crate::failure::Failure;
use crate::units;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use std::fs;
use std::io;
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Png,
    Svg,
}

/// The file to draw into, and its format.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    format: Format,
}

/// Parses the path of a picture. The extension decides the format.
pub(super) fn parse_target(text: &str) -> Result<Target, String> {
    let path = PathBuf::from(text);
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    let format = match extension.as_ref().and_then(|extension| extension.to_str()) {
        Some("png") => Format::Png,
        Some("svg") => Format::Svg,
        _ => return Err("the name must end with .png or .svg".into()),
    };
    Ok(Target { path, format })
}

const FONT: &str = "sans-serif";
const COLUMNS: usize = 128;
const ROWS: usize = 96;
/// The width and height of a cell, in pixels.
const CELL: i32 = 8;
const LEFT: i32 = 96;
const TOP: i32 = 56;
const BOTTOM: i32 = 64;
const RIGHT: i32 = 24;

const INK: RGBColor = RGBColor(40, 44, 52);
const UNKNOWN: RGBColor = RGBColor(224, 224, 224);
const ABSENT: RGBColor = RGBColor(236, 240, 247);
/// The colours of a cell with the least and the most in memory; a cell with nothing in memory is
/// `ABSENT`.
const SCALE: [RGBColor; 2] = [RGBColor(253, 196, 86), RGBColor(20, 132, 92)];

/// Draws `pages` into the target file.
pub(super) fn draw(
    target: &Target,
    title: &str,
    pages: &Pages,
    page_size: u64,
) -> Result<(), Failure> {
    let failed = |error| Failure::file("draw", &target.path, error);
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| Failure::refused("cannot draw: the built-in font is broken"))?;
    let grid = Grid::new(pages, COLUMNS, ROWS);
    let rows = grid.rows().max(1);
    let width = (LEFT + COLUMNS as i32 * CELL + RIGHT) as u32;
    let height = (TOP + rows as i32 * CELL + BOTTOM) as u32;
    let bytes = match target.format {
        Format::Svg => {
            let mut text = String::new();
            let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
            paint(&area, title, &grid, page_size).map_err(failed)?;
            drop(area);
            text.into_bytes()
        }
        Format::Png => {
            let mut pixels = vec![0; width as usize * height as usize * 3];
            let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
            paint(&area, title, &grid, page_size).map_err(failed)?;
            drop(area);
            encode(&pixels, width, height).map_err(failed)?
        }
    };
    fs::write(&target.path, bytes).map_err(|error| Failure::file("write", &target.path, error))
}

fn encode(pixels: &[u8], width: u32, height: u32) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

fn paint<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    title: &str,
    grid: &Grid,
    page_size: u64,
) -> io::Result<()> {
    let failed = |error: DrawingAreaErrorKind<B::ErrorType>| io::Error::other(error.to_string());
    let text =
        |size: i32, h, v| TextStyle::from((FONT, size).into_font()).color(&INK).pos(Pos::new(h, v));
    let square = |x: i32, y: i32, color: RGBColor| {
        Rectangle::new([(x, y), (x + CELL - 2, y + CELL - 2)], color.filled())
    };
    area.fill(&WHITE).map_err(failed)?;
    area.draw_text(title, &text(20, HPos::Left, VPos::Top), (LEFT, 18)).map_err(failed)?;

    let per_cell = grid.pages_per_cell * page_size;
    let per_row = per_cell * grid.columns as u64;
    let labels = text(13, HPos::Right, VPos::Center);
    // Every second row, or fewer, so that the labels do not touch.
    let every = 2 * (grid.rows() / 24 + 1);
    for (row, cells) in grid.cells.chunks(grid.columns).enumerate() {
        let y = TOP + row as i32 * CELL;
        if row % every == 0 {
            let offset = units::size(row as u64 * per_row);
            area.draw_text(&offset, &labels, (LEFT - 8, y + CELL / 2)).map_err(failed)?;
        }
        for (column, &cell) in cells.iter().enumerate() {
            let x = LEFT + column as i32 * CELL;
            area.draw(&square(x, y, color(cell))).map_err(failed)?;
        }
    }

    let y = TOP + grid.rows().max(1) as i32 * CELL + 24;
    let legend = text(13, HPos::Left, VPos::Center);
    let mut x = LEFT;
    let samples = [
        (Cell::Known(1.0), "all in memory"),
        (Cell::Known(0.5), "half"),
        (Cell::Known(0.01), "a little"),
        (Cell::Known(0.0), "none"),
        (Cell::Unknown, "unknown"),
    ];
    for (cell, name) in samples {
        area.draw(&square(x, y, color(cell))).map_err(failed)?;
        area.draw_text(name, &legend, (x + 14, y + CELL / 2 - 1)).map_err(failed)?;
        let (wide, _) = area.estimate_text_size(name, &legend).map_err(failed)?;
        x += wide as i32 + 44;
    }
    let scale = format!("one square: {}, one row: {}", units::size(per_cell), units::size(per_row));
    area.draw_text(&scale, &legend, (x + 16, y + CELL / 2 - 1)).map_err(failed)?;
    area.present().map_err(failed)
}

fn color(cell: Cell) -> RGBColor {
    let Cell::Known(part) = cell else {
        return UNKNOWN;
    };
    if part <= 0.0 {
        return ABSENT;
    }
    let [from, to] = SCALE;
    let mix = |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * part) as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}
