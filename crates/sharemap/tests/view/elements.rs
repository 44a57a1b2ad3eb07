//! Element types of every kind, and sample values of them.

use sharemap::{Element, Pod};
use std::fmt::Debug;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes, big_endian, little_endian,
};

/// A type with sample values. Different numbers give different samples if the type has enough values.
pub trait Sample: Element + PartialEq + Debug + Send + Sync {
    fn sample(number: u64) -> Self;
}

fn scramble(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

macro_rules! integers {
    ($($int:ty)*) => { $(
        impl Sample for $int {
            fn sample(number: u64) -> Self {
                (scramble(number) >> 7) as Self
            }
        }
    )* };
}
integers!(u8 i8 u16 i16 u32 i32 u64 i64);

impl Sample for u128 {
    fn sample(number: u64) -> Self {
        Self::from(scramble(number)) << 61 | Self::from(number)
    }
}

impl Sample for f32 {
    fn sample(number: u64) -> Self {
        number as Self * 0.75 - 100.0
    }
}

impl Sample for f64 {
    fn sample(number: u64) -> Self {
        number as Self * 0.75 - 100.0
    }
}

impl Sample for bool {
    fn sample(number: u64) -> Self {
        scramble(number) >> 63 == 1
    }
}

impl Sample for char {
    fn sample(number: u64) -> Self {
        char::from_u32((scramble(number) >> 40) as u32 % 0xd800).unwrap()
    }
}

impl Sample for [u16; 3] {
    fn sample(number: u64) -> Self {
        [0, 1, 2].map(|at| u16::sample(number + at))
    }
}

/// An element larger than the buffer of folds.
impl Sample for [u8; 300] {
    fn sample(number: u64) -> Self {
        std::array::from_fn(|at| u8::sample(number * 7 + at as u64))
    }
}

impl Sample for big_endian::U32 {
    fn sample(number: u64) -> Self {
        Self::new(u32::sample(number))
    }
}

impl Sample for little_endian::U64 {
    fn sample(number: u64) -> Self {
        Self::new(u64::sample(number))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Point {
    pub x: f32,
    pub y: f32,
    pub id: u32,
}

impl Sample for Point {
    fn sample(number: u64) -> Self {
        Self { x: f32::sample(number), y: -f32::sample(number), id: number as u32 }
    }
}

#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    TryFromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(u8)]
pub enum Colour {
    Red = 3,
    Green = 5,
    Blue = 250,
}

impl Sample for Colour {
    fn sample(number: u64) -> Self {
        [Self::Red, Self::Green, Self::Blue][(scramble(number) >> 33) as usize % 3]
    }
}

/// A struct in which some fields have invalid bytes and others do not.
#[derive(Clone, Copy, Debug, PartialEq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pixel {
    pub colour: Colour,
    pub lit: bool,
    pub depth: [u8; 2],
}

impl Sample for Pixel {
    fn sample(number: u64) -> Self {
        Self {
            colour: Colour::sample(number),
            lit: bool::sample(number),
            depth: (number as u16).to_ne_bytes(),
        }
    }
}

/// An element with an alignment of more than a cache line.
#[derive(Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(128))]
pub struct Wide(pub [u32; 32]);

impl Sample for Wide {
    fn sample(number: u64) -> Self {
        Self(std::array::from_fn(|at| u32::sample(number + at as u64)))
    }
}

/// Returns `count` samples, starting with that of `from`.
pub fn samples<T: Sample>(from: u64, count: usize) -> Vec<T> {
    (from..).take(count).map(T::sample).collect()
}

/// Generates a test for each type, which calls a generic function with it.
macro_rules! for_each_type {
    ($function:ident => $($name:ident $type:ty,)*) => { $(
        #[test]
        fn $name() {
            $function::<$type>();
        }
    )* };
}
pub(crate) use for_each_type;

/// Generates a test of a generic function for each kind of element.
macro_rules! for_all_types {
    ($function:ident) => {
        crate::elements::for_each_type! { $function =>
            bytes u8, signed_bytes i8, u16s u16, u32s u32, i64s i64, u64s u64, u128s u128,
            f32s f32, f64s f64, bools bool, chars char, arrays [u16; 3], large_arrays [u8; 300],
            big_endian_u32s zerocopy::big_endian::U32, little_endian_u64s zerocopy::little_endian::U64,
            structs crate::elements::Point, enums crate::elements::Colour,
            structs_with_enums crate::elements::Pixel, over_aligned crate::elements::Wide,
        }
    };
}
pub(crate) use for_all_types;

/// Generates a test of a generic function for each kind of element without invalid bytes.
macro_rules! for_pod_types {
    ($function:ident) => {
        crate::elements::for_each_type! { $function =>
            bytes u8, signed_bytes i8, u16s u16, u32s u32, i64s i64, u64s u64, u128s u128,
            f32s f32, f64s f64, arrays [u16; 3], large_arrays [u8; 300],
            big_endian_u32s zerocopy::big_endian::U32, little_endian_u64s zerocopy::little_endian::U64,
            structs crate::elements::Point, over_aligned crate::elements::Wide,
        }
    };
}
pub(crate) use for_pod_types;

/// Lengths around the sizes of the blocks that loops process at once.
pub const LENGTHS: [usize; 22] =
    [0, 1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 255, 256, 257, 515];

/// Returns a length of more than 1 MiB that is no multiple of a block.
pub const fn long<T>() -> usize {
    (1 << 20) / size_of::<T>() + 13
}

/// Returns offsets for a view: 0, and one as unaligned as the type allows.
pub fn offsets<T>() -> [usize; 2] {
    [0, 77].map(|at| at * align_of::<T>())
}

const _: fn() = || {
    fn pod<T: Pod>() {}
    pod::<Point>();
    pod::<Wide>();
};
