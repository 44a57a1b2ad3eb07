//! The search for a run of bytes in a view: candidates by two of its bytes, and their comparison.

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

/// The places in a view that a search has not compared yet.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The index after the places at which the pair has been searched for.
    end: usize,
    /// The candidates among the 64 places before `end`, of which bit 63 is the last.
    candidates: u64,
}

impl Places {
    /// Returns all places from `index` on.
    pub(super) fn after(index: usize) -> Self {
        Self { end: index, candidates: 0 }
    }

    /// Returns `true` if all places are past `len`.
    pub(super) fn is_past(&self, len: usize) -> bool {
        self.end > len
    }

    /// Returns the index of the first candidate. The block of a candidate near the start of the view may begin
    /// before it.
    fn first(&self) -> usize {
        let place = self.candidates.trailing_zeros() as usize;
        self.end.wrapping_sub(BLOCK).wrapping_add(place)
    }

    /// Removes the places before `index`, which must be past the first candidate, if there is one.
    pub(super) fn skip_to(&mut self, index: usize) {
        if index >= self.end {
            *self = Self::after(index);
        } else {
            self.candidates &= u64::MAX << (index + BLOCK - self.end);
        }
    }
}

/// A run of bytes to search for.
#[derive(Clone, Debug)]
pub(super) struct Needle<'n> {
    bytes: &'n [u8],
    /// The first eight bytes, or all if there are fewer, and the bits of a word in which they lie.
    head: [u64; 2],
    /// The places of the two bytes that are searched for, in ascending order: the rarest of the first ones.
    pair: [usize; 2],
    /// The number of bytes that may still be compared in vain.
    patience: usize,
    /// For each prefix of the needle, the length of its longest proper suffix that is also a prefix. Made
    /// when patience is at an end.
    borders: Vec<usize>,
}

impl<'n> Needle<'n> {
    pub(super) fn new(bytes: &'n [u8]) -> Self {
        let mut word = [[0; 8]; 2];
        for (index, byte) in bytes.iter().take(8).enumerate() {
            (word[0][index], word[1][index]) = (*byte, u8::MAX);
        }
        let head = &bytes[..bytes.len().min(HEAD)];
        let rarity = |place: &usize| RARITY[usize::from(head[*place])];
        let rarest = (0..head.len()).max_by_key(rarity).unwrap_or(0);
        let others = (0..head.len()).filter(|place| *place != rarest);
        let other = others.max_by_key(|place| (head[*place] != head[rarest], rarity(place)));
        let other = other.unwrap_or(rarest);
        Self {
            bytes,
            head: word.map(u64::from_ne_bytes),
            pair: [rarest.min(other), rarest.max(other)],
            patience: GRACE,
            borders: Vec::new(),
        }
    }

    /// Returns the number of bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the index of the first occurrence at one of the places, and removes those before it.
    pub(super) fn find(
        &mut self,
        view: View<'_, u8>,
        places: &mut Places,
    ) -> Result<Option<usize>> {
        match self.bytes {
            [] => return Ok(Some(places.end)),
            [byte] => {
                let found = view.subview(places.end..)?.find(*byte)?;
                return Ok(found.map(|index| places.end + index));
            }
            _ => {}
        }
        let starts = (view.len + 1).saturating_sub(self.bytes.len());
        loop {
            while places.candidates != 0 {
                let start = places.first();
                if self.is_at(view, start)? {
                    return Ok(Some(start));
                }
                places.candidates &= places.candidates - 1;
            }
            let at = places.end;
            if at >= starts {
                return Ok(None);
            }
            if self.patience == 0 || view.in_place != view.len {
                let mut first = None;
                self.find_by_steps(view, at, |index| {
                    first = Some(index);
                    true
                })?;
                return Ok(first);
            }
            *places = self.candidates(view, at, starts);
            let examined = places.end - at;
            self.patience = self.patience.saturating_add(examined.saturating_mul(VAIN_PER_BYTE));
        }
    }

    /// Returns the index of the last occurrence.
    pub(super) fn rfind(&mut self, view: View<'_, u8>) -> Result<Option<usize>> {
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
        let first = self.find(view, &mut Places::after(0))?;
        let mut last = first;
        if let Some(first) = first {
            self.find_by_steps(view, first, |index| {
                last = Some(index);
                false
            })?;
        }
        Ok(last)
    }

    /// Finds the next candidates, from `at` on and before `starts`: the places where the needle may begin.
    fn candidates(&self, view: View<'_, u8>, at: usize, starts: usize) -> Places {
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
            return Places { end: at + if mask == 0 { 0 } else { BLOCK }, candidates: mask };
        }
        if starts - at < BLOCK && starts >= BLOCK {
            let start = starts - BLOCK;
            let (examined, mask) = find(start, BLOCK);
            if examined == BLOCK || mask != 0 {
                return Places { end: starts, candidates: mask & u64::MAX << (at - start) };
            }
        }
        // Few places are left, or they fault. Where the first byte cannot be read, all are candidates: the
        // comparison tells whether the fault precedes a difference.
        let count = BLOCK.min(starts - at);
        let mut here = [0; BLOCK];
        let here = &mut here[..count];
        let is_read = view.read_at(at + first, here).is_ok();
        let candidates = here.iter().fold(0, |mask, byte| {
            let is_candidate = !is_read || *byte == self.bytes[first];
            mask >> 1 | u64::from(is_candidate) << (BLOCK - 1)
        });
        Places { end: at + count, candidates }
    }

    /// Returns `true` if the needle is at `start`. The range must lie in the view, which is accessed in place.
    ///
    /// Most candidates differ in the first eight bytes, and short needles have no more.
    #[inline]
    fn is_at(&mut self, view: View<'_, u8>, start: usize) -> Result<bool> {
        if view.len - start >= 8 {
            let mut fault = 0;
            // SAFETY: within the view, of which the backing keeps the memory.
            let here = unsafe { guard::load::<u64>(view.at(start), &mut fault) };
            if fault == 0 {
                let [head, bits] = self.head;
                // SAFETY: loaded without a fault.
                let here = unsafe { here.assume_init() };
                if (here ^ head) & bits != 0 {
                    self.patience = self.patience.saturating_sub(8);
                    return Ok(false);
                }
                if self.bytes.len() <= 8 {
                    return Ok(true);
                }
            }
        }
        self.is_whole_at(view, start)
    }

    /// Returns `true` if the needle is at `start`, after comparing it with a copy.
    #[inline(never)]
    fn is_whole_at(&mut self, view: View<'_, u8>, start: usize) -> Result<bool> {
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
