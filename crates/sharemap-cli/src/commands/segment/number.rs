//! The scalar types of values in a segment.

use crate::commands::hex::element::{json_f32, json_f64, shorter};
use serde_json::Value;

/// A scalar type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Number {
    /// An integer without a sign, of this many bytes.
    Unsigned(usize),
    /// An integer with a sign, of this many bytes.
    Signed(usize),
    F32,
    F64,
    Bool,
    Char,
}

/// The columns within which a float is printed in plain notation.
const FLOAT: usize = 24;

impl Number {
    /// Returns the type of this name.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "u8" => Self::Unsigned(1),
            "u16" => Self::Unsigned(2),
            "u32" => Self::Unsigned(4),
            "u64" => Self::Unsigned(8),
            "u128" => Self::Unsigned(16),
            "i8" => Self::Signed(1),
            "i16" => Self::Signed(2),
            "i32" => Self::Signed(4),
            "i64" => Self::Signed(8),
            "i128" => Self::Signed(16),
            "f32" => Self::F32,
            "f64" => Self::F64,
            "bool" => Self::Bool,
            "char" => Self::Char,
            _ => return None,
        })
    }

    /// Returns the number of bytes of a value.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Unsigned(size) | Self::Signed(size) => size,
            Self::F32 | Self::Char => 4,
            Self::F64 => 8,
            Self::Bool => 1,
        }
    }

    /// Returns the bits of a value of this size, extended by zeros. Segments are little-endian.
    fn bits(bytes: &[u8]) -> u128 {
        bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u128::from(*byte))
    }

    fn signed(bytes: &[u8]) -> i128 {
        let unused = 128 - 8 * bytes.len();
        (Self::bits(bytes) << unused) as i128 >> unused
    }

    /// Returns the value with these bytes, which are as many as the type has, as text.
    pub(super) fn text(self, bytes: &[u8]) -> Result<String, String> {
        let bits = Self::bits(bytes);
        Ok(match self {
            Self::Unsigned(_) => bits.to_string(),
            Self::Signed(_) => Self::signed(bytes).to_string(),
            Self::F32 => shorter(f32::from_bits(bits as u32), FLOAT),
            Self::F64 => shorter(f64::from_bits(bits as u64), FLOAT),
            Self::Bool => to_bool(bits)?.to_string(),
            Self::Char => to_char(bits)?.to_string(),
        })
    }

    /// Returns the value with these bytes as JSON, as [`text`](Self::text).
    pub(super) fn json(self, bytes: &[u8]) -> Result<Value, String> {
        let bits = Self::bits(bytes);
        Ok(match self {
            Self::Unsigned(16) | Self::Signed(16) | Self::Char => self.text(bytes)?.into(),
            Self::Unsigned(_) => (bits as u64).into(),
            Self::Signed(_) => (Self::signed(bytes) as i64).into(),
            Self::F32 => json_f32(f32::from_bits(bits as u32)),
            Self::F64 => json_f64(f64::from_bits(bits as u64)),
            Self::Bool => to_bool(bits)?.into(),
        })
    }

    /// Returns the bytes of the value that `text` states.
    pub(super) fn parse(self, text: &str) -> Result<Vec<u8>, String> {
        let refused = |what: &str| format!("{text:?} is not {what}");
        Ok(match self {
            Self::Unsigned(size) => {
                let found = match text.strip_prefix("0x") {
                    Some(digits) => u128::from_str_radix(digits, 16).ok(),
                    None => text.parse().ok(),
                };
                let most = u128::MAX >> (128 - 8 * size);
                let number = found.filter(|&number| number <= most);
                let what = format!("a whole number from 0 to {most}");
                number.ok_or_else(|| refused(&what))?.to_le_bytes()[..size].to_vec()
            }
            Self::Signed(size) => {
                let most = i128::MAX >> (128 - 8 * size);
                let found = text.parse::<i128>().ok();
                let number = found.filter(|number| (-most - 1..=most).contains(number));
                let what = format!("a whole number from {} to {most}", -most - 1);
                number.ok_or_else(|| refused(&what))?.to_le_bytes()[..size].to_vec()
            }
            Self::F32 => {
                let number = text.parse::<f32>().map_err(|_| refused("a number"))?;
                number.to_le_bytes().to_vec()
            }
            Self::F64 => {
                let number = text.parse::<f64>().map_err(|_| refused("a number"))?;
                number.to_le_bytes().to_vec()
            }
            Self::Bool => {
                let value = text.parse::<bool>().map_err(|_| refused("true or false"))?;
                vec![u8::from(value)]
            }
            Self::Char => {
                let value = text.parse::<char>().map_err(|_| refused("one character"))?;
                u32::from(value).to_le_bytes().to_vec()
            }
        })
    }
}

fn to_bool(bits: u128) -> Result<bool, String> {
    match bits {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(format!("a bool has the invalid value {bits}")),
    }
}

fn to_char(bits: u128) -> Result<char, String> {
    char::from_u32(bits as u32).ok_or_else(|| format!("a char has the invalid value {bits:#x}"))
}
