//! Prints rows of numbers, as text or as JSON.

use super::element::{Element, Type};
use super::source::Hole;
use crate::failure::Failure;
use crate::output::Output;
use crate::text::Text;
use crate::units;
use console::Style;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;

pub(super) struct Listing<'a> {
    output: &'a mut Output,
    element: Element,
    /// The number of bytes in a row.
    row: usize,
    /// Whether rows equal to the row before are printed.
    all: bool,
    last: Vec<u8>,
    squeezing: bool,
    /// The buffer in which a row is formatted.
    line: String,
    /// The offset at which the next row begins.
    end: u64,
    first: bool,
}

#[derive(Serialize)]
struct Row {
    offset: u64,
    values: Vec<Value>,
}

/// The bytes at the end that are too few for a number.
#[derive(Serialize)]
struct Rest<'a> {
    offset: u64,
    rest: &'a [u8],
}

#[derive(Serialize)]
struct Gap<'a> {
    offset: u64,
    hole: &'a Hole,
}

impl<'a> Listing<'a> {
    pub(super) fn new(
        output: &'a mut Output,
        element: Element,
        row: usize,
        all: bool,
    ) -> Result<Self, Failure> {
        if output.json() {
            output.bytes(b",\"rows\":[")?;
        }
        Ok(Self {
            output,
            element,
            row,
            all,
            last: Vec::new(),
            squeezing: false,
            line: String::new(),
            end: 0,
            first: true,
        })
    }

    /// Prints `bytes`, which are whole rows, except for the last row before a hole or the end.
    pub(super) fn bytes(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Failure> {
        let mut offset = offset;
        for row in bytes.chunks(self.row) {
            if self.output.json() {
                self.json_row(offset, row)?;
            } else if self.all || row != self.last {
                self.text_row(offset, row)?;
                self.squeezing = false;
                self.last.clear();
                self.last.extend_from_slice(row);
            } else if !self.squeezing {
                self.output.line("*")?;
                self.squeezing = true;
            }
            offset += row.len() as u64;
        }
        self.end = offset;
        Ok(())
    }

    /// Prints a hole with its reason.
    pub(super) fn hole(&mut self, hole: &Hole) -> Result<(), Failure> {
        self.end = hole.offset + hole.length;
        self.last.clear();
        self.squeezing = false;
        if self.output.json() {
            return self.item(&Gap { offset: hole.offset, hole });
        }
        let what = format!("hole of {}: {}", units::size(hole.length), hole.reason);
        let what = Text::styled(&Style::new().red(), what);
        self.output.line(Text::from(address(hole.offset)) + "  " + what)
    }

    /// Ends the listing. Text ends with the offset after the last byte.
    pub(super) fn end(self) -> Result<(), Failure> {
        if self.output.json() {
            return self.output.bytes(b"]");
        }
        // As in hexdump: the end would be hidden if the last rows were replaced by `*`.
        let address = address(self.end);
        self.output.line(address)
    }

    fn json_row(&mut self, offset: u64, row: &[u8]) -> Result<(), Failure> {
        let numbers = row.chunks_exact(self.element.width());
        let rest = numbers.remainder();
        let values: Vec<_> = numbers.map(|bytes| self.element.json(bytes)).collect();
        let after = offset + (row.len() - rest.len()) as u64;
        if !values.is_empty() {
            self.item(&Row { offset, values })?;
        }
        if !rest.is_empty() {
            self.item(&Rest { offset: after, rest })?;
        }
        Ok(())
    }

    fn item(&mut self, item: &impl Serialize) -> Result<(), Failure> {
        let comma = if self.first { "" } else { "," };
        self.first = false;
        self.output.item(comma, item)
    }

    fn text_row(&mut self, offset: u64, row: &[u8]) -> Result<(), Failure> {
        let columns = self.element.columns();
        let numbers = row.chunks_exact(self.element.width());
        let rest = numbers.remainder();
        self.line.clear();
        self.line += &address(offset);
        let full = self.line.len() + 1 + 3 * self.row + (self.row - 1) / 8;
        self.line.push(' ');
        if self.element.kind == Type::U8 {
            self.byte_row(row, full);
        } else {
            for bytes in numbers {
                let _ = write!(self.line, " {:>columns$}", self.element.text(bytes));
            }
        }
        if !rest.is_empty() {
            let bytes: Vec<_> = rest.iter().map(|byte| format!("{byte:02x}")).collect();
            let left = units::count(rest.len() as u64, "byte");
            let _ = write!(self.line, "  {left} left over: {}", bytes.join(" "));
        }
        self.output.line(&self.line)
    }

    /// Appends the bytes in groups of eight, and their characters from column `full` on.
    fn byte_row(&mut self, row: &[u8], full: usize) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for (i, &byte) in row.iter().enumerate() {
            if i % 8 == 0 && i > 0 {
                self.line.push(' ');
            }
            self.line.push(' ');
            self.line.push(char::from(DIGITS[usize::from(byte >> 4)]));
            self.line.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        self.line.extend(std::iter::repeat_n(' ', full.saturating_sub(self.line.len())));
        self.line += "  |";
        self.line.extend(row.iter().map(|&byte| printable(byte)));
        self.line.push('|');
    }
}

fn address(offset: u64) -> String {
    format!("{offset:08x}")
}

fn printable(byte: u8) -> char {
    if byte == b' ' || byte.is_ascii_graphic() { char::from(byte) } else { '.' }
}
