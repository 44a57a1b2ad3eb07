//! `#[derive(Shareable)]` and `#[derive(SharedType)]`, which `sharemap` exports with its feature `derive`,
//! on by default. Depend on that crate: the generated code names its items.

mod locks;
mod repr;
mod value;

use proc_macro::TokenStream;
use syn::{Data, DeriveInput, Error, Result};

use repr::Repr;

/// Implements `Shareable` for a value that a lock can guard.
///
/// A value is a struct with `#[repr(C)]` or `#[repr(transparent)]`, or an enum without fields and with the
/// `repr` of an integer of up to 64 bits. All fields must be `Shareable`: no `usize`, no pointers, no
/// references. An object records the offsets and types of the fields, not their names, so programs that
/// disagree on them cannot share an object. A lock also requires zerocopy's derives.
///
/// # Examples
/// ```
/// use sharemap::{Location, Mutex, Shareable, Shared};
/// use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};
///
/// #[derive(Clone, Copy, Shareable, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
/// #[repr(u32)]
/// enum Gear {
///     Park = 0,
///     Drive = 1,
/// }
///
/// #[derive(Clone, Copy, Shareable, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
/// #[repr(C)]
/// struct Car {
///     gear: Gear,
///     speed: f32,
/// }
///
/// # fn main() -> sharemap::Result<()> {
/// let first = Car { gear: Gear::Park, speed: 0.0 };
/// let car = Shared::create_new(Location::anonymous(), || Mutex::new(first))?;
/// let mut driver = car.lock()?;
/// driver.gear = Gear::Drive;
/// driver.speed = 13.9;
/// # Ok(()) }
/// ```
#[proc_macro_derive(Shareable)]
pub fn shareable(input: TokenStream) -> TokenStream {
    expand(input, value)
}

/// Implements `SharedType` for a struct of locks, so that `Shared` can hold it.
///
/// The struct has named fields and no `repr`. Each field is a lock, or a tuple, array or struct of locks.
/// The struct's value is the initial state of an object. The locks themselves are accessed through a second
/// struct, which this derive defines: it has the name with `Handle` appended, the same visibility, and a
/// method for each field, as visible as the field.
///
/// A field must not be called `cancel`, `file`, `is_linked` or `resume`: `Shared` has methods of these
/// names, which would be called instead.
///
/// The fields' names are not recorded in an object. A program can open it as any struct or tuple of the same
/// locks in the same order.
///
/// # Examples
/// ```
/// use sharemap::{Event, Location, Mutex, Shared, SharedType};
///
/// #[derive(SharedType, Default)]
/// struct State {
///     /// The number of waiting jobs.
///     jobs: Mutex<u32>,
///     ready: Event,
/// }
///
/// # fn main() -> sharemap::Result<()> {
/// let state = Shared::open_or_create(Location::anonymous(), State::default)?;
/// *state.jobs().lock()? += 1;
/// state.ready().set()?;
/// let handle: &StateHandle = &state;
/// assert!(handle.ready().is_set()?);
/// # Ok(()) }
/// ```
#[proc_macro_derive(SharedType)]
pub fn shared_type(input: TokenStream) -> TokenStream {
    expand(input, locks)
}

/// Runs a derive, and converts its error into a compile error.
fn expand(
    input: TokenStream,
    derive: fn(&DeriveInput) -> Result<proc_macro2::TokenStream>,
) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    derive(&input).unwrap_or_else(Error::into_compile_error).into()
}

/// Derives `Shareable`.
fn value(input: &DeriveInput) -> Result<proc_macro2::TokenStream> {
    let error = |text| Err(Error::new_spanned(&input.ident, text));
    match (&input.data, Repr::of(input)?) {
        (Data::Struct(data), Repr::C) => Ok(value::structure(input, &data.fields)),
        (Data::Struct(data), Repr::Transparent) => value::transparent(input, &data.fields),
        (Data::Enum(data), Repr::Integer(integer)) => value::choice(input, data, &integer),
        (Data::Struct(_), Repr::Rust) => error(
            "the layout of the fields is not fixed; add `#[repr(C)]` to a value, or derive `SharedType` for \
             a struct of locks",
        ),
        (Data::Struct(_), Repr::Integer(_)) => {
            error("the layout of the fields is not fixed; replace the `repr` with `#[repr(C)]`")
        }
        (Data::Enum(_), _) => error(
            "the size of the enum is not fixed; add `#[repr(u8)]`, or another integer of up to 64 bits but \
             not `usize` or `isize`",
        ),
        (Data::Union(_), _) => error(
            "the active field of a union is unknown to other processes; use a struct, or an array of bytes",
        ),
    }
}

/// Derives `SharedType`.
fn locks(input: &DeriveInput) -> Result<proc_macro2::TokenStream> {
    let error = |text| Err(Error::new_spanned(&input.ident, text));
    match (&input.data, Repr::of(input)?) {
        (Data::Struct(data), Repr::Rust) => locks::structure(input, &data.fields),
        (Data::Struct(_), _) => error(
            "a struct of locks has no `repr`; remove it, or derive `Shareable` for a value that a lock guards",
        ),
        _ => error("only structs can hold locks; use a struct with a named field for each lock"),
    }
}
