//! Changing the entry of a key by straight code: the usual case, in which the key's own bucket has the key, or room for it.
//!
//! As in a [lookup](super::at_once), faults are tested for at the end, and before each step that may follow only after
//! the earlier ones. The caller of each function here makes the change by a general one if it returns `None`.

use super::at_once::Source;
use super::block::{self, Block, Ref};
use super::bucket::{Bucket, Seen};
use super::insert::{Existing, Inserted};
use super::lookup::Value;
use super::page::{BUCKET, Entry, REMOVED, TAGS, may_be_elsewhere, tag};
use super::{Form, Key, Map};
use crate::error::Result;
use crate::peer::{Faults, Machine, Window, Writable};
use crate::segment::allocator::Allocator;
use crate::segment::at_once::{AtOnce, Effect, Held, Place};
use crate::segment::lane_area::Top;

/// The own bucket of a key, under its page's lock.
struct Own<'m, W: Writable> {
    memory: &'m W,
    /// The offset of the bucket.
    at: u64,
    window: Window<'m, BUCKET, W>,
    tags: u64,
    found: Option<Seen<'m, W>>,
}

impl<'m, W: Writable> Own<'m, W> {
    /// Returns a word of the bucket, by its offset in it.
    #[inline(always)]
    fn place(&self, word: u64) -> Option<Place<'m, W>> {
        Place::at(self.memory, self.at + word)
    }

    /// Returns the value of an entry in a map of words. Returns `None` if an access has failed.
    #[inline(always)]
    fn value(&self, found: Seen<'m, W>, faults: &Faults) -> Option<Value> {
        let value = Value { word: found.word, at: self.at + found.entry.value(), len: 8 };
        faults.is_empty().then_some(value)
    }

    /// Fills an entry that was never used. Returns where the bucket's tags lie, and those that make the entry count.
    /// Returns `None` if there is no room, or the key may be in another bucket.
    #[inline(always)]
    fn add(&self, key: &Key<'_>, value: u64, faults: &mut Faults) -> Option<(Place<'m, W>, u64)> {
        if may_be_elsewhere(self.tags, key.hash) {
            return None;
        }
        let entry = Entry::unused(0, self.tags)?;
        if !faults.is_empty() {
            return None;
        }
        // Nothing reads them before the entry has a tag.
        self.window.store(entry.key(), key.word, faults);
        self.window.store(entry.value(), value, faults);
        Some((self.place(TAGS)?, entry.with_tag(self.tags, tag(key.hash))))
    }
}

impl<M: Machine> Map<'_, M> {
    /// Inserts a key, or replaces its value, in a map of words. `read` makes a result of a previous value.
    #[inline(always)]
    pub(crate) fn insert_word_at_once<W: Writable, R>(
        &self,
        allocator: &Allocator<'_, M>,
        (access, source): (AtOnce<'_, W>, Source<'_, W>),
        key: &Key<'_>,
        (value, existing): (u64, Existing),
        read: impl FnOnce(Value) -> Option<R>,
    ) -> Option<Result<Inserted<R>>> {
        debug_assert_eq!(self.shape.form, Form::Words);
        let (way, faults) = (self.way(source, key)?, &mut Faults::default());
        let held = allocator.acquire_at_once(access, self.shape.lock_of(key.hash), faults)?;
        let planned = self.plan_word((source, way), key, (value, existing), read, faults);
        let (effect, inserted) = planned.unzip();
        let made = allocator.make_at_once(access, held, effect, faults)?;
        Some(made.and(Ok(inserted?)))
    }

    /// Returns what inserts a word, and what that comes to.
    #[inline(always)]
    fn plan_word<'m, W: Writable, R>(
        &self,
        from: (Source<'m, W>, Place<'m, W>),
        key: &Key<'_>,
        (value, existing): (u64, Existing),
        read: impl FnOnce(Value) -> Option<R>,
        faults: &mut Faults,
    ) -> Option<(Effect<'m, W>, Inserted<R>)> {
        let own = self.own_bucket(from, key, faults)?;
        match own.found {
            Some(found) if existing.may_change_word(Some(found.word)) => {
                let place = own.place(found.entry.value())?;
                let previous = read(own.value(found, faults)?)?;
                Some((Effect::Store(place, value), Inserted::Replaced(previous)))
            }
            None if existing.may_insert() => {
                let (place, tags) = own.add(key, value, faults)?;
                Some((Effect::Store(place, tags), Inserted::New))
            }
            _ => None,
        }
    }

    /// Removes a key from a map of words. Returns what `read` makes of its value.
    #[inline(always)]
    pub(crate) fn remove_word_at_once<W: Writable, R>(
        &self,
        allocator: &Allocator<'_, M>,
        (access, source): (AtOnce<'_, W>, Source<'_, W>),
        key: &Key<'_>,
        read: impl FnOnce(Value) -> Option<R>,
    ) -> Option<Result<R>> {
        debug_assert_eq!(self.shape.form, Form::Words);
        let (way, faults) = (self.way(source, key)?, &mut Faults::default());
        let held = allocator.acquire_at_once(access, self.shape.lock_of(key.hash), faults)?;
        let planned = self.plan_removal((source, way), key, read, faults);
        self.remove_at_once((allocator, access), key.hash, held, planned, faults)
    }

    /// Makes the removal that is planned, and merges the page of the hash if its bucket has become empty. Returns what the
    /// plan made of the value.
    #[inline(always)]
    fn remove_at_once<W: Writable, R>(
        &self,
        (allocator, access): (&Allocator<'_, M>, AtOnce<'_, W>),
        hash: u64,
        held: Held<'_, W>,
        planned: Option<(Effect<'_, W>, (R, bool))>,
        faults: &mut Faults,
    ) -> Option<Result<R>> {
        let (effect, removed) = planned.unzip();
        let made = allocator.make_at_once(access, held, effect, faults)?;
        let (value, was_last) = removed?;
        if was_last {
            // The key is removed, whatever comes of this.
            let _ = self.merge(allocator, hash);
        }
        Some(made.and(Ok(value)))
    }

    /// Returns what removes a word, what `read` made of its value, and whether it was the last in its bucket.
    #[inline(always)]
    fn plan_removal<'m, W: Writable, R>(
        &self,
        from: (Source<'m, W>, Place<'m, W>),
        key: &Key<'_>,
        read: impl FnOnce(Value) -> Option<R>,
        faults: &mut Faults,
    ) -> Option<(Effect<'m, W>, (R, bool))> {
        let own = self.own_bucket(from, key, faults)?;
        let found = own.found?;
        let tags = found.entry.with_tag(own.tags, REMOVED);
        let value = read(own.value(found, faults)?)?;
        Some((Effect::Store(own.place(TAGS)?, tags), (value, Entry::is_last(tags))))
    }

    /// Inserts a key, or replaces its value, in a map of blocks of this form. `read` makes a result of a previous value.
    #[inline(always)]
    pub(crate) fn insert_block_at_once<W: Writable, R>(
        &self,
        allocator: &Allocator<'_, M>,
        (access, source): (AtOnce<'_, W>, Source<'_, W>),
        (key, form): (&Key<'_>, Form),
        (value, existing): (&[u8], Existing),
        read: impl FnOnce(Value) -> Option<R>,
    ) -> Option<Result<Inserted<R>>> {
        debug_assert_eq!(self.shape.form, form);
        let (way, faults) = (self.way(source, key)?, &mut Faults::default());
        let len = block::len(key.bytes.len(), value.len())?;
        // A look before the lock, so that no block is filled in vain.
        let own = self.own_bucket((source, way), key, faults)?;
        let old = own.found.map(|found| found.word);
        if !existing.may_change_word(old) {
            return None;
        }
        let (at, top) = allocator.take_at_once(access, len, faults)?;
        let area = allocator.area;
        let new = Block::fill(self.machine, area, at, key.bytes, value).ok()?;
        let held = allocator.acquire_at_once(access, self.shape.lock_of(key.hash), faults)?;
        let planned = match old {
            None => self.plan_block((source, way), key, (new, top), faults),
            Some(old) => {
                let words = (old, new, top);
                self.plan_other_block(allocator, (source, way), (key, form), words, read, faults)
            }
        };
        let (effect, inserted) = planned.unzip();
        let made = allocator.make_at_once(access, held, effect, faults)?;
        Some(made.and(Ok(inserted?)))
    }

    /// Returns what inserts a block that is filled, of a key that has no entry.
    #[inline(always)]
    fn plan_block<'m, W: Writable, R>(
        &self,
        from: (Source<'m, W>, Place<'m, W>),
        key: &Key<'_>,
        (new, top): (Ref, Top),
        faults: &mut Faults,
    ) -> Option<(Effect<'m, W>, Inserted<R>)> {
        let own = self.own_bucket(from, key, faults)?;
        if own.found.is_some() {
            return None;
        }
        let (place, tags) = own.add(key, new.0, faults)?;
        Some((Effect::Record(place, tags, top), Inserted::New))
    }

    /// Returns what replaces the block of a key, `old`, by one of the same class that is filled. The old block takes its
    /// place in the lane's stack.
    #[inline(always)]
    fn plan_other_block<'m, W: Writable, R>(
        &self,
        allocator: &Allocator<'_, M>,
        from: (Source<'m, W>, Place<'m, W>),
        (key, form): (&Key<'_>, Form),
        (old, new, top): (u64, Ref, Top),
        read: impl FnOnce(Value) -> Option<R>,
        faults: &mut Faults,
    ) -> Option<(Effect<'m, W>, Inserted<R>)> {
        let own = self.own_bucket(from, key, faults)?;
        let found = own.found.filter(|found| found.word == old)?;
        let value = self.whole_value(own.memory, (key, form), found.word, faults)?;
        let at = Ref(old).at();
        if allocator.heap.class_at_once(own.memory, at, faults) != Some(top.class) {
            return None;
        }
        let entry = own.place(found.entry.value())?;
        let stacked = Place::at(own.memory, allocator.area.place(top.class, top.blocks))?;
        let previous = read(value)?;
        Some((Effect::Both([(stacked, at), (entry, new.0)]), Inserted::Replaced(previous)))
    }

    /// Removes a key from a map of blocks of this form. Returns what `read` makes of its value.
    #[inline(always)]
    pub(crate) fn remove_block_at_once<W: Writable, R>(
        &self,
        allocator: &Allocator<'_, M>,
        (access, source): (AtOnce<'_, W>, Source<'_, W>),
        (key, form): (&Key<'_>, Form),
        read: impl FnOnce(Value) -> Option<R>,
    ) -> Option<Result<R>> {
        debug_assert_eq!(self.shape.form, form);
        let (way, faults) = (self.way(source, key)?, &mut Faults::default());
        let held = allocator.acquire_at_once(access, self.shape.lock_of(key.hash), faults)?;
        let lane = (allocator, access);
        let planned = self.plan_block_removal(lane, (source, way), (key, form), read, faults);
        self.remove_at_once(lane, key.hash, held, planned, faults)
    }

    /// Returns what removes a key and frees its block, what `read` made of its value, and whether it was the last in
    /// its bucket.
    #[inline(always)]
    fn plan_block_removal<'m, W: Writable, R>(
        &self,
        (allocator, access): (&Allocator<'_, M>, AtOnce<'m, W>),
        from: (Source<'m, W>, Place<'m, W>),
        (key, form): (&Key<'_>, Form),
        read: impl FnOnce(Value) -> Option<R>,
        faults: &mut Faults,
    ) -> Option<(Effect<'m, W>, (R, bool))> {
        let own = self.own_bucket(from, key, faults)?;
        let found = own.found?;
        let value = read(self.whole_value(own.memory, (key, form), found.word, faults)?)?;
        let top = allocator.give_at_once(access, Ref(found.word).at(), faults)?;
        let tags = found.entry.with_tag(own.tags, REMOVED);
        Some((Effect::Record(own.place(TAGS)?, tags, top), (value, Entry::is_last(tags))))
    }

    /// Returns the value in the block that a word refers to, under its page's lock. Returns `None` if the block has
    /// another key, or an access has failed.
    #[inline(always)]
    fn whole_value(
        &self,
        memory: &impl Writable,
        (key, form): (&Key<'_>, Form),
        word: u64,
        faults: &mut Faults,
    ) -> Option<Value> {
        let value = self.block_of(memory, form, key, word, faults)?;
        faults.is_empty().then_some(value)
    }

    /// Returns the directory's word for a key; `None` if this process has seen no directory yet.
    #[inline(always)]
    fn way<'m, W: Writable>(&self, source: Source<'m, W>, key: &Key<'_>) -> Option<Place<'m, W>> {
        Place::at(source.memory, source.places.of_hash(key.hash))
    }

    /// Returns the own bucket of a key, and the entry with the key's word if it is there; `None` if there is no page that
    /// makes sense.
    #[inline(always)]
    fn own_bucket<'m, W: Writable>(
        &self,
        (source, way): (Source<'m, W>, Place<'m, W>),
        key: &Key<'_>,
        faults: &mut Faults,
    ) -> Option<Own<'m, W>> {
        let memory = source.memory;
        if !self.is_present(source, faults) {
            return None;
        }
        let at = self.bucket(Ref(way.load(faults)), key.hash, 0)?;
        let window = Window::at(memory, at)?;
        let (tags, found) = Bucket(window).find_here(key, faults);
        Some(Own { memory, at, window, tags, found })
    }
}
