//! Named maps: creating, opening and removing them.

use std::sync::atomic::AtomicU64;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::fingerprint_of;
use crate::peer::{Machine, Session};
use crate::segment::allocator::Tops;
use crate::segment::change::Change;
use crate::segment::directory::{Head, NamedKind};
use crate::segment::map::{self, Also, Existing, Form, Inserted, Key, Shape};
use crate::segment::segment::Segment;

/// The most removed maps that one call takes apart: their list may be a circle in a damaged segment.
const MOST_AT_ONCE: u32 = 1 << 16;

impl Segment {
    /// Creates a map with a name. Returns its shape; `None` if an object has the name.
    pub(crate) fn create_map(&self, name: &str, form: Form, text: &str) -> Result<Option<Shape>> {
        let key = self.name_key(name)?;
        let plan = &self.inner.plan;
        let (session, memory) = (self.session(), self.session().memory());
        let seed = crate::sys::process::random_id()?;
        let seed = u64::from_le_bytes(std::array::from_fn(|index| seed[index]));
        self.with(|allocator| {
            loop {
                let free = session.load_64(plan.free_roots())?;
                let taken = match free {
                    0 => Some(allocator.take(map::ROOT)?),
                    _ => None,
                };
                let root = taken.map_or(free, |taken| taken.at);
                let root = self.checked_root(root)?;
                let bytes = Head::of(NamedKind::HashMap, root, text).encode(&[], text);
                let mut is_other = false;
                let also = &mut |change: &mut Change<'_, Session>, tops: &mut Tops| {
                    change.lock(plan.segment_lock())?;
                    match taken {
                        Some(taken) => tops.push(taken.top),
                        None if change.load(plan.free_roots())? != root => {
                            is_other = true;
                            return Err(Error::new(ErrorKind::Changed, "create"));
                        }
                        None => {
                            let next = change.load(root + map::NEXT)?;
                            change.record(plan.free_roots(), next);
                        }
                    }
                    // Nothing uses the root yet, but for its place in the list of free ones.
                    plan.fill_root(memory, root, form, seed)?;
                    // Odd, and another one than all before.
                    let generation = change.load(root + map::GENERATION)?.wrapping_add(1) | 1;
                    change.record(root + map::GENERATION, generation);
                    Ok(true)
                };
                let inserted = self.names().insert_block(
                    allocator,
                    &key,
                    &bytes,
                    Existing::Kept,
                    Some(also),
                    |_| Ok(()),
                );
                match inserted {
                    // Another thread took the root; a new one is needed.
                    Err(error) if error.kind() == ErrorKind::Changed && is_other => {}
                    Err(error) => return Err(error),
                    Ok(Inserted::New) => {
                        return Shape::load(session, root, plan.map_locks(root)).map(Some);
                    }
                    Ok(_) => return Ok(None),
                }
            }
        })
    }

    /// Returns the shape of the map with a name; `None` if no object has the name.
    pub(crate) fn open_map(&self, name: &str, text: &str) -> Result<Option<Shape>> {
        let key = self.name_key(name)?;
        let expected = fingerprint_of(text);
        let result = self.names().get(&key, |value| {
            let head = Head::load(self.session(), value)?;
            self.require(name, &head, value, NamedKind::HashMap, &expected, || text.to_owned())?;
            let root = self.checked_root(head.root)?;
            Shape::load(self.session(), root, self.inner.plan.map_locks(root))
        });
        result.map_err(|error| self.named(error))
    }

    /// Removes a named object, with all that it contains. Returns `false` if no object has the name.
    ///
    /// The name disappears in one step. The memory of a container is then freed piece by piece; if the process dies
    /// meanwhile, the next call of `remove` or [`repair`](Self::repair), by any process, goes on. Handles of a removed
    /// container fail with [`NotFound`](ErrorKind::NotFound).
    ///
    /// # Errors
    /// As for [`create_value`](Self::create_value), except `AlreadyExists` and `TooLarge`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// segment.set_value("origin", &[1.5_f64, 2.5])?;
    /// assert!(segment.remove("origin")?);
    /// assert!(!segment.remove("origin")?);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "destroy")]
    pub fn remove(&self, name: &str) -> Result<bool> {
        let key = self.name_key(name)?;
        let names = self.names();
        let is_value = |value| Head::load(self.session(), value).is_ok_and(|head| head.root == 0);
        let removed = self.at_once(|allocator, access| {
            let (access, key) = ((access, self.names_source()?), (&key, Form::Keys));
            let read = |value| is_value(value).then_some(());
            names.remove_block_at_once(allocator, access, key, read)
        });
        match removed {
            Some(removed) => removed.map(|()| true),
            None => self.remove_later(&key),
        }
    }

    #[inline(never)]
    fn remove_later(&self, key: &Key<'_>) -> Result<bool> {
        let removed = self.with(|allocator| {
            loop {
                // The root, to be recorded as removed by the same change that removes the name.
                let found = self.names().get(key, |value| {
                    Head::load(self.session(), value).map(|head| (value.word, head.root))
                })?;
                let Some((_, root)) = found else { return Ok(None) };
                // Before it is recorded: a record of a place that none may change could not be applied.
                if root != 0 {
                    self.checked_root(root)?;
                }
                let mut is_other = false;
                let mut also = |change: &mut Change<'_, Session>, _: &mut Tops| {
                    // The name's entry is what was found: the map compares its word.
                    self.record_removed(change, root).map(|()| true)
                };
                let also: Option<Also<'_, _>> = match root {
                    0 => None,
                    _ => Some(&mut also),
                };
                let removed = self.names().remove_block(allocator, key, also, |value| {
                    is_other = Head::load(self.session(), value)?.root != root;
                    match is_other {
                        true => Err(Error::new(ErrorKind::Changed, "remove")),
                        false => Ok(root),
                    }
                });
                match removed {
                    Err(error) if error.kind() == ErrorKind::Changed && is_other => {}
                    removed => return removed,
                }
            }
        })?;
        if removed.is_some_and(|root| root != 0) {
            self.free_removed()?;
        }
        Ok(removed.is_some())
    }

    /// Records that a map is removed: no handle uses it from now on, and its root is in the list of removed ones.
    fn record_removed(&self, change: &mut Change<'_, Session>, root: u64) -> Result<()> {
        let plan = &self.inner.plan;
        // All writers of the map compare its generation under one of its locks.
        change.lock(plan.map_locks(root))?;
        change.lock(plan.segment_lock())?;
        let generation = change.load(root + map::GENERATION)?;
        change.record(root + map::GENERATION, generation.wrapping_add(1));
        change.record(root + map::NEXT, change.load(plan.removed_roots())?);
        change.record(plan.removed_roots(), root);
        Ok(())
    }

    /// Frees the memory of all removed maps.
    pub(super) fn free_removed(&self) -> Result<()> {
        let plan = &self.inner.plan;
        self.with(|allocator| {
            for _ in 0..MOST_AT_ONCE {
                let root = self.session().load_64(plan.removed_roots())?;
                if root == 0 {
                    return Ok(());
                }
                let shape =
                    Shape::load(self.session(), self.checked_root(root)?, plan.map_locks(root))?;
                let directory = AtomicU64::new(0);
                let removed = self.map(&shape, &directory);
                let (lists, mut from) = ((plan.removed_roots(), plan.free_roots()), 0);
                while map::remove_next(&removed, allocator, lists, plan.segment_lock(), &mut from)?
                {
                }
            }
            Ok(())
        })
    }
}
