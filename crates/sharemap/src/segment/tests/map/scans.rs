//! A scan finds no key twice, also if a writer moves keys of the page meanwhile.

use std::collections::BTreeSet;

use super::super::prefix::Prefix;
use super::super::small::{self, Handle, Operation};
use crate::segment::map::{Cursor, Form};

/// A scan of a page of two buckets. The first one is full, so that keys that are removed and inserted again, after the
/// first entry was read, move to the second.
#[test]
fn keys_that_move_are_found_once() {
    for form in [Form::Words, Form::Values] {
        let machine = &Prefix::of(&small::empty());
        let mut handle = Handle::new(form);
        handle.shape.buckets = 2;
        let is_first = |key: &u64| handle.shape.hash_of(*key) >> 8 & 1 == 0;
        // In one page: the map has a lock for each first bit of the hash.
        let is_lower = |key: &u64| handle.shape.hash_of(*key) >> 62 == 0;
        let keys: Vec<u64> =
            (0..1000).filter(|key| is_first(key) && is_lower(key)).take(7).collect();
        for &key in &keys {
            Operation::Insert(key, 100 + key).run(&handle, machine).unwrap();
        }
        let moved = &keys[..3];
        let mut has_moved = false;
        let mut found = Vec::new();
        handle
            .with(machine, |map, _| {
                let mut cursor = Cursor::START;
                while !cursor.is_at_end() {
                    found.extend(map.scan(&mut cursor, |item| {
                        if !std::mem::replace(&mut has_moved, true) {
                            for &key in moved {
                                Operation::Remove(key).run(&handle, machine)?;
                                Operation::Insert(key, 200 + key).run(&handle, machine)?;
                            }
                            assert_eq!(map.len()?, 7, "{form:?}");
                        }
                        Ok(item.key)
                    })?);
                }
                Ok(())
            })
            .unwrap();
        assert!(has_moved);
        let set: BTreeSet<u64> = found.iter().copied().collect();
        assert_eq!(set.len(), found.len(), "{form:?}: a key was found twice in {found:?}");
        // Those that stayed, and those that moved to where the scan had not been.
        assert_eq!(set, keys.iter().copied().collect(), "{form:?}");
    }
}
