//! Finding runs of bytes in a view.

#![allow(unsafe_code, reason = "guarded accesses within a view")]

use super::View;
use crate::error::Result;
use crate::guard::{self, BLOCK};

/// The number of bytes of a needle among which the two to search for are chosen.
const HEAD: usize = 128;

/// The number of bytes that are compared at a time at a candidate, after the first 64.
const PIECE: usize = 1024;

/// The number of bytes that are copied at a time if the search goes byte by byte.
const WINDOW: usize = 4096;

/// The number of places that a search from the end examines forwards at a time; more if the needle is longer.
const STRIDE: usize = 4096;

/// The size of the smallest pages of all systems, to which faults are exact.
const PAGE: usize = 4096;

/// The number of bytes before the first one, and the bytes for each byte of progress, that may be compared
/// in vain before the search goes byte by byte.
const GRACE: usize = 64 << 10;
const VAIN_PER_BYTE: usize = 16;

/// The bytes of text and of numbers, the most frequent first. Others are rarer.
const FREQUENT: &[u8] =
    b"\0 etaonisrhldcumfpgybwv\n.,_0-1k2\"()=/:;3456789xTSAICEMRPDNLBOFHGWUVjqz\
    '\t\r\xff\x01*<>{}[]|+#&!@$%^`~?\\KYJXQZ";

/// For each byte, its rank among the frequent ones; rare bytes have the highest.
static RARITY: [u8; 256] = {
    let mut rarity = [u8::MAX; 256];
    let mut rank = 0;
    while rank < FREQUENT.len() {
        rarity[FREQUENT[rank] as usize] = rank as u8;
        rank += 1;
    }
    rarity
};

/// An iterator over the indices of a run of bytes in a view, returned by [`View::find_bytes_iter`].
///
/// Each item is `Ok` with the index of an occurrence that does not overlap the previous one, or an `Err` as
/// [`View::find_bytes`] returns it, which is the last item.
#[derive(Clone, Debug)]
pub struct FindBytesIter<'a, 'n> {
    view: View<'a, u8>,
    needle: Needle<'n>,
    /// The index from which the search goes on; past the end of the view if it has ended.
    next: usize,
}

impl<'a> View<'a, u8> {
    /// Returns the index of the first occurrence of `needle`; `None` if there is none. An empty needle is
    /// found at 0.
    ///
    /// The time is proportional to the sum of both lengths, even in a view full of near misses.
    ///
    /// # Errors
    /// - `Fault` - a byte before the end of the first occurrence could not be accessed.
    ///
    /// # Concurrent changes
    ///
    /// Places where two of the needle's bytes match are candidates. A candidate is compared with a copy, of
    /// which each byte was loaded once. If another process writes meanwhile, an index tells that each byte
    /// of the needle was there when it was loaded, though perhaps not all at one time. A needle that is
    /// written or overwritten during the search may be found or not.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.bytes().write_at(70, b"GATTACA")?;
    /// assert_eq!(map.bytes().find_bytes(b"TACA")?, Some(73));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "memmem")]
    pub fn find_bytes(&self, needle: &[u8]) -> Result<Option<usize>> {
        Needle::new(needle).find(*self, 0)
    }

    /// Returns the index of the last occurrence of `needle`; `None` if there is none. An empty needle is found
    /// at the end.
    ///
    /// Concurrent changes have the effect that they have on [`find_bytes`](Self::find_bytes).
    ///
    /// # Errors
    /// - `Fault` - a byte after the start of the last occurrence could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.bytes().write_at(70, b"PK..PK")?;
    /// assert_eq!(map.bytes().rfind_bytes(b"PK")?, Some(74));
    /// # Ok(()) }
    /// ```
    #[doc(alias = "memrmem")]
    pub fn rfind_bytes(&self, needle: &[u8]) -> Result<Option<usize>> {
        Needle::new(needle).rfind(*self)
    }

    /// Returns an iterator over the indices of the occurrences of `needle` that do not overlap, each of which
    /// is a `Result`. An empty needle is found at every index, and at the end.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// map.bytes().write_at(0, b"tick tock, tick tick")?;
    /// let found: Vec<usize> = map.bytes().find_bytes_iter(b"tick").collect::<sharemap::Result<_>>()?;
    /// assert_eq!(found, [0, 11, 16]);
    /// # Ok(()) }
    /// ```
    #[doc(alias = "memmem")]
    #[must_use]
    pub fn find_bytes_iter<'n>(&self, needle: &'n [u8]) -> FindBytesIter<'a, 'n> {
        FindBytesIter { view: *self, needle: Needle::new(needle), next: 0 }
    }
}

impl Iterator for FindBytesIter<'_, '_> {
    type Item = Result<usize>;

    fn next(&mut self) -> Option<Result<usize>> {
        if self.next > self.view.len {
            return None;
        }
        let found = self.needle.find(self.view, self.next).transpose();
        self.next = match &found {
            Some(Ok(index)) => index + self.needle.bytes.len().max(1),
            _ => self.view.len + 1,
        };
        found
    }
}

impl std::iter::FusedIterator for FindBytesIter<'_, '_> {}

/// A run of bytes to search for.
#[derive(Clone, Debug)]
struct Needle<'n> {
    bytes: &'n [u8],
    /// The places of the two bytes that are searched for, in ascending order: the rarest of the first ones.
    pair: [usize; 2],
    /// The number of bytes that may still be compared in vain.
    patience: usize,
    /// For each prefix of the needle, the length of its longest proper suffix that is also a prefix. Made
    /// when patience is at an end.
    borders: Vec<usize>,
}

impl<'n> Needle<'n> {
    fn new(bytes: &'n [u8]) -> Self {
        let head = &bytes[..bytes.len().min(HEAD)];
        let rarity = |place: &usize| RARITY[usize::from(head[*place])];
        let rarest = (0..head.len()).max_by_key(rarity).unwrap_or(0);
        let others = (0..head.len()).filter(|place| *place != rarest);
        let other = others.max_by_key(|place| (head[*place] != head[rarest], rarity(place)));
        let other = other.unwrap_or(rarest);
        Self {
            bytes,
            pair: [rarest.min(other), rarest.max(other)],
            patience: GRACE,
            borders: Vec::new(),
        }
    }

    /// Returns the index of the first occurrence from `from` on, which must not be past the end.
    fn find(&mut self, view: View<'_, u8>, from: usize) -> Result<Option<usize>> {
        let starts = match self.bytes {
            [] => return Ok(Some(from)),
            [byte] => {
                let found = view.subview(from..)?.find(*byte)?;
                return Ok(found.map(|index| from + index));
            }
            bytes if bytes.len() > view.len - from => return Ok(None),
            bytes => view.len - bytes.len() + 1,
        };
        let mut at = from;
        while at < starts {
            if self.patience == 0 || view.in_place != view.len {
                let mut first = None;
                self.find_by_steps(view, at, |index| {
                    first = Some(index);
                    true
                })?;
                return Ok(first);
            }
            let (next, mut candidates) = self.candidates(view, at, starts);
            self.patience = self.patience.saturating_add((next - at).saturating_mul(VAIN_PER_BYTE));
            at = next;
            while candidates != 0 {
                let start =
                    at.wrapping_sub(BLOCK).wrapping_add(candidates.trailing_zeros() as usize);
                if self.is_at(view, start)? {
                    return Ok(Some(start));
                }
                candidates &= candidates - 1;
            }
        }
        Ok(None)
    }

    /// Returns the index of the last occurrence.
    fn rfind(&mut self, view: View<'_, u8>) -> Result<Option<usize>> {
        let len = self.bytes.len();
        if len == 0 {
            return Ok(Some(view.len));
        }
        let mut starts = (view.len + 1).saturating_sub(len);
        while starts > 0 {
            let start = starts.saturating_sub(STRIDE.max(len));
            let end = starts - 1 + len;
            let (mut from, mut fault) = (start, None);
            loop {
                match self.find_last(view.subview(from..end)?) {
                    Ok(Some(index)) => return Ok(Some(from + index)),
                    Ok(None) => break,
                    Err(error) => {
                        view.get(end - 1)?;
                        // An occurrence may follow the page that faulted.
                        let index = (error.offset().unwrap_or(0) - view.offset()) as usize;
                        from = end.min(index + PAGE - view.at(index) as usize % PAGE);
                        fault = Some(error);
                    }
                }
            }
            match fault {
                Some(error) => return Err(error),
                None => starts = start,
            }
        }
        Ok(None)
    }

    /// Returns the index of the last occurrence, after finding the first.
    fn find_last(&mut self, view: View<'_, u8>) -> Result<Option<usize>> {
        let first = self.find(view, 0)?;
        let mut last = first;
        if let Some(first) = first {
            self.find_by_steps(view, first, |index| {
                last = Some(index);
                false
            })?;
        }
        Ok(last)
    }

    /// Finds the next places, from `at` on and before `starts`, where the needle may begin.
    ///
    /// Returns the index after the places that were examined, and a mask of the candidates among the last
    /// 64 of them, in which bit 63 is the last.
    fn candidates(&self, view: View<'_, u8>, at: usize, starts: usize) -> (usize, u64) {
        let [first, second] = self.pair;
        let find = |start: usize, count: usize| {
            let bytes = [self.bytes[first], self.bytes[second]];
            // SAFETY: from so many starts on, the needle lies in the view. The backing
            // keeps its memory.
            unsafe { guard::find_pair(view.at(start + first), count, bytes, second - first) }
        };
        let (examined, mask) = find(at, starts - at);
        let at = at + examined;
        if mask != 0 || at == starts {
            return (at + if mask == 0 { 0 } else { BLOCK }, mask);
        }
        if starts - at < BLOCK && starts >= BLOCK {
            let start = starts - BLOCK;
            let (examined, mask) = find(start, BLOCK);
            if examined == BLOCK || mask != 0 {
                return (starts, mask & u64::MAX << (at - start));
            }
        }
        // Few places are left, or they fault. Where the first byte cannot be read, all are candidates: the
        // comparison tells whether the fault precedes a difference.
        let count = BLOCK.min(starts - at);
        let mut here = [0; BLOCK];
        let here = &mut here[..count];
        let is_read = view.read_at(at + first, here).is_ok();
        let mask = here.iter().fold(0, |mask, byte| {
            let is_candidate = !is_read || *byte == self.bytes[first];
            mask >> 1 | u64::from(is_candidate) << (BLOCK - 1)
        });
        (at + count, mask)
    }

    /// Returns `true` if the needle is at `start`. The range must lie in the view.
    fn is_at(&mut self, view: View<'_, u8>, start: usize) -> Result<bool> {
        let (head, rest) = self.bytes.split_at(self.bytes.len().min(BLOCK));
        let mut compared = BLOCK;
        let mut is_equal = is_at::<BLOCK>(view, start, head)?;
        for (part, at) in rest.chunks(PIECE).zip((start + BLOCK..).step_by(PIECE)) {
            is_equal = is_equal && is_at::<PIECE>(view, at, part)?;
            if !is_equal {
                break;
            }
            compared += PIECE;
        }
        if !is_equal {
            self.patience = self.patience.saturating_sub(compared);
        }
        Ok(is_equal)
    }

    /// Calls `is_enough` with the index of each occurrence from `from` on until it returns `true`.
    ///
    /// Takes a time that does not depend on near misses, by the algorithm of Knuth, Morris and Pratt.
    fn find_by_steps(
        &mut self,
        view: View<'_, u8>,
        from: usize,
        mut is_enough: impl FnMut(usize) -> bool,
    ) -> Result<()> {
        self.find_borders();
        let mut window = [0; WINDOW];
        // An occurrence may be near.
        let mut size = self.bytes.len().clamp(BLOCK, WINDOW);
        let mut matched = 0;
        let mut at = from;
        while at < view.len {
            let wanted = size.min(view.len - at);
            size = WINDOW.min(2 * size);
            let read = view.read_at(at, &mut window[..wanted]);
            let copied = match &read {
                Ok(()) => wanted,
                Err(error) => error.completed().unwrap_or(0),
            };
            for (part, start) in window[..copied].chunks(BLOCK).zip((at..).step_by(BLOCK)) {
                if matched == 0 && !part.contains(&self.bytes[0]) {
                    continue;
                }
                for (byte, index) in part.iter().zip(start..) {
                    matched = self.step(matched, *byte);
                    if matched == self.bytes.len() {
                        if is_enough(index + 1 - matched) {
                            return Ok(());
                        }
                        matched = self.borders[matched - 1];
                    }
                }
            }
            at += copied;
            if read.is_err() {
                view.get(at)?;
            }
        }
        Ok(())
    }

    /// Fills `borders`, unless it is filled.
    fn find_borders(&mut self) {
        if !self.borders.is_empty() {
            return;
        }
        self.borders.reserve_exact(self.bytes.len());
        self.borders.push(0);
        let mut matched = 0;
        for byte in &self.bytes[1..] {
            matched = self.step(matched, *byte);
            self.borders.push(matched);
        }
    }

    /// Returns the length of the longest prefix that ends with `byte`, after one of length `matched`.
    fn step(&self, mut matched: usize, byte: u8) -> usize {
        while matched > 0 && self.bytes[matched] != byte {
            matched = self.borders[matched - 1];
        }
        matched + usize::from(self.bytes[matched] == byte)
    }
}

/// Returns `true` if the view contains `bytes` at `index`; at most `N` of them. The range must lie in the
/// view.
fn is_at<const N: usize>(view: View<'_, u8>, index: usize, bytes: &[u8]) -> Result<bool> {
    let mut here = [0; N];
    let here = &mut here[..bytes.len()];
    match view.read_at(index, here) {
        Ok(()) => Ok(here == bytes),
        Err(error) => {
            let copied = error.completed().unwrap_or(0);
            if here[..copied] == bytes[..copied] { Err(error) } else { Ok(false) }
        }
    }
}
