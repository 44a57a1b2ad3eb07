//! The bytes of an object, page by page. States that differ in few pages share the others, and only
//! pages that have changed are hashed again.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::plant::Store;

/// The length of a page. The last one may be shorter.
const PAGE: usize = 4096;

/// Blanks bytes of the first page that differ between runs, such as identities and times, before
/// states are compared.
pub type Mask = fn(&mut [u8]);

/// The bytes of an object; `None` if there is no object.
pub type State = Option<Image>;

/// The bytes of an object.
#[derive(Clone)]
pub struct Image {
    pages: Vec<Page>,
    len: usize,
    mask: Mask,
}

#[derive(Clone)]
struct Page {
    bytes: Arc<[u8]>,
    /// The hash of the bytes as the mask leaves them, and of the page's number.
    hash: u64,
}

impl Image {
    /// Reads the file at `path`, if there is one.
    pub fn read(path: &Path, mask: Mask) -> State {
        let mut image = Self { pages: Vec::new(), len: 0, mask };
        image.replace(&fs::read(path).ok()?);
        Some(image)
    }

    /// Replaces the bytes. Returns the offset of the first page that differs.
    pub fn replace(&mut self, bytes: &[u8]) -> Option<usize> {
        let is_other_len = self.len != bytes.len();
        self.len = bytes.len();
        self.pages.truncate(bytes.len().div_ceil(PAGE));
        let mut first = is_other_len.then_some(0);
        for (index, bytes) in bytes.chunks(PAGE).enumerate().rev() {
            if self.replace_page(index, bytes) {
                first = Some(PAGE * index);
            }
        }
        first
    }

    /// Reads the pages around a store at the offset `at` again. Returns the store, if it has changed
    /// them.
    pub fn reread(&mut self, file: &File, at: usize) -> Option<Store> {
        let mut store = None;
        let pages = self.pages.len();
        // A store may lie in two pages.
        for index in (at / PAGE..pages.min(at / PAGE + 2)).rev() {
            let mut bytes = [0; PAGE];
            let bytes = &mut bytes[..self.pages[index].bytes.len()];
            file.read_exact_at(bytes, (PAGE * index) as u64).ok()?;
            let old = Arc::clone(&self.pages[index].bytes);
            if self.replace_page(index, bytes) {
                store = Store::between(&old, bytes)
                    .map(|store| Store { at: PAGE * index + store.at, ..store });
            }
        }
        store
    }

    /// Replaces a page, or adds it after those that it may follow. Returns `true` if it differs.
    fn replace_page(&mut self, index: usize, bytes: &[u8]) -> bool {
        if self.pages.get(index).is_some_and(|page| *page.bytes == *bytes) {
            return false;
        }
        let mut masked = bytes.to_vec();
        if index == 0 {
            (self.mask)(&mut masked);
        }
        let page = Page { bytes: bytes.into(), hash: hash(index, &masked) };
        if index >= self.pages.len() {
            self.pages.resize(index + 1, Page { bytes: [].into(), hash: 0 });
        }
        self.pages[index] = page;
        true
    }

    /// Returns the hash of all bytes as the mask leaves them.
    pub fn hash(&self) -> u64 {
        self.pages.iter().fold(self.len as u64, |sum, page| sum.wrapping_add(page.hash))
    }

    /// Writes the bytes to a new file, which no dead process has open.
    pub fn place(&self, path: &Path) {
        let _ = fs::remove_file(path);
        let file = File::create_new(path).unwrap();
        file.set_len(self.len as u64).unwrap();
        for (index, page) in self.pages.iter().enumerate() {
            if page.bytes.iter().any(|&byte| byte != 0) {
                file.write_all_at(&page.bytes, (PAGE * index) as u64).unwrap();
            }
        }
    }
}

/// Returns a hash of a page and its number, which costs little in a build without optimizations.
fn hash(index: usize, bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = bytes.chunks(8).map(|chunk| match chunk.first_chunk() {
        Some(&word) => u64::from_le_bytes(word),
        None => chunk.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    });
    let hash = words
        .fold(index as u64 + 1, |hash, word| (hash ^ word).wrapping_mul(FACTOR).rotate_left(29));
    (hash ^ hash >> 32).wrapping_mul(FACTOR)
}
