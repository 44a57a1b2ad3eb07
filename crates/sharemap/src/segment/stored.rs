//! The types of values in a segment.

use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Element, Layout, Shareable};
use crate::peer::Memory;
use crate::segment::map::Glimpse;
use crate::view::View;

/// A type of which a segment holds values: keys, values of containers, named values.
///
/// These are the types that are both [`Element`] and [`Shareable`], for instance integers, floats, arrays of them and
/// structs that derive both; `str`; and `[u8]`. The trait is sealed.
///
/// Two keys are equal if their bytes are. In particular, a key `0.0` is another key than `-0.0`.
///
/// # Examples
/// ```
/// use sharemap::Stored;
///
/// fn owned<T: Stored + ?Sized>(_value: &T) -> &'static str {
///     std::any::type_name::<T::Owned>()
/// }
/// assert_eq!(owned(&7_u32), "u32");
/// assert_eq!(owned("seven"), "alloc::string::String");
/// ```
#[diagnostic::on_unimplemented(
    message = "a segment cannot hold values of `{Self}`",
    label = "this is not `Stored`",
    note = "a segment holds `str`, `[u8]`, and types that are both `Element` and `Shareable`: integers of fixed width, \
            floats, `bool`, arrays of them, and structs that derive `Shareable` and zerocopy's traits"
)]
pub trait Stored: sealed::Stored + 'static {
    /// What a read of a value returns: the value itself, a [`String`], or a [`Vec<u8>`].
    type Owned;

    /// The length of all values in bytes; `None` if it varies.
    #[doc(hidden)]
    const LEN: Option<usize>;

    /// Adds a description of the type to `layout`.
    #[doc(hidden)]
    fn describe(layout: &mut Layout);

    /// Returns the bytes of the value.
    #[doc(hidden)]
    fn stored_bytes(&self) -> &[u8];

    /// Copies a value out of the bytes of `view`.
    ///
    /// Fails with `Invalid` if the bytes are no value of the type.
    #[doc(hidden)]
    fn copy_out(view: View<'_, u8>) -> Result<Self::Owned>;

    /// Returns the value that a word has, of a type of at most 8 bytes.
    #[doc(hidden)]
    fn of_word(word: u64) -> Result<Self::Owned>;
}

mod sealed {
    use crate::layout::{Element, Shareable};

    pub trait Stored {}

    impl<T: Element + Shareable> Stored for T {}
    impl Stored for str {}
    impl Stored for [u8] {}
}

impl<T: Element + Shareable> Stored for T {
    type Owned = T;

    const LEN: Option<usize> = Some(size_of::<T>());

    fn describe(layout: &mut Layout) {
        <T as Shareable>::describe(layout);
    }

    #[inline(always)]
    fn stored_bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    #[inline]
    fn copy_out(view: View<'_, u8>) -> Result<T> {
        view.cast::<T>()?.get(0)
    }

    #[inline(always)]
    fn of_word(word: u64) -> Result<T> {
        let bytes = word.to_ne_bytes();
        let bytes = bytes.get(..size_of::<T>()).unwrap_or(&bytes);
        T::try_read_from_bytes(bytes).map_err(|_| invalid::<T>())
    }
}

impl Stored for str {
    type Owned = String;

    const LEN: Option<usize> = None;

    fn describe(layout: &mut Layout) {
        layout.push("str");
    }

    #[inline(always)]
    fn stored_bytes(&self) -> &[u8] {
        self.as_bytes()
    }

    fn copy_out(view: View<'_, u8>) -> Result<String> {
        String::from_utf8(view.to_vec()?).map_err(|_| invalid::<str>())
    }

    fn of_word(_: u64) -> Result<String> {
        Err(invalid::<str>())
    }
}

impl Stored for [u8] {
    type Owned = Vec<u8>;

    const LEN: Option<usize> = None;

    fn describe(layout: &mut Layout) {
        layout.push("bytes");
    }

    #[inline(always)]
    fn stored_bytes(&self) -> &[u8] {
        self
    }

    fn copy_out(view: View<'_, u8>) -> Result<Vec<u8>> {
        view.to_vec()
    }

    fn of_word(_: u64) -> Result<Vec<u8>> {
        Err(invalid::<[u8]>())
    }
}

/// Copies a value of `len` bytes at offset `at` out of a segment.
///
/// Fails with `Invalid` if the bytes are no value of the type.
#[inline(always)]
pub(crate) fn copy_out<T: Stored + ?Sized>(memory: &Memory, at: u64, len: u64) -> Result<T::Owned> {
    match T::LEN {
        Some(0) => T::of_word(0),
        // By one load; what follows a shorter value is not used.
        Some(size @ 1..=8) if size as u64 == len => T::of_word(memory.load(at)?),
        _ => T::copy_out(memory.view(at, len)?),
    }
}

/// Copies a value of `len` bytes out of a block that was found at once, at offset `at` in the block's value. Returns
/// `None` for any error.
#[inline(always)]
pub(crate) fn copy_out_at_once<T: Stored + ?Sized>(
    memory: &Memory,
    glimpse: &mut Glimpse<'_, '_>,
    at: u64,
    len: u64,
) -> Option<T::Owned> {
    match T::LEN {
        Some(size @ 1..=8) if size as u64 == len => T::of_word(glimpse.word(at)?).ok(),
        _ => copy_long::<T>(memory, glimpse.value.at + at, len),
    }
}

/// Copies a value out that is not one word, apart from the straight code.
#[inline(never)]
fn copy_long<T: Stored + ?Sized>(memory: &Memory, at: u64, len: u64) -> Option<T::Owned> {
    copy_out::<T>(memory, at, len).ok()
}

/// Returns the text that describes a type, and is compared when an object is opened.
pub(crate) fn description<T: Stored + ?Sized>() -> String {
    let mut layout = Layout::default();
    T::describe(&mut layout);
    layout.into_text()
}

/// Returns `true` if all values of the type fit into a word.
pub(crate) const fn fits_word<T: Stored + ?Sized>() -> bool {
    matches!(T::LEN, Some(0..=8))
}

/// Returns the word of a value whose type fits into one.
#[inline(always)]
pub(crate) fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

#[cold]
fn invalid<T: ?Sized>() -> Error {
    Error::new(ErrorKind::Invalid, "read")
        .with_detail(format!("the bytes are no valid {}", std::any::type_name::<T>()))
}
