//! Parses the `repr` of a type.

use syn::{DeriveInput, Ident, LitInt, Result, parenthesized, token};

/// The representation of a type.
pub(crate) enum Repr {
    /// No `repr`, or a `repr` that leaves the order of fields open.
    Rust,
    C,
    Transparent,
    /// An integer of the same size on all platforms.
    Integer(Ident),
}

const INTEGERS: [&str; 8] = ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"];

impl Repr {
    /// Returns the representation of the type that `input` defines.
    pub(crate) fn of(input: &DeriveInput) -> Result<Self> {
        let mut repr = Self::Rust;
        for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("repr")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("C") {
                    // In `repr(C, u8)` the integer decides.
                    if !matches!(repr, Self::Integer(_)) {
                        repr = Self::C;
                    }
                } else if meta.path.is_ident("transparent") {
                    repr = Self::Transparent;
                } else if let Some(name) = meta.path.get_ident() {
                    if INTEGERS.iter().any(|integer| name == integer) {
                        repr = Self::Integer(name.clone());
                    }
                }
                if meta.input.peek(token::Paren) {
                    // `align(16)`, `packed(2)`: the described offsets reflect them.
                    let number;
                    parenthesized!(number in meta.input);
                    number.parse::<LitInt>()?;
                }
                Ok(())
            })?;
        }
        Ok(repr)
    }
}
