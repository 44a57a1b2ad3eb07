//! What the files of the races hold, and operations whose every byte and count is checked.

use sharemap::zerocopy::IntoBytes;
use sharemap::{Error, ErrorKind, ViewMut, page_size};

pub const PAGES: usize = 8;

/// Numbers that are the same in every run.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// The word at an index: unlike its neighbours, and with no byte of zero.
fn word(index: usize) -> u64 {
    (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 0x0101_0101_0101_0101
}

/// What the file holds whenever it is whole.
pub struct Whole {
    words: Vec<u64>,
    pub bytes: Vec<u8>,
}

impl Whole {
    pub fn new() -> Self {
        let words: Vec<u64> = (0..PAGES * page_size() / 8).map(word).collect();
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert!(!bytes.contains(&0));
        Self { words, bytes }
    }

    /// One operation, chosen at random, on the file from somewhere on to its end. Everything that it
    /// reads is compared. Gives the offset at which it faulted, if it did.
    pub fn touch(&self, view: ViewMut<'_, u64>, random: &mut Random) -> Option<u64> {
        let bytes = view.cast::<u8>().unwrap();
        let page = page_size() / 8;
        let far = random.below(self.words.len() - page);
        // Mostly little, where each element is looked at: that takes its time in debug builds.
        let near =
            if random.below(16) == 0 { far } else { self.words.len() - page - random.below(99) };
        let rest = view.subview(near..).unwrap();
        let result = match random.below(12) {
            0 => self.get(view, random),
            1 => self.set(view, random),
            2 => self.read_words(view, far),
            3 => self.read_bytes(bytes, random.below(8 * far + 1)),
            4 => self.write_words(view, far),
            5 => self.write_bytes(bytes, random.below(8 * far + 1)),
            6 => view.to_vec().map(|all| right(&all, &self.words, 0)),
            7 => self.walk(rest, near),
            8 => self.fold(rest, near),
            9 => self.blocks(rest, near),
            10 => rest.find(0).map(|found| assert_eq!(found, None, "a zero")),
            _ => bytes.subview(8 * near..).unwrap().count(0).map(|zeros| assert_eq!(zeros, 0)),
        };
        let error = result.err()?;
        assert_eq!(error.kind(), ErrorKind::Fault, "{error}");
        error.offset()
    }

    fn get(&self, view: ViewMut<'_, u64>, random: &mut Random) -> Result<(), Error> {
        for _ in 0..30 {
            let index = random.below(view.len());
            self.same(view.get(index), index)?;
        }
        // So that it fails surely once the file is short.
        self.same(view.last(), view.len() - 1)
    }

    fn set(&self, view: ViewMut<'_, u64>, random: &mut Random) -> Result<(), Error> {
        for _ in 0..30 {
            let index = random.below(view.len());
            if let Err(error) = view.set(index, self.words[index]) {
                assert_eq!(error.offset(), Some(index as u64 * 8));
                return Err(error);
            }
        }
        view.set(view.len() - 1, *self.words.last().unwrap())
    }

    /// The element at an index: right, or a fault there.
    fn same(&self, item: Result<u64, Error>, index: usize) -> Result<(), Error> {
        match item {
            Ok(value) => {
                assert_eq!(value, self.words[index], "word {index}");
                Ok(())
            }
            Err(error) => {
                assert_eq!(error.offset(), Some(index as u64 * 8));
                Err(error)
            }
        }
    }

    fn read_words(&self, view: ViewMut<'_, u64>, start: usize) -> Result<(), Error> {
        let mut out = vec![0; view.len() - start];
        let Err(error) = view.read_at(start, &mut out) else {
            right(&out, &self.words[start..], start);
            return Ok(());
        };
        let completed = error.completed().unwrap();
        assert_eq!((start + completed) as u64, error.offset().unwrap() / 8);
        right(&out[..completed], &self.words[start..start + completed], start);
        untouched_or_right(out[completed..].as_bytes(), &self.bytes[8 * (start + completed)..]);
        Err(error)
    }

    fn read_bytes(&self, view: ViewMut<'_, u8>, start: usize) -> Result<(), Error> {
        let mut out = vec![0; view.len() - start];
        let Err(error) = view.read_at(start, &mut out) else {
            right(&out, &self.bytes[start..], start);
            return Ok(());
        };
        let completed = error.completed().unwrap();
        assert_eq!((start + completed) as u64, error.offset().unwrap());
        right(&out[..completed], &self.bytes[start..start + completed], start);
        untouched_or_right(&out[completed..], &self.bytes[start + completed..]);
        Err(error)
    }

    /// An iterator ends with its error, and counts up to it.
    fn walk(&self, view: ViewMut<'_, u64>, start: usize) -> Result<(), Error> {
        let mut iter = view.iter();
        let mut count = 0;
        for item in iter.by_ref() {
            if let Err(error) = self.same(item, start + count) {
                assert!(iter.next().is_none());
                return Err(error);
            }
            count += 1;
        }
        assert_eq!(count, view.len());
        Ok(())
    }

    fn fold(&self, view: ViewMut<'_, u64>, start: usize) -> Result<(), Error> {
        let end = view.iter().try_fold(start, |index, item| {
            self.same(item, index)?;
            Ok::<_, Error>(index + 1)
        })?;
        assert_eq!(end, self.words.len());
        Ok(())
    }

    fn blocks(&self, view: ViewMut<'_, u64>, start: usize) -> Result<(), Error> {
        let mut done = start;
        let blocks = view.blocks::<32>();
        let rest = blocks.remainder();
        for block in blocks {
            let block = block.inspect_err(|error| {
                let offset = error.offset().unwrap() as usize / 8;
                assert!((done..done + 32).contains(&offset), "the first block that is not whole");
            })?;
            assert!(block[..] == self.words[done..done + 32], "the block at {done}");
            done += 32;
        }
        rest.iter().enumerate().try_for_each(|(at, item)| self.same(item, done + at))
    }

    fn write_words(&self, view: ViewMut<'_, u64>, start: usize) -> Result<(), Error> {
        view.write_at(start, &self.words[start..]).inspect_err(|error| {
            let end = start + error.completed().unwrap();
            assert_eq!(end as u64, error.offset().unwrap() / 8);
        })
    }

    fn write_bytes(&self, view: ViewMut<'_, u8>, start: usize) -> Result<(), Error> {
        view.write_at(start, &self.bytes[start..]).inspect_err(|error| {
            assert_eq!((start + error.completed().unwrap()) as u64, error.offset().unwrap());
        })
    }
}

/// Everything that was read is what the file held.
#[track_caller]
fn right<T: PartialEq + std::fmt::Debug>(out: &[T], expected: &[T], start: usize) {
    if out != expected {
        let at = out.iter().zip(expected).position(|(value, expected)| value != expected);
        let wrong = out.iter().zip(expected).filter(|(value, expected)| value != expected).count();
        let at = at.expect("of the same length");
        panic!(
            "{:?} and not {:?} at {at} + {start}; {wrong} of {} differ",
            out[at],
            expected[at],
            out.len()
        );
    }
}

/// What lies behind the bytes counted was read before the cut, or was not written. Words may be half
/// of each: copies go by bytes where a page goes away under them.
fn untouched_or_right(out: &[u8], expected: &[u8]) {
    let blank = [0; 1024];
    for (out, expected) in out.chunks(1024).zip(expected.chunks(1024)) {
        if out != expected && out != &blank[..out.len()] {
            assert!(
                out.iter().zip(expected).all(|(byte, expected)| byte == expected || *byte == 0)
            );
        }
    }
}
