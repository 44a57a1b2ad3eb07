//! The entries of maps as bytes, whatever their types are.

use super::types::Entries;
use crate::failure::Failure;
use sharemap::containers::HashMap;
use sharemap::{Result, Segment, Stored};

/// A map with keys and values of any types.
pub(in crate::commands) trait Map {
    /// Returns the bytes of a key's value.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Sets a key's value. Returns the bytes of the previous one.
    fn insert(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Calls `each` with the bytes of the key and of the value of every entry.
    fn each(&self, each: Each<'_>) -> std::result::Result<(), Failure>;
}

/// A function that is called with the bytes of a key and of its value.
pub(in crate::commands) type Each<'a> =
    &'a mut dyn FnMut(&[u8], &[u8]) -> std::result::Result<(), Failure>;

/// What opening a map does if there is none of this name.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands) enum Absent {
    Refused,
    Created,
}

/// Opens the map of this name and description.
pub(super) fn map(
    segment: &Segment,
    name: &str,
    description: &str,
    entries: &Entries,
    absent: Absent,
) -> Result<Box<dyn Map>> {
    fn open<K: Stored + ?Sized, V: Stored + ?Sized>(
        segment: &Segment,
        name: &str,
        description: &str,
        absent: Absent,
    ) -> Result<HashMap<K, V>> {
        match absent {
            Absent::Refused => HashMap::open_described(segment, name, description),
            Absent::Created => HashMap::open_or_create_described(segment, name, description),
        }
    }
    Ok(match (word_size(entries.key.size()), word_size(entries.value.size())) {
        (Some(key), Some(value)) => {
            Box::new(Words { map: open(segment, name, description, absent)?, key, value })
        }
        (Some(key), None) => {
            Box::new(WordKeys { map: open(segment, name, description, absent)?, key })
        }
        (None, _) => Box::new(Blocks(open(segment, name, description, absent)?)),
    })
}

/// Returns the size of a type, if a map has its values as words.
fn word_size(size: Option<usize>) -> Option<usize> {
    size.filter(|&size| size <= size_of::<u64>())
}

/// A map with keys and values of at most 8 bytes.
struct Words {
    map: HashMap<u64, u64>,
    key: usize,
    value: usize,
}

/// A map with keys of at most 8 bytes.
struct WordKeys {
    map: HashMap<u64, [u8]>,
    key: usize,
}

/// A map with keys of more than 8 bytes, or of any length.
struct Blocks(HashMap<[u8], [u8]>);

impl Map for Words {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.map.get(&word(key))?.map(|value| bytes(value, self.value)))
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>> {
        let previous = self.map.insert(&word(key), &word(value))?;
        Ok(previous.map(|value| bytes(value, self.value)))
    }

    fn each(&self, each: Each<'_>) -> std::result::Result<(), Failure> {
        for entry in &self.map {
            let (key, value) = entry?;
            each(&bytes(key, self.key), &bytes(value, self.value))?;
        }
        Ok(())
    }
}

impl Map for WordKeys {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.map.get(&word(key))
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>> {
        self.map.insert(&word(key), value)
    }

    fn each(&self, each: Each<'_>) -> std::result::Result<(), Failure> {
        for entry in &self.map {
            let (key, value) = entry?;
            each(&bytes(key, self.key), &value)?;
        }
        Ok(())
    }
}

impl Map for Blocks {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.get(key)
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.insert(key, value)
    }

    fn each(&self, each: Each<'_>) -> std::result::Result<(), Failure> {
        for entry in &self.0 {
            let (key, value) = entry?;
            each(&key, &value)?;
        }
        Ok(())
    }
}

/// Returns the word of a value of at most 8 bytes. Segments are little-endian.
fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Returns the first `size` bytes of a word.
fn bytes(word: u64, size: usize) -> Vec<u8> {
    word.to_le_bytes().into_iter().take(size).collect()
}
