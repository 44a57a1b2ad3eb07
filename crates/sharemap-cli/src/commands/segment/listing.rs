//! `sharemap ls SEGMENT`: lists the named objects of a segment.

use super::{Object, Opened};
use crate::failure::Failure;
use crate::output::Output;
use crate::text::Text;
use crate::units;
use console::Style;
use serde::Serialize;

#[derive(Serialize)]
struct Named<'a> {
    segment: &'a str,
    named: Vec<Object>,
}

/// Lists the named objects of a segment.
pub(in crate::commands) fn list(opened: &Opened, output: &mut Output) -> Result<(), Failure> {
    let named = opened.objects()?;
    if output.json() {
        return output.object(&Named { segment: &opened.name, named });
    }
    if named.is_empty() {
        return output.line(format!("{} has no named objects", opened.name));
    }
    let dim = |heading: &str| Text::styled(&Style::new().dim(), heading);
    let rows = named.iter().map(|object| {
        let cells = [&*object.name, object.kind, &object.description, &units::size(object.bytes)];
        cells.map(Text::from)
    });
    let rows: Vec<[Text; 4]> =
        [["NAME", "KIND", "TYPE", "SIZE"].map(dim)].into_iter().chain(rows).collect();
    let widths: [usize; 4] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or(0));
    for [name, kind, description, size] in rows {
        let [first, second, third, _] = widths.map(|width| width + 2);
        output.line(name.padded(first) + kind.padded(second) + description.padded(third) + size)?;
    }
    let total = named.iter().map(|object| object.bytes).sum();
    output.line(format!("{}, {}", units::count(named.len() as u64, "object"), units::size(total)))
}
