//! The types of numbers that a listing can show.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Type {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Endian {
    /// Little-endian: the lowest byte first.
    #[value(alias = "little")]
    Le,
    /// Big-endian: the highest byte first.
    #[value(alias = "big")]
    Be,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    pub(super) kind: Type,
    pub(super) endian: Endian,
}

impl Element {
    /// Returns the size of the type in bytes.
    pub(super) fn width(self) -> usize {
        match self.kind {
            Type::U8 | Type::I8 => 1,
            Type::U16 | Type::I16 => 2,
            Type::U32 | Type::I32 | Type::F32 => 4,
            Type::U64 | Type::I64 | Type::F64 => 8,
        }
    }

    /// Returns the width in columns of the longest value of the type.
    pub(super) fn columns(self) -> usize {
        match self.kind {
            Type::U8 => 2,
            Type::I8 => 4,
            Type::U16 => 5,
            Type::I16 => 6,
            Type::U32 => 10,
            Type::I32 => 11,
            Type::F32 => 14,
            Type::U64 | Type::I64 => 20,
            Type::F64 => 23,
        }
    }

    /// Returns the number as JSON. NaN and infinities, which JSON lacks, become strings.
    pub(super) fn json(self, bytes: &[u8]) -> Value {
        match self.kind {
            Type::U8 | Type::U16 | Type::U32 | Type::U64 => self.bits(bytes).into(),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => self.signed(bytes).into(),
            Type::F32 => json_f32(f32::from_bits(self.bits(bytes) as u32)),
            Type::F64 => json_f64(f64::from_bits(self.bits(bytes))),
        }
    }

    /// Returns the number as text: `u8` in hexadecimal, other types in decimal.
    pub(super) fn text(self, bytes: &[u8]) -> String {
        match self.kind {
            Type::U8 => format!("{:02x}", bytes[0]),
            Type::U16 | Type::U32 | Type::U64 => self.bits(bytes).to_string(),
            Type::I8 | Type::I16 | Type::I32 | Type::I64 => self.signed(bytes).to_string(),
            Type::F32 => shorter(f32::from_bits(self.bits(bytes) as u32), self.columns()),
            Type::F64 => shorter(f64::from_bits(self.bits(bytes)), self.columns()),
        }
    }

    fn bits(self, bytes: &[u8]) -> u64 {
        let push = |bits, byte: &u8| bits << 8 | u64::from(*byte);
        match self.endian {
            Endian::Le => bytes.iter().rev().fold(0, push),
            Endian::Be => bytes.iter().fold(0, push),
        }
    }

    fn signed(self, bytes: &[u8]) -> i64 {
        let unused = 64 - 8 * self.width();
        (self.bits(bytes) << unused) as i64 >> unused
    }
}

/// Returns a float as JSON, with the shortest digits that read back as this `f32`. NaN and infinities become
/// strings.
pub(in crate::commands) fn json_f32(value: f32) -> Value {
    let text = value.to_string();
    let number = text.parse().ok().and_then(serde_json::Number::from_f64);
    number.map_or(Value::String(text), Value::Number)
}

/// Returns a float as JSON. NaN and infinities become strings.
pub(in crate::commands) fn json_f64(value: f64) -> Value {
    let number = serde_json::Number::from_f64(value);
    number.map_or_else(|| Value::String(value.to_string()), Value::Number)
}

/// Formats a value in plain notation if it fits into `columns`, else with an exponent.
pub(in crate::commands) fn shorter(
    value: impl std::fmt::Display + std::fmt::LowerExp,
    columns: usize,
) -> String {
    let plain = value.to_string();
    if plain.len() <= columns { plain } else { format!("{value:e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_both_byte_orders() {
        let text = |kind, endian, bytes: &[u8]| Element { kind, endian }.text(bytes);
        assert_eq!(text(Type::U8, Endian::Le, &[0xa5]), "a5");
        assert_eq!(text(Type::I8, Endian::Le, &[0xff]), "-1");
        assert_eq!(text(Type::U16, Endian::Le, &[1, 2]), "513");
        assert_eq!(text(Type::U16, Endian::Be, &[1, 2]), "258");
        assert_eq!(text(Type::I16, Endian::Be, &[0x80, 0]), "-32768");
        assert_eq!(text(Type::I64, Endian::Le, &[0xff; 8]), "-1");
        assert_eq!(text(Type::U64, Endian::Le, &[0xff; 8]), u64::MAX.to_string());
        assert_eq!(text(Type::F32, Endian::Le, &1.5f32.to_le_bytes()), "1.5");
        assert_eq!(text(Type::F32, Endian::Be, &1e30f32.to_be_bytes()), "1e30");
        assert_eq!(text(Type::F64, Endian::Le, &0.1f64.to_le_bytes()), "0.1");
    }

    #[test]
    fn longest_values_fit_their_columns() {
        for value in [f32::MIN_POSITIVE, f32::MIN, -f32::from_bits(1), 1.0 / 3.0] {
            let element = Element { kind: Type::F32, endian: Endian::Le };
            let text = element.text(&value.to_le_bytes());
            assert!(text.len() <= element.columns(), "{text}");
        }
        for value in [f64::MIN_POSITIVE, -f64::MAX, -f64::from_bits(1), -1.0 / 3.0] {
            let element = Element { kind: Type::F64, endian: Endian::Le };
            let text = element.text(&value.to_le_bytes());
            assert!(text.len() <= element.columns() + 1, "{text}");
        }
    }

    #[test]
    fn json_has_strings_only_for_nan_and_infinities() {
        let json = |kind, bytes: &[u8]| Element { kind, endian: Endian::Le }.json(bytes);
        assert_eq!(json(Type::U64, &[0xff; 8]), Value::from(u64::MAX));
        assert_eq!(json(Type::F32, &0.1f32.to_le_bytes()), Value::from(0.1));
        assert_eq!(json(Type::F32, &f32::NAN.to_le_bytes()), Value::from("NaN"));
        assert_eq!(json(Type::F64, &f64::NEG_INFINITY.to_le_bytes()), Value::from("-inf"));
    }
}
