//! `sharemap cat SEGMENT NAME`: prints the values of a named object.

use super::{Object, Opened, Shape};
use crate::failure::{Details, Failure, complain};
use crate::output::Output;
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
struct Head<'a> {
    segment: &'a str,
    #[serde(flatten)]
    object: &'a Object,
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    value: Value,
}

#[derive(Serialize)]
struct Tail {
    length: u64,
    error: Option<Details>,
}

/// An entry of a map, as JSON states it.
#[derive(Serialize)]
struct Entry {
    key: Value,
    value: Value,
}

/// Prints the value of a named object, or the entries of a map.
pub(in crate::commands) fn print(
    opened: &Opened,
    name: &str,
    output: &mut Output,
) -> Result<(), Failure> {
    let object = opened.object(name)?;
    let head = Head { segment: &opened.name, object: &object };
    let entries = match &object.shape {
        Shape::Unknown => return Err(object.unknown()),
        Shape::Map(entries) => entries,
        Shape::Value(of) => {
            let bytes = opened.value(&object)?;
            if output.json() {
                let value = of.json(&bytes).map_err(|why| object.invalid(&why))?;
                return output.object(&Whole { head, value });
            }
            return output.line(of.text(&bytes).map_err(|why| object.invalid(&why))?);
        }
    };
    let map = opened.map(&object, entries)?;
    let invalid = |why: String| object.invalid(&why);
    if !output.json() {
        return map.each(&mut |key, value| {
            let key = entries.key.text(key).map_err(invalid)?;
            let value = entries.value.text(value).map_err(invalid)?;
            output.line(format!("{key}: {value}"))
        });
    }
    output.begin(&head)?;
    output.bytes(b",\"entries\":[")?;
    let mut length = 0;
    let result = map.each(&mut |key, value| {
        let key = entries.key.json(key).map_err(invalid)?;
        let value = entries.value.json(value).map_err(invalid)?;
        output.item(if length == 0 { "" } else { "," }, &Entry { key, value })?;
        length += 1;
        Ok(())
    });
    if let Err(Failure::ClosedPipe) = result {
        return result;
    }
    output.bytes(b"]")?;
    let error = result.as_ref().err().map(Failure::details);
    output.end(&Tail { length, error })?;
    result.map_err(|failure| {
        complain(failure);
        Failure::Reported
    })
}
