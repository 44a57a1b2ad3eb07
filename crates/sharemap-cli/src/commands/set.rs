//! `sharemap set`: sets a value of a segment.

use super::segment::{Object, Opened, Shape};
use crate::failure::Failure;
use crate::output::Output;
use serde::Serialize;
use serde_json::Value;

/// Sets a value of a segment: a named value, or the value of a key in a map.
///
/// The object exists or is created with the type of --type: an integer (u8 to u128, i8 to i128), f32,
/// f64, bool, char, str, bytes, an array of these, or a map of two of them. Types are written as "ls"
/// shows them. Bytes are written in hexadecimal, arrays as [1, 2, 3], text as it is. A value that begins
/// with a dash and is no number is written after --. Values of structs can be printed, but not set.
///
/// If this command is killed at any moment, the value is the old one or the new one. Exits with status 3
/// if there is no such object and no --type.
#[derive(Debug, clap::Args)]
#[command(override_usage = "sharemap set [OPTIONS] <SEGMENT> <NAME> [KEY] <VALUE>")]
pub(crate) struct Args {
    /// The name of the segment, or a path with a separator.
    #[arg(value_name = "SEGMENT")]
    segment: String,
    /// The name of the object.
    #[arg(value_name = "NAME")]
    name: String,
    /// The key in a map, if the object is one, and the value, as text.
    #[arg(value_name = "VALUE", required = true, num_args = 1..=2, allow_negative_numbers = true)]
    key_and_value: Vec<String>,
    /// Creates the object with this type if it does not exist.
    #[arg(long = "type", value_name = "TYPE")]
    description: Option<String>,
    /// Accepts a segment that belongs to another user. That user must be trusted to follow the protocol.
    #[arg(long)]
    allow_any_owner: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    segment: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    description: &'a str,
    /// `None` for a named value.
    key: Option<Value>,
    value: Value,
    /// The key's value before; `None` for a new key, and for a named value.
    previous: Option<Value>,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let (key_text, value_text) = match &args.key_and_value[..] {
        [key, value] => (Some(key), value),
        [value, ..] => (None, value),
        [] => return Err(Failure::refused("no value was given")),
    };
    let opened = Opened::to_write(&args.segment, args.allow_any_owner)?;
    let object = object(args, &opened)?;
    let invalid = |why: String| object.invalid(&why);
    let (of, key, bytes, previous) = match (&object.shape, key_text) {
        (Shape::Value(of), None) => {
            let bytes = of.parse(value_text).map_err(Failure::Refused)?;
            opened.set_value(&object, &bytes)?;
            (of, None, bytes, None)
        }
        (Shape::Map(entries), Some(text)) => {
            let key = entries.key.parse(text).map_err(Failure::Refused)?;
            let bytes = entries.value.parse(value_text).map_err(Failure::Refused)?;
            let previous = opened.map_or_new(&object, entries)?.insert(&key, &bytes)?;
            let key = entries.key.json(&key).map_err(invalid)?;
            (&entries.value, Some(key), bytes, previous)
        }
        (Shape::Value(_), Some(_)) => {
            return Err(Failure::refused(format!("{} is a value, which has no keys", args.name)));
        }
        (Shape::Map(_), None) => {
            return Err(Failure::refused(format!(
                "{} is a map: name a KEY before the VALUE",
                args.name
            )));
        }
        (Shape::Unknown, _) => return Err(object.unknown()),
    };
    if output.json() {
        let value = of.json(&bytes).map_err(invalid)?;
        let previous = previous.map(|bytes| of.json(&bytes)).transpose().map_err(invalid)?;
        let (segment, name, description) = (&*args.segment, &*args.name, &*object.description);
        return output.object(&Report { segment, name, description, key, value, previous });
    }
    let value = of.text(&bytes).map_err(invalid)?;
    let before = match previous {
        Some(bytes) => format!(", before {}", of.text(&bytes).map_err(invalid)?),
        None => String::new(),
    };
    match key_text {
        Some(key) => output.line(format!("{} {key}: {value}{before}", args.name)),
        None => output.line(format!("{}: {value}", args.name)),
    }
}

/// Returns the object to change: the one that exists, or a new one of the type that was asked for.
fn object(args: &Args, opened: &Opened) -> Result<Object, Failure> {
    let found = opened.segment.object(&args.name)?.map(|found| Object::of(&found));
    match (found, &args.description) {
        (Some(found), Some(description)) if found.description != *description => {
            Err(Failure::refused(format!(
                "cannot set {}: its type is {}, not {description}",
                args.name, found.description
            )))
        }
        (Some(found), _) => Ok(found),
        (None, Some(description)) => Object::new(&args.name, description).ok_or_else(|| {
            Failure::refused(format!(
                "cannot create {}: {description} is not a type such as u64, str, bytes, [u8;4] or map<str,u64>",
                args.name
            ))
        }),
        (None, None) => Err(Failure::NotFound(format!(
            "there is no object {} in {}; give a --type to create it",
            args.name, args.segment
        ))),
    }
}
