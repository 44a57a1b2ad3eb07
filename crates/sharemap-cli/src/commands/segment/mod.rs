//! The segments that commands name: how they are found and opened, and the objects in them.

mod access;
pub(super) mod listing;
mod number;
pub(super) mod printing;
pub(super) mod stats;
pub(super) mod types;

use super::objects;
use crate::failure::Failure;
use access::{Absent, Map};
use serde::Serialize;
use sharemap::{Location, NamedKind, Segment, SegmentObject, SharedOptions};
use types::{Entries, Type};

/// A segment that a command has opened.
pub(super) struct Opened {
    /// The name as it was typed.
    pub(super) name: String,
    pub(super) segment: Segment,
}

impl Opened {
    /// Opens a segment for reading. Any user may own it: nothing is written to it, and its contents are checked.
    pub(super) fn to_read(name: &str) -> Result<Self, Failure> {
        Self::open(name, |location| {
            SharedOptions::new().allow_any_owner().open_segment_read_only(location)
        })
    }

    /// Opens a segment for reading and writing. This process attaches, and completes what dead participants began.
    pub(super) fn to_write(name: &str, allow_any_owner: bool) -> Result<Self, Failure> {
        let options = SharedOptions::new();
        let options = if allow_any_owner { options.allow_any_owner() } else { options };
        Self::open(name, |location| options.open_segment(location))
    }

    /// Opens the segment of this name by `open`.
    pub(super) fn open(
        name: &str,
        open: impl FnOnce(Location) -> sharemap::Result<Segment>,
    ) -> Result<Self, Failure> {
        match open(objects::location(name)) {
            Ok(segment) => Ok(Self { name: name.into(), segment }),
            Err(error) => Err(objects::unopened(name, error)),
        }
    }

    /// Opens the segment of this name for reading. `None` if there is no such file or shared memory, or if it is not
    /// a segment.
    pub(super) fn find(name: &str) -> Result<Option<Self>, Failure> {
        match is_segment(name) {
            true => Self::to_read(name).map(Some),
            false => Ok(None),
        }
    }

    /// Finds a named object.
    pub(super) fn object(&self, name: &str) -> Result<Object, Failure> {
        match self.segment.object(name)? {
            Some(found) => Ok(Object::of(&found)),
            None => Err(Failure::NotFound(format!("there is no object {name} in {}", self.name))),
        }
    }

    /// Returns the objects, in the order of their names.
    pub(super) fn objects(&self) -> Result<Vec<Object>, Failure> {
        let mut objects: Vec<_> = self.segment.objects()?.iter().map(Object::of).collect();
        objects.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(objects)
    }

    /// Returns the bytes of a named value.
    pub(super) fn value(&self, object: &Object) -> Result<Vec<u8>, Failure> {
        let value = self.segment.described_value(&object.name, &object.description)?;
        // Removed since its description was read.
        value.ok_or_else(|| {
            Failure::NotFound(format!(
                "there is no object {} in {} any more",
                object.name, self.name
            ))
        })
    }

    /// Sets a named value, which is created if it does not exist.
    pub(super) fn set_value(&self, object: &Object, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.segment.set_described_value(&object.name, &object.description, bytes)?)
    }

    /// Opens a map.
    pub(super) fn map(&self, object: &Object, entries: &Entries) -> Result<Box<dyn Map>, Failure> {
        self.open_map(object, entries, Absent::Refused)
    }

    /// Opens a map, which is created if it does not exist.
    pub(super) fn map_or_new(
        &self,
        object: &Object,
        entries: &Entries,
    ) -> Result<Box<dyn Map>, Failure> {
        self.open_map(object, entries, Absent::Created)
    }

    fn open_map(
        &self,
        object: &Object,
        entries: &Entries,
        absent: Absent,
    ) -> Result<Box<dyn Map>, Failure> {
        Ok(access::map(&self.segment, &object.name, &object.description, entries, absent)?)
    }
}

/// Returns `true` if the file or the shared memory of this name is a segment.
pub(super) fn is_segment(name: &str) -> bool {
    let look = objects::inspect(&objects::location(name));
    look.is_ok_and(|look| look.facts().is_some_and(|facts| facts.kind == objects::SEGMENT))
}

/// A named object in a segment, as text and JSON describe it.
#[derive(Serialize)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) kind: &'static str,
    /// The description of the type.
    #[serde(rename = "type")]
    pub(super) description: String,
    /// The memory that the object occupies.
    pub(super) bytes: u64,
    #[serde(skip)]
    pub(super) shape: Shape,
}

/// What this command knows about the type of an object.
pub(super) enum Shape {
    Value(Type),
    Map(Entries),
    /// The command cannot print objects of this type.
    Unknown,
}

impl Object {
    /// Returns an object that does not exist yet. `None` if the command does not know the type.
    pub(super) fn new(name: &str, description: &str) -> Option<Self> {
        let value = || Some(("value", Shape::Value(Type::of(description)?)));
        let map = || Some(("map", Shape::Map(Entries::of(description)?)));
        let (kind, shape) = value().or_else(map)?;
        Some(Self { name: name.into(), kind, description: description.into(), bytes: 0, shape })
    }

    pub(super) fn of(found: &SegmentObject) -> Self {
        let description = found.description.clone();
        let (kind, shape) = match found.kind {
            NamedKind::Value => ("value", Type::of(&description).map(Shape::Value)),
            NamedKind::HashMap => ("map", Entries::of(&description).map(Shape::Map)),
            _ => ("unknown", None),
        };
        Self {
            name: found.name.clone(),
            kind,
            description,
            bytes: found.bytes,
            shape: shape.unwrap_or(Shape::Unknown),
        }
    }

    /// Returns the failure to print or write the object, because of its type.
    pub(super) fn unknown(&self) -> Failure {
        Failure::refused(format!(
            "cannot print {}: its type {} is not one that this command knows; it prints numbers, bool, char, str, \
             bytes, arrays, structs (in hexadecimal), and maps of them",
            self.name, self.description
        ))
    }

    /// Returns the failure to print a value whose bytes are not a value of its type.
    pub(super) fn invalid(&self, why: &str) -> Failure {
        Failure::refused(format!("cannot print {}, a {}: {why}", self.name, self.description))
    }
}
