//! The contents of the raced files, and operations that check every byte and count.

use sharemap::zerocopy::IntoBytes;
use sharemap::{Error, ErrorKind, ViewMut, page_size};

pub const PAGES: usize = 8;

/// Pseudo-random numbers, the same in every run.
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

/// Returns the word at `index`, which differs from its neighbours and has no zero byte.
fn word(index: usize) -> u64 {
    (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 0x0101_0101_0101_0101
}

/// The contents of a complete file.
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

    /// Performs one random operation on the file from a random offset to its end, and checks
    /// everything that it reads. Returns the offset of the fault, if it faulted.
    pub fn touch(&self, view: ViewMut<'_, u64>, random: &mut Random) -> Option<u64> {
        let bytes = view.cast::<u8>().unwrap();
        let page = page_size() / 8;
        let far = random.below(self.words.len() - page);
        // Mostly short ranges where each element is checked, which is slow in debug builds.
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
        // The last element, so that the operation must fault once the file is shorter.
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

    /// Checks that the element at `index` is right, or faulted at its own offset.
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

    /// Checks that an iterator ends with its error, after the right elements.
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

/// Asserts that everything read equals the contents of the file.
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

/// Asserts that each byte after the counted ones was either read before the truncation or not
/// written. Words may be half of each, because a copy proceeds by bytes when it faults.
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
