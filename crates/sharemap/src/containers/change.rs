//! Changes of a `HashMap`: by straight code in the usual case.

use crate::containers::HashMap;
use crate::error::Result;
use crate::segment::map::{Existing, Form, Inserted, Key, Source, Value};
use crate::segment::{Stored, word_of};

impl<K: Stored + ?Sized, V: Stored + ?Sized> HashMap<K, V> {
    /// Inserts a key, or does what `existing` says about an entry that it has. `read` makes a result of a previous value.
    pub(super) fn put<R>(
        &self,
        key: &K,
        value: &V,
        existing: Existing,
        read: impl FnMut(Value) -> Result<R>,
    ) -> Result<Inserted<R>> {
        let key = self.key(key);
        // What memory is slow to deliver arrives while the change begins.
        self.prefetch(&key);
        self.put_prefetched(&key, value, existing, read)
    }

    #[inline]
    pub(super) fn prefetch(&self, key: &Key<'_>) {
        let map = self.map();
        map.prefetch(map.places(), key);
    }

    #[inline]
    pub(super) fn put_prefetched<R>(
        &self,
        key: &Key<'_>,
        value: &V,
        existing: Existing,
        mut read: impl FnMut(Value) -> Result<R>,
    ) -> Result<Inserted<R>> {
        let (map, source, bytes) = (self.map(), self.source_of_changes(), value.stored_bytes());
        // Here, where the length is known.
        let word = if Self::FORM == Form::Words { word_of(bytes) } else { 0 };
        let put = self.segment.at_once(|allocator, access| match Self::FORM {
            Form::Words => {
                let read = |value| read(value).ok();
                map.insert_word_at_once(allocator, (access, source), key, (word, existing), read)
            }
            form @ (Form::Values | Form::Keys) => {
                let (key, value) = ((key, form), (bytes, existing));
                let read = |value| read(value).ok();
                map.insert_block_at_once(allocator, (access, source), key, value, read)
            }
        });
        match put {
            Some(put) => put,
            None => self.put_later(key, (word, bytes), existing, read),
        }
    }

    #[inline(never)]
    fn put_later<R>(
        &self,
        key: &Key<'_>,
        (word, bytes): (u64, &[u8]),
        existing: Existing,
        mut read: impl FnMut(Value) -> Result<R>,
    ) -> Result<Inserted<R>> {
        let map = self.map();
        self.segment.with(|allocator| match Self::FORM {
            Form::Words => map.insert_word(allocator, key, word, existing, &mut read),
            Form::Values | Form::Keys => {
                map.insert_block(allocator, key, bytes, existing, None, &mut read)
            }
        })
    }

    /// Removes a key. Returns a copy of its value.
    pub(super) fn take(&self, key: &Key<'_>) -> Result<Option<V::Owned>> {
        let (map, source) = (self.map(), self.source_of_changes());
        let read = |value| self.copy_out(value).ok();
        let taken = self.segment.at_once(|allocator, access| match Self::FORM {
            Form::Words => map.remove_word_at_once(allocator, (access, source), key, read),
            form @ (Form::Values | Form::Keys) => {
                map.remove_block_at_once(allocator, (access, source), (key, form), read)
            }
        });
        match taken {
            Some(taken) => taken.map(Some),
            None => self.take_later(key),
        }
    }

    #[inline(never)]
    fn take_later(&self, key: &Key<'_>) -> Result<Option<V::Owned>> {
        self.segment.with(|allocator| {
            let (map, copy_out) = (self.map(), |value| self.copy_out(value));
            match Self::FORM {
                Form::Words => map.remove_word(allocator, key, copy_out),
                Form::Values | Form::Keys => map.remove_block(allocator, key, None, copy_out),
            }
        })
    }

    /// Returns what changes load from: the directory is the one that this process saw last, which its lookups may not
    /// have seen yet.
    #[inline(always)]
    fn source_of_changes(&self) -> Source<'_> {
        Source { places: self.map().places(), ..self.source() }
    }
}
