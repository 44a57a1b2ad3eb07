//! The types that may be elements of a mapping, and the types that processes may share.

use std::any::TypeId;
use std::fmt::Write;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// A type that can be the element of a [`View`](crate::View): it has no padding and no pointers, and
/// its bytes can be checked before they become a value.
///
/// Elements are integers, floats, `bool`, `char`, arrays of them, zerocopy's integers of either byte
/// order, and every struct or enum that has a `repr` and derives zerocopy's `TryFromBytes` (or
/// `FromBytes`), `IntoBytes`, `Immutable` and `KnownLayout`. The trait is implemented for all such
/// types and needs no `impl`.
///
/// Reading an element with bytes that are not a valid value of the type, such as a `bool` of 7, is an error
/// of kind [`Invalid`](crate::ErrorKind::Invalid).
///
/// The derives are those of [`sharemap::zerocopy`](crate::zerocopy). In a crate that does not depend on
/// zerocopy itself, add `#[zerocopy(crate = "sharemap::zerocopy")]` to the type.
///
/// # Examples
/// ```
/// use sharemap::zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};
///
/// #[derive(Clone, Copy, Debug, PartialEq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
/// #[zerocopy(crate = "sharemap::zerocopy")]
/// #[repr(u8)]
/// enum Color {
///     Red = 1,
///     Green = 2,
/// }
///
/// # fn main() -> sharemap::Result<()> {
/// let map = sharemap::MappingMut::anonymous(4096)?;
/// map.view::<Color>()?.set(0, Color::Green)?;
/// assert_eq!(map.view::<Color>()?.get(0)?, Color::Green);
/// assert_eq!(map.bytes().get(0)?, 2);
/// let zero = map.view::<Color>()?.get(1).unwrap_err();
/// assert_eq!(zero.kind(), sharemap::ErrorKind::Invalid);
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an element of a mapping",
    label = "this is no `Element`",
    note = "a struct or enum is one if it has a `repr` (`C`, `transparent`, an integer) and \
            `#[derive(Clone, Copy, TryFromBytes, IntoBytes, Immutable, KnownLayout)]`, with the \
            derives of `sharemap::zerocopy` and `#[zerocopy(crate = \"sharemap::zerocopy\")]`",
    note = "elements have no padding, no pointers and no references; their fields are elements too"
)]
pub trait Element: TryFromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static {}

// Without this attribute, the compiler reports one missing derive after the other, and not the message
// above.
#[diagnostic::do_not_recommend]
impl<T: TryFromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static> Element for T {}

/// Returns `true` for types known to accept any bytes: numbers, and zerocopy's numbers of either
/// byte order. The bytes of other types must be validated.
///
/// The result is a constant. It saves builds without optimisation the validation of every element,
/// which optimised builds remove by themselves.
#[inline(always)]
pub(crate) fn is_any_bytes<T: 'static>() -> bool {
    use zerocopy::byteorder::{BigEndian, LittleEndian};
    use zerocopy::byteorder::{F32, F64, I16, I32, I64, I128, U16, U32, U64, U128};
    macro_rules! is_one_of {
        ($($type:ty),*) => { $( TypeId::of::<T>() == TypeId::of::<$type>() )||* };
    }
    macro_rules! is_ordered {
        ($($type:ident),*) => { is_one_of!($($type<LittleEndian>, $type<BigEndian>),*) };
    }
    match (size_of::<T>(), align_of::<T>()) {
        (1, _) => is_one_of!(u8, i8),
        (2, 1) => is_ordered!(U16, I16),
        (2, _) => is_one_of!(u16, i16),
        (4, 1) => is_ordered!(U32, I32, F32),
        (8, 1) => is_ordered!(U64, I64, F64),
        (16, 1) => is_ordered!(U128, I128),
        (4, _) => is_one_of!(u32, f32, i32, usize, isize),
        (8, _) => is_one_of!(u64, f64, i64, usize, isize),
        (16, _) => is_one_of!(u128, i128),
        _ => false,
    }
}

/// An [`Element`] of which any bytes are a valid value. A view of such elements can also be read as a
/// plain slice, by [`View::as_slice`](crate::View::as_slice).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not plain data, of which any bytes are a valid value",
    label = "this is not `Pod`",
    note = "derive `FromBytes` of `sharemap::zerocopy` in place of `TryFromBytes`, with `IntoBytes`, \
            `Immutable`, `KnownLayout`, `Clone` and `Copy`",
    note = "some bytes are not a valid `bool`, `char` or enum: read such elements by `get`, `iter` or \
            `to_vec`, which check the bytes"
)]
pub trait Pod: Element + FromBytes {}

#[diagnostic::do_not_recommend]
impl<T: Element + FromBytes> Pod for T {}

/// A type of values that processes may share: its layout is the same in all programs, and its values mean
/// the same in all processes.
///
/// Such types are integers of fixed width, floats, `bool`, `char`, `()`, arrays of them, and structs and
/// enums that [derive](derive@crate::Shareable) the trait (feature `derive`, on by default) and have
/// `#[repr(C)]`, `#[repr(transparent)]`, or an integer's `repr`. `usize`, pointers and references are not
/// shareable. A struct of several locks derives [`SharedType`](derive@crate::SharedType) instead.
///
/// The trait is safe to implement. With a wrong description, programs that disagree about a type can
/// open the same object and read wrong values from it; memory safety does not depend on it.
///
/// # Examples
/// ```
/// # #[cfg(feature = "derive")] {
/// use sharemap::{Location, Mutex, Shareable, Shared};
/// use sharemap::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
///
/// #[derive(Clone, Copy, Default, Shareable, FromBytes, IntoBytes, Immutable, KnownLayout)]
/// #[zerocopy(crate = "sharemap::zerocopy")]
/// #[repr(C)]
/// struct Totals {
///     count: u64,
///     sum: f64,
/// }
///
/// # fn main() -> sharemap::Result<()> {
/// # if sharemap::guard::recovery() != sharemap::guard::Recovery::InPlace { return Ok(()) }
/// let totals = Shared::create_new(Location::anonymous(), || Mutex::new(Totals::default()))?;
/// totals.lock()?.count += 1;
/// # Ok(()) }
/// # main().unwrap();
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "values of `{Self}` do not mean the same in every process",
    note = "values that processes share are integers of fixed width (no `usize`), floats, `bool`, \
            `char`, arrays of them, and structs and enums that derive `Shareable`"
)]
pub trait Shareable {
    /// Appends the description of the type, as defined in FORMAT.md ("Locks").
    #[doc(hidden)]
    fn describe(layout: &mut Layout);
}

/// A builder of the canonical description of a type's layout.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Layout(String);

impl Layout {
    /// Appends `text`.
    pub fn push(&mut self, text: &str) {
        self.0.push_str(text);
    }

    /// Appends a number in decimal.
    pub fn number(&mut self, number: u64) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "{number}");
    }

    /// Appends the offset of a field. The caller then appends its description.
    pub fn at(&mut self, offset: usize) {
        self.number(offset as u64);
        self.push(":");
    }

    /// Appends an array of `count` elements.
    pub(crate) fn array(&mut self, describe: fn(&mut Self), count: usize) {
        self.push("[");
        describe(self);
        self.push(";");
        self.number(count as u64);
        self.push("]");
    }

    /// Appends an integer type of which only `values` are valid, in ascending order.
    pub fn choice(&mut self, integer: &str, values: &mut [i128]) {
        values.sort_unstable();
        self.push(integer);
        self.push("<");
        for value in values {
            // Writing to a string does not fail.
            let _ = write!(self.0, "{value},");
        }
        self.push(">");
    }

    /// Returns the 128-bit FNV-1a hash of the description.
    pub(crate) fn fingerprint(&self) -> [u8; 16] {
        fingerprint_of(&self.0)
    }

    /// Returns the description.
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// Returns the fingerprint of a description: its FNV-1a hash of 128 bits.
pub(crate) fn fingerprint_of(text: &str) -> [u8; 16] {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(PRIME);
    text.bytes().fold(BASIS, hash).to_le_bytes()
}

macro_rules! shareable {
    ($($type:ty)*) => { $(
        impl Shareable for $type {
            fn describe(layout: &mut Layout) {
                layout.push(stringify!($type));
            }
        }
    )* };
}

shareable!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 bool char);

impl Shareable for () {
    fn describe(layout: &mut Layout) {
        layout.push("()");
    }
}

impl<T: Shareable, const N: usize> Shareable for [T; N] {
    fn describe(layout: &mut Layout) {
        layout.array(T::describe, N);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "derive")]
    use crate::Shareable;

    #[test]
    fn descriptions_are_canonical() {
        let mut layout = Layout::default();
        <[[u16; 3]; 2]>::describe(&mut layout);
        assert_eq!(layout.text(), "[[u16;3];2]");
        let mut other = Layout::default();
        other.push("[[u16;3];");
        other.number(2);
        other.push("]");
        assert_eq!(layout.fingerprint(), other.fingerprint());
        assert_ne!(layout.fingerprint(), Layout::default().fingerprint());
    }

    #[test]
    fn any_bytes_are_valid_numbers() {
        use zerocopy::{big_endian, little_endian};
        fn numbers<T: FromBytes + IntoBytes + 'static>() {
            assert!(is_any_bytes::<T>(), "{}", std::any::type_name::<T>());
        }
        macro_rules! all { ($($type:ty)*) => { $( numbers::<$type>(); )* }; }
        all!(u8 i8 u16 i16 u32 i32 f32 u64 i64 f64 u128 i128 usize isize);
        all!(little_endian::U16 little_endian::I32 little_endian::F64 little_endian::U128);
        all!(big_endian::I16 big_endian::F32 big_endian::U64 big_endian::I128);
        assert!(!is_any_bytes::<bool>() && !is_any_bytes::<char>() && !is_any_bytes::<[bool; 8]>());
        assert!(!is_any_bytes::<std::num::NonZeroU8>() && !is_any_bytes::<std::num::NonZeroU64>());
    }

    #[cfg(feature = "derive")]
    fn text_of<T: Shareable>() -> String {
        let mut layout = Layout::default();
        T::describe(&mut layout);
        layout.text().to_owned()
    }

    #[test]
    #[cfg(feature = "derive")]
    fn structs_are_offsets_and_types() {
        #[derive(Shareable)]
        #[repr(transparent)]
        struct Meters(#[allow(dead_code)] f32);

        #[derive(Shareable)]
        #[repr(C)]
        #[allow(dead_code)]
        struct Place {
            id: u64,
            at: [Meters; 2],
            r#type: Kind,
            seen: bool,
            rest: [u8; 5],
        }

        #[derive(Shareable)]
        #[repr(C, packed)]
        struct Pair(#[allow(dead_code)] u8, #[allow(dead_code)] Place);

        #[derive(Shareable)]
        #[repr(C)]
        struct Row<T, const N: usize>(#[allow(dead_code)] [T; N]);

        assert_eq!(text_of::<Meters>(), "f32");
        assert_eq!(text_of::<Place>(), "{0:u64,8:[f32;2],16:i16<-1,3,4,>,18:bool,19:[u8;5],}24");
        assert_eq!(text_of::<Pair>(), format!("{{0:u8,1:{},}}25", text_of::<Place>()));
        assert_eq!(text_of::<Row<u16, 3>>(), "{0:[u16;3],}6");
    }

    #[cfg(feature = "derive")]
    #[derive(Shareable)]
    #[repr(i16)]
    #[allow(dead_code)]
    enum Kind {
        Third = 3,
        Fourth,
        Last = -1,
    }

    #[test]
    fn fingerprints_are_fnv() {
        let mut layout = Layout::default();
        layout.push("a");
        let hash = 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964_u128;
        assert_eq!(layout.fingerprint(), hash.to_le_bytes());
    }
}
