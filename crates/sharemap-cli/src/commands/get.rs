//! `sharemap get`: prints a value of a segment.

use super::segment::{Opened, Shape};
use crate::failure::Failure;
use crate::output::Output;
use serde::Serialize;
use serde_json::Value;

/// Prints a value of a segment: a named value, or the value of a key in a map.
///
/// Numbers, bool, char and str are printed as text, bytes and structs in hexadecimal, arrays as
/// [1, 2, 3]. Characters that act on a terminal are escaped; --json prints text exactly. The value is read
/// whole, without locks. Exits with status 3 if there is no such object or key.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the segment, or a path with a separator.
    #[arg(value_name = "SEGMENT")]
    segment: String,
    /// The name of the object.
    #[arg(value_name = "NAME")]
    name: String,
    /// The key in a map, as text.
    #[arg(value_name = "KEY", allow_negative_numbers = true)]
    key: Option<String>,
}

#[derive(Serialize)]
struct Found<'a> {
    segment: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    description: &'a str,
    /// `None` for a named value.
    key: Option<Value>,
    value: Value,
}

pub(crate) fn run(args: &Args, output: &mut Output) -> Result<(), Failure> {
    let opened = Opened::to_read(&args.segment)?;
    let object = opened.object(&args.name)?;
    let (of, bytes, key) = match (&object.shape, &args.key) {
        (Shape::Value(of), None) => (of, opened.value(&object)?, None),
        (Shape::Map(entries), Some(text)) => {
            let key = entries.key.parse(text).map_err(Failure::Refused)?;
            let value = opened.map(&object, entries)?.get(&key)?;
            let value = value.ok_or_else(|| {
                Failure::NotFound(format!(
                    "there is no key {text} in {} of {}",
                    args.name, args.segment
                ))
            })?;
            let key = entries.key.json(&key).map_err(|why| object.invalid(&why))?;
            (&entries.value, value, Some(key))
        }
        (Shape::Value(_), Some(_)) => {
            return Err(Failure::refused(format!("{} is a value, which has no keys", args.name)));
        }
        (Shape::Map(_), None) => {
            let (segment, name) = (&args.segment, &args.name);
            return Err(Failure::refused(format!(
                "{name} is a map: name a KEY, or use `sharemap cat {segment} {name}` to print all entries"
            )));
        }
        (Shape::Unknown, _) => return Err(object.unknown()),
    };
    if !output.json() {
        return output.line(of.text(&bytes).map_err(|why| object.invalid(&why))?);
    }
    let value = of.json(&bytes).map_err(|why| object.invalid(&why))?;
    let (segment, name, description) = (&*args.segment, &*args.name, &*object.description);
    output.object(&Found { segment, name, description, key, value })
}
