//! The list of named objects, and what they refer to.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use crate::error::{ErrorKind, Result};
use crate::peer::Machine;
use crate::segment::directory::{HEAD, Head, LONGEST_NAME, NamedKind};
use crate::segment::heap::malformed;
use crate::segment::map::scan::{Cursor, Item};
use crate::segment::map::{self, Shape};
use crate::segment::segment::Segment;

/// A named object of a segment, as [`Segment::objects`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentObject {
    /// The name.
    pub name: String,
    /// What it is.
    pub kind: NamedKind,
    /// The type: for instance `u64`, `str`, `bytes`, `[u8;4]`, and `map<str,u64>` for a map. Structs are described by
    /// the offsets and types of their fields.
    pub description: String,
    /// The bytes that it uses, with those of a container's contents.
    pub bytes: u64,
}

impl Segment {
    /// Returns all named objects, in no order.
    ///
    /// Takes no lock. An object that exists during the whole call is listed once.
    ///
    /// # Errors
    /// As for [`value`](Self::value).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// segment.set_value("answer", &42_u32)?;
    /// let objects = segment.objects()?;
    /// assert_eq!((objects[0].name.as_str(), objects[0].description.as_str()), ("answer", "u32"));
    /// # Ok(()) }
    /// ```
    pub fn objects(&self) -> Result<Vec<SegmentObject>> {
        let mut all = Vec::new();
        let mut cursor = Cursor::START;
        while !cursor.is_at_end() {
            let of_page = self.names().scan(&mut cursor, |item| {
                let (at, len) = item.long_key;
                let name = self
                    .session()
                    .memory()
                    .view::<u8>(at, len.min(LONGEST_NAME as u64))?
                    .to_vec()?;
                let head = Head::load(self.session(), item.value)?;
                let text = self.description_of(&head, item.value)?;
                Ok((String::from_utf8_lossy(&name).into_owned(), head, text, item.value.len))
            });
            for (name, head, description, len) in of_page.map_err(|error| self.named(error))? {
                all.extend(self.listed(name, &head, description, len)?);
            }
        }
        Ok(all)
    }

    /// Returns the named object with this name; `None` if there is none.
    ///
    /// # Errors
    /// As for [`value`](Self::value).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// segment.hash_map::<str, u64>("words")?;
    /// let words = segment.object("words")?.unwrap();
    /// assert_eq!((words.kind, words.description.as_str()), (NamedKind::HashMap, "map<str,u64>"));
    /// # Ok(()) }
    /// ```
    pub fn object(&self, name: &str) -> Result<Option<SegmentObject>> {
        let key = self.name_key(name)?;
        let found = self.names().get(&key, |value| {
            let head = Head::load(self.session(), value)?;
            Ok((head, self.description_of(&head, value)?, value.len))
        });
        match found.map_err(|error| self.named(error))? {
            Some((head, description, len)) => self.listed(name.to_owned(), &head, description, len),
            None => Ok(None),
        }
    }

    /// Returns an object as it is listed; `None` if it was removed meanwhile.
    fn listed(
        &self,
        name: String,
        head: &Head,
        description: String,
        len: u64,
    ) -> Result<Option<SegmentObject>> {
        let Some(kind) = head.named_kind() else { return Err(self.named(malformed(head.root))) };
        let bytes = match kind {
            NamedKind::Value => Ok(len - HEAD - u64::from(head.text)),
            NamedKind::HashMap => {
                let locks = self.inner.plan.map_locks(head.root);
                let shape = Shape::load(self.session(), self.checked_root(head.root)?, locks)?;
                let directory = AtomicU64::new(0);
                self.map(&shape, &directory).extent().map(|extent| extent.memory)
            }
        };
        match bytes {
            Ok(bytes) => Ok(Some(SegmentObject { name, kind, description, bytes })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.named(error)),
        }
    }

    /// Calls `each` with the offset of each block and run that named objects use, and free and removed roots.
    ///
    /// No other thread changes the segment.
    pub(super) fn reachable(&self, each: &mut dyn FnMut(u64) -> Result<()>) -> Result<()> {
        let session = self.session();
        let plan = &self.inner.plan;
        self.names().memory(each)?;
        let mut roots = Vec::new();
        let mut cursor = Cursor::START;
        while !cursor.is_at_end() {
            let root = |item: Item| Ok(Head::load(session, item.value)?.root);
            roots.extend(self.names().scan(&mut cursor, root)?);
        }
        let mut used: Vec<u64> = roots.into_iter().filter(|&root| root != 0).collect();
        for (list, is_used) in [(plan.removed_roots(), true), (plan.free_roots(), false)] {
            let (mut root, mut seen) = (session.load_64(list)?, BTreeSet::new());
            while root != 0 {
                let checked = self.checked_root(root)?;
                // A list may be a circle in a damaged segment.
                if !seen.insert(checked) {
                    return Err(malformed(list));
                }
                match is_used {
                    true => used.push(checked),
                    false => each(checked)?,
                }
                root = session.load_64(checked + map::NEXT)?;
            }
        }
        for root in used {
            each(root)?;
            let shape = Shape::load(session, self.checked_root(root)?, plan.map_locks(root))?;
            let directory = AtomicU64::new(0);
            self.map(&shape, &directory).memory(each)?;
        }
        Ok(())
    }
}
