//! `#[derive(Shareable)]`, which `sharemap` exports with its feature `derive`, on by default. Depend on
//! that crate: what is generated here is written for it.

mod locks;
mod repr;
mod value;

use proc_macro::TokenStream;
use syn::{Data, DeriveInput, Error, Result};

use repr::Repr;

/// Makes a type one that processes share: a *value* that a lock guards, or a *struct of locks*. The
/// type's `repr` tells which.
///
/// # Values
///
/// A struct with `#[repr(C)]` or `#[repr(transparent)]`, or an enum without fields and with an
/// integer's `repr`, is a value. All its fields are values themselves: no `usize`, no pointers, no
/// references. What its type is described by, so that programs that disagree do not share an object,
/// are the offsets and types of its fields, not their names. A lock also asks for zerocopy's derives.
///
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
///
/// # Structs of locks
///
/// A struct without a `repr`, with names for its fields, is made of locks, or of tuples, arrays and
/// structs of them. It says how they are to begin. Used they are through a struct that this makes, as
/// visible as the first, and named as it is with `Handle` behind: it has a method for each field,
/// as visible as the field. No field is called `cancel`, `file`, `is_linked` or `resume`, as `Shared` has
/// methods of these names, which would be called instead.
///
/// ```
/// use sharemap::{Event, Location, Mutex, Shareable, Shared};
///
/// #[derive(Shareable, Default)]
/// struct State {
///     /// How many wait to be done.
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
///
/// To another program, the same locks in the same order are the same type, whatever their names, be
/// it a struct or a tuple.
#[proc_macro_derive(Shareable)]
pub fn shareable(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> Result<proc_macro2::TokenStream> {
    match (&input.data, Repr::of(input)?) {
        (Data::Struct(data), Repr::C) => Ok(value::structure(input, &data.fields)),
        (Data::Struct(data), Repr::Transparent) => value::transparent(input, &data.fields),
        (Data::Struct(data), Repr::Rust) => locks::structure(input, &data.fields),
        (Data::Enum(data), Repr::Integer(integer)) => value::choice(input, data, &integer),
        (Data::Struct(_), Repr::Integer(_)) => Err(Error::new_spanned(
            &input.ident,
            "a struct's fields have an order with `#[repr(C)]`",
        )),
        (Data::Enum(_), _) => Err(Error::new_spanned(
            &input.ident,
            "an enum that processes share says how large it is: `#[repr(u8)]`, or another integer of \
             up to 64 bits, but not `usize` or `isize`",
        )),
        (Data::Union(_), _) => Err(Error::new_spanned(
            &input.ident,
            "nothing tells which field of a union is meant: share a struct, or an array of bytes",
        )),
    }
}
