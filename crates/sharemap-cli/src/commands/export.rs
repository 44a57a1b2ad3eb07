//! `sharemap export`: prints all values of a segment as JSON lines.

use super::segment::types::{Entries, Type};
use super::segment::{Object, Opened, Shape};
use crate::failure::{Details, Failure, complain};
use crate::output::Output;
use serde::Serialize;
use serde_json::Value;

/// Prints all named values and maps of a segment as JSON lines.
///
/// A line for each object has its name, kind and type, and a named value's value. The line of a map is followed
/// by one line for each entry, with the name, the key and the value. Objects of types that this command does
/// not know have no value; a message on standard error names them, and the exit status is 1.
///
/// Other processes may change the segment meanwhile. Each value is whole, and each key that is present
/// throughout is printed exactly once, but values of different keys may be from different moments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the segment, or a path with a separator.
    #[arg(value_name = "SEGMENT")]
    segment: String,
}

#[derive(Serialize)]
struct Head<'a> {
    segment: &'a str,
}

#[derive(Serialize)]
struct ObjectLine<'a> {
    #[serde(flatten)]
    object: &'a Object,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

#[derive(Serialize)]
struct EntryLine<'a> {
    name: &'a str,
    key: Value,
    value: Value,
}

#[derive(Serialize)]
struct Tail {
    length: u64,
    error: Option<Details>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let opened = Opened::to_read(&args.segment)?;
    let mut lines = Lines { is_list: output.json(), length: 0, output };
    if !lines.is_list {
        return lines.export(&opened);
    }
    lines.output.begin(&Head { segment: &args.segment })?;
    lines.output.bytes(b",\"lines\":[")?;
    let result = lines.export(&opened);
    if let Err(Failure::ClosedPipe) = result {
        return result;
    }
    lines.output.bytes(b"]")?;
    let error = result.as_ref().err().map(Failure::details);
    lines.output.end(&Tail { length: lines.length, error })?;
    result.map_err(|failure| {
        complain(failure);
        Failure::Reported
    })
}

/// The lines that are printed: alone, or as the items of a list.
struct Lines<'a> {
    is_list: bool,
    length: u64,
    output: &'a mut Output,
}

impl Lines<'_> {
    fn export(&mut self, opened: &Opened) -> Result<(), Failure> {
        let mut unknown = None;
        for object in opened.objects()? {
            let result = match &object.shape {
                Shape::Value(of) => self.value(opened, &object, of),
                Shape::Map(entries) => self.map(opened, &object, entries),
                Shape::Unknown => {
                    if let Some(earlier) = unknown.replace(object.unknown()) {
                        complain(earlier);
                    }
                    self.line(&ObjectLine { object: &object, value: None })
                }
            };
            match result {
                // Removed since it was listed.
                Err(failure) if failure.is_not_found() => {}
                result => result?,
            }
        }
        unknown.map_or(Ok(()), Err)
    }

    fn value(&mut self, opened: &Opened, object: &Object, of: &Type) -> Result<(), Failure> {
        let value = of.json(&opened.value(object)?).map_err(|why| object.invalid(&why))?;
        self.line(&ObjectLine { object, value: Some(value) })
    }

    fn map(&mut self, opened: &Opened, object: &Object, entries: &Entries) -> Result<(), Failure> {
        let map = opened.map(object, entries)?;
        self.line(&ObjectLine { object, value: None })?;
        map.each(&mut |key, value| {
            let invalid = |why: String| object.invalid(&why);
            let key = entries.key.json(key).map_err(invalid)?;
            let value = entries.value.json(value).map_err(invalid)?;
            self.line(&EntryLine { name: &object.name, key, value })
        })
    }

    fn line(&mut self, line: &impl Serialize) -> Result<(), Failure> {
        let separator = if self.is_list && self.length > 0 { "," } else { "" };
        self.length += 1;
        self.output.item(separator, line)
    }
}
