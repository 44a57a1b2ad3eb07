//! The work of a process that allocates and frees blocks of 16 to 512 bytes at random.
//!
//! A side has 1,000 slots for blocks of each length. A step takes the lengths in turn, and a random slot of each: it
//! allocates and fills a block if the slot is empty, and frees the block otherwise.

use std::ffi::c_void;
use std::path::Path;
use std::time::Instant;

use sharemap::{Location, Offset, Segment};

use crate::peers::served::Operation;
use crate::reason::{Reason, why};
use crate::samples::Random;

/// The name of this library's side in a child process.
pub const OURS: &str = "churn: Segment";
/// The name of mimalloc's side in a child process.
pub const MIMALLOC: &str = "churn: mimalloc";

/// The number of times that a step allocates a block, in the mean.
pub const PAIRS: u64 = 5;

const SLOTS: usize = 1000;

/// Slots for blocks of one length.
trait Blocks {
    fn allocate(&mut self, slot: usize) -> Result<(), Reason>;
    fn free(&mut self, slot: usize) -> Result<(), Reason>;
}

/// Blocks of a segment, each attached to a place in it.
struct Attached<const WORDS: usize> {
    segment: Segment,
    places: Offset<[Offset<[u64; WORDS]>; SLOTS]>,
    value: [u64; WORDS],
}

impl<const WORDS: usize> Attached<WORDS> {
    fn new(segment: &Segment) -> Result<Self, Reason> {
        let places = segment.allocate(&[Offset::NONE; SLOTS]).map_err(why)?;
        Ok(Self { segment: segment.clone(), places, value: [0; WORDS] })
    }
}

impl<const WORDS: usize> Blocks for Attached<WORDS> {
    #[inline]
    fn allocate(&mut self, slot: usize) -> Result<(), Reason> {
        self.value[0] = slot as u64;
        self.segment.attach(self.places.element(slot), &self.value).map(drop).map_err(why)
    }

    #[inline]
    fn free(&mut self, slot: usize) -> Result<(), Reason> {
        self.segment.detach(self.places.element(slot)).map(drop).map_err(why)
    }
}

/// An allocator with C's interface.
#[derive(Clone, Copy)]
pub struct Library {
    allocate: unsafe extern "C" fn(usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
}

pub const GLIBC: Library = Library { allocate: libc::malloc, free: libc::free };
pub const MI: Library =
    Library { allocate: libmimalloc_sys::mi_malloc, free: libmimalloc_sys::mi_free };

/// Blocks of an allocator in this process.
struct Local<const WORDS: usize> {
    library: Library,
    blocks: Vec<*mut [u64; WORDS]>,
    value: [u64; WORDS],
}

impl<const WORDS: usize> Local<WORDS> {
    fn new(library: Library) -> Result<Self, Reason> {
        Ok(Self { library, blocks: vec![std::ptr::null_mut(); SLOTS], value: [0; WORDS] })
    }
}

impl<const WORDS: usize> Blocks for Local<WORDS> {
    #[inline]
    fn allocate(&mut self, slot: usize) -> Result<(), Reason> {
        self.value[0] = slot as u64;
        // SAFETY: allocates as many bytes as the value has, aligned for words, and fills them.
        unsafe {
            let block = (self.library.allocate)(size_of_val(&self.value)).cast();
            if std::ptr::eq(block, std::ptr::null()) {
                return Err("out of memory".into());
            }
            *block = self.value;
            self.blocks[slot] = block;
        }
        Ok(())
    }

    #[inline]
    fn free(&mut self, slot: usize) -> Result<(), Reason> {
        // SAFETY: the slot has a block that the library allocated, and is filled again before it is freed again.
        unsafe { (self.library.free)(self.blocks[slot].cast()) };
        Ok(())
    }
}

/// Slots, and which of them have a block.
struct Slots<B> {
    blocks: B,
    is_full: Vec<bool>,
}

impl<B: Blocks> Slots<B> {
    fn new(blocks: B) -> Self {
        Self { blocks, is_full: vec![false; SLOTS] }
    }

    #[inline]
    fn toggle(&mut self, random: &mut Random) -> Result<(), Reason> {
        let slot = random.below(SLOTS as u64) as usize;
        self.is_full[slot] ^= true;
        if self.is_full[slot] { self.blocks.allocate(slot) } else { self.blocks.free(slot) }
    }
}

/// Returns a function that makes a step with slots that `$blocks` creates for each length.
macro_rules! steps {
    ($blocks:ident, $from:expr; $($name:ident: $words:literal),*) => {{
        $( let mut $name = Slots::new($blocks::<$words>::new($from)?); )*
        let mut random = Random::new(1);
        move || -> Result<(), Reason> {
            $( $name.toggle(&mut random)?; )*
            Ok(())
        }
    }};
    ($blocks:ident, $from:expr) => {
        steps!($blocks, $from; a: 2, b: 4, c: 6, d: 8, e: 12, f: 16, g: 24, h: 32, i: 48, j: 64)
    };
}

/// Returns a function that makes a step in a segment.
pub fn in_segment(segment: &Segment) -> Result<impl FnMut() -> Result<(), Reason> + use<>, Reason> {
    Ok(steps!(Attached, segment))
}

/// Returns a function that makes a step with an allocator in this process.
pub fn in_process(library: Library) -> Result<impl FnMut() -> Result<(), Reason>, Reason> {
    Ok(steps!(Local, library))
}

/// Prepares the steps of a child process, in the segment at `path`.
pub fn prepare(peer: &str, path: &Path) -> Result<Operation, Reason> {
    match peer {
        OURS => {
            let segment = Segment::open(Location::file(path)).map_err(why)?;
            Ok(timed(in_segment(&segment)?))
        }
        MIMALLOC => Ok(timed(in_process(MI)?)),
        _ => Err(format!("no peer is named {peer}")),
    }
}

fn timed(mut step: impl FnMut() -> Result<(), Reason> + 'static) -> Operation {
    Box::new(move |repeats| {
        let start = Instant::now();
        for _ in 0..repeats {
            step().expect("the segment has room");
        }
        start.elapsed()
    })
}
