//! The directory of named objects: a map from names to values, and to the roots of containers.
//!
//! ```text
//! 0   kind         u32
//! 4   description  u32       the length of the text that describes the type
//! 8   root         u64       the offset of a container's root; 0 for a value
//! 16  fingerprint  16 bytes  of the text
//! 32  value        bytes
//!     text         bytes     the description
//! ```

use std::any::TypeId;
use std::cell::Cell;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::fingerprint_of;
use crate::peer::{Machine, Session, TypedSpan, Window};
use crate::segment::heap::malformed;
use crate::segment::map::{self, Form, Glimpse, Map, Root, Source, Value};
use crate::segment::segment::Segment;
use crate::segment::stored::{Stored, description};

/// The length of what precedes the value.
pub(super) const HEAD: u64 = 32;
/// The longest name in bytes.
pub(super) const LONGEST_NAME: usize = 255;

/// The kind of a named object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NamedKind {
    /// A value: see [`Segment::set_value`].
    Value,
    /// A [`HashMap`](crate::containers::HashMap).
    HashMap,
}

impl NamedKind {
    const ALL: [Self; 2] = [Self::Value, Self::HashMap];

    fn number(self) -> u32 {
        match self {
            Self::Value => 1,
            Self::HashMap => 2,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Value => "a value",
            Self::HashMap => "a hash map",
        }
    }
}

/// What the directory says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    kind: u32,
    /// The length of the description.
    pub(super) text: u32,
    pub(super) root: u64,
    fingerprint: [u8; 16],
}

impl Head {
    pub(super) fn of(kind: NamedKind, root: u64, text: &str) -> Self {
        // A description is as long as the type's source text.
        Self {
            kind: kind.number(),
            text: text.len() as u32,
            root,
            fingerprint: fingerprint_of(text),
        }
    }

    pub(super) fn load(session: &Session, value: Value) -> Result<Self> {
        let mut bytes = [0; HEAD as usize];
        if value.len < HEAD {
            return Err(malformed(value.at));
        }
        session.read(value.at, &mut bytes)?;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        Self::of_words([0, 8, 16, 24].map(word), value).ok_or_else(|| malformed(value.at))
    }

    /// Returns the head of a value that was found at once.
    #[inline(always)]
    fn glimpse(glimpse: &mut Glimpse<'_, '_>) -> Option<Self> {
        let mut word = |at| glimpse.word(at).map(u64::to_le);
        let words = [word(0)?, word(8)?, word(16)?, word(24)?];
        match glimpse.value.len >= HEAD {
            true => Self::of_words(words, glimpse.value),
            false => None,
        }
    }

    /// Returns the head with these words, if the value is long enough for it.
    #[inline(always)]
    fn of_words([first, root, low, high]: [u64; 4], value: Value) -> Option<Self> {
        let fingerprint = (u128::from(high) << 64 | u128::from(low)).to_le_bytes();
        let head = Self { kind: first as u32, text: (first >> 32) as u32, root, fingerprint };
        (u64::from(head.text) <= value.len - HEAD).then_some(head)
    }

    pub(super) fn encode(&self, value: &[u8], text: &str) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD as usize + value.len() + text.len());
        bytes.extend_from_slice(&self.kind.to_le_bytes());
        bytes.extend_from_slice(&self.text.to_le_bytes());
        bytes.extend_from_slice(&self.root.to_le_bytes());
        bytes.extend_from_slice(&self.fingerprint);
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    /// Returns the offset and the length of the object's value.
    pub(super) fn value_place(&self, value: Value) -> (u64, u64) {
        (value.at + HEAD, value.len - HEAD - u64::from(self.text))
    }

    pub(super) fn named_kind(&self) -> Option<NamedKind> {
        NamedKind::ALL.into_iter().find(|kind| kind.number() == self.kind)
    }
}

thread_local! {
    /// The type that this thread used last, and the fingerprint of its description.
    static LAST: Cell<Option<(TypeId, [u8; 16])>> = const { Cell::new(None) };
}

/// Returns the fingerprint of the description of a type.
#[inline(always)]
pub(super) fn fingerprint<T: Stored + ?Sized>() -> [u8; 16] {
    match LAST.get() {
        Some((id, fingerprint)) if id == TypeId::of::<T>() => fingerprint,
        _ => other_fingerprint::<T>(),
    }
}

/// Returns the fingerprint of a type that this thread did not use last.
#[cold]
fn other_fingerprint<T: Stored + ?Sized>() -> [u8; 16] {
    let fingerprint = fingerprint_of(&description::<T>());
    LAST.set(Some((TypeId::of::<T>(), fingerprint)));
    fingerprint
}

impl Segment {
    /// Calls `read` with a named value, after a check that its type has this fingerprint. `text` returns the
    /// description that was requested.
    pub(super) fn find_described<R>(
        &self,
        name: &str,
        expected: &[u8; 16],
        text: impl Fn() -> String,
        mut read: impl FnMut(Head, Value) -> Result<R>,
    ) -> Result<Option<R>> {
        let key = self.name_key(name)?;
        let result = self.names().get(&key, |value| {
            let head = Head::load(self.session(), value)?;
            self.require(name, &head, value, NamedKind::Value, expected, &text)?;
            read(head, value)
        });
        result.map_err(|error| self.named(error))
    }

    /// Calls `read` like [`find_described`](Self::find_described), at most once. Returns `None` if that does not tell,
    /// for any reason.
    #[inline(always)]
    pub(super) fn find_at_once<R>(
        &self,
        key: &map::Key<'_>,
        expected: &[u8; 16],
        read: impl FnOnce(Head, Glimpse<'_, '_>) -> Option<R>,
    ) -> Option<Option<R>> {
        let source = self.names_source()?;
        self.names().block_at_once(source, Form::Keys, 0, key, |mut glimpse| {
            let head = Head::glimpse(&mut glimpse)?;
            let is_requested =
                head.kind == NamedKind::Value.number() && head.fingerprint == *expected;
            if is_requested { read(head, glimpse) } else { None }
        })
    }

    /// Returns what straight code loads from.
    #[inline(always)]
    pub(super) fn names_source(&self) -> Option<Source<'_>> {
        let memory = self.session().memory();
        let root = Window::at(memory, self.inner.names.root)?;
        Some(Source { memory, root, places: self.names().places() })
    }

    /// Fails with `WrongKind` or `WrongType` unless an object is what is requested.
    pub(super) fn require(
        &self,
        name: &str,
        head: &Head,
        value: Value,
        kind: NamedKind,
        fingerprint: &[u8; 16],
        text: impl FnOnce() -> String,
    ) -> Result<()> {
        if head.kind != kind.number() {
            let found = head.named_kind().map_or("of another kind", NamedKind::text);
            let detail = format!("`{name}` is {found}, but {} was requested", kind.text());
            return Err(Error::new(ErrorKind::WrongKind, "open").with_detail(detail));
        }
        if head.fingerprint != *fingerprint {
            let found = self.description_of(head, value)?;
            let detail = format!("`{name}` is of type {found}, but {} was requested", text());
            return Err(Error::new(ErrorKind::WrongType, "open").with_detail(detail));
        }
        Ok(())
    }

    pub(super) fn description_of(&self, head: &Head, value: Value) -> Result<String> {
        // A value that is being replaced may have any length until the lookup looks again.
        let len = head.text.min(1 << 20).into();
        let at = value.at + value.len - u64::from(head.text);
        let bytes = self.session().memory().view::<u8>(at, len)?.to_vec()?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Returns the root of a map, for the map's lookups.
    pub(crate) fn root_of(&self, shape: &map::Shape) -> Result<TypedSpan<Root>> {
        TypedSpan::new(self.inner.opening.session(), shape.root).map_err(|error| self.named(error))
    }

    /// Returns the offset of a root, if one may lie there.
    pub(super) fn checked_root(&self, root: u64) -> Result<u64> {
        let space = &self.inner.plan.space.changeable;
        match space.contains(&root) && root % 16 == 0 && space.end - root >= map::ROOT {
            true => Ok(root),
            false => Err(malformed(root)),
        }
    }

    #[inline]
    pub(super) fn names(&self) -> Map<'_, Session> {
        self.map(&self.inner.names, &self.inner.directory)
    }

    #[inline(always)]
    pub(super) fn name_key<'k>(&self, name: &'k str) -> Result<map::Key<'k>> {
        match name.len() {
            1..=LONGEST_NAME => Ok(self.inner.names.long_key(name.as_bytes())),
            len => Err(self.wrong_name(len)),
        }
    }

    #[cold]
    fn wrong_name(&self, len: usize) -> Error {
        let kind = if len == 0 { ErrorKind::NameEmpty } else { ErrorKind::NameTooLong };
        let detail = format!("names of a segment's objects have 1 to {LONGEST_NAME} bytes");
        self.named(Error::new(kind, "use the name").with_length(len as u64).with_detail(detail))
    }

    /// Returns an error about a named object.
    #[cold]
    pub(crate) fn named_object(
        &self,
        kind: ErrorKind,
        operation: &'static str,
        name: &str,
    ) -> Error {
        let what = match kind {
            ErrorKind::NotFound => "has no object",
            _ => "has an object",
        };
        self.named(Error::new(kind, operation).with_detail(format!("the segment {what} `{name}`")))
    }
}
