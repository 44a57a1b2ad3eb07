//! What may live in a mapping.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

/// A value that can be an element of a [`View`](crate::View): it has no padding, no pointers with
/// Rust meaning, and its bytes can be checked before they become a value.
///
/// Integers, floats, `bool`, `char`, arrays of them, zerocopy's endian integers, and every struct
/// or enum that derives zerocopy's `TryFromBytes` (or `FromBytes`), `IntoBytes`, `Immutable` and
/// `KnownLayout`. Reading an element whose bytes are no value of the type (a `bool` of 7) is an
/// error of kind [`Invalid`](crate::ErrorKind::Invalid). Implemented for all such types; there is
/// nothing to implement.
///
/// ```
/// use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};
///
/// #[derive(Clone, Copy, Debug, PartialEq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
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
pub trait Element: TryFromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static {}

impl<T: TryFromBytes + IntoBytes + Immutable + KnownLayout + Copy + 'static> Element for T {}

/// An [`Element`] for which any bytes are a value: what can also be seen as a plain slice.
pub trait Pod: Element + FromBytes {}

impl<T: Element + FromBytes> Pod for T {}
