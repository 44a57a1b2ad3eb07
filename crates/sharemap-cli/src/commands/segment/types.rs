//! The types of values in a segment, as their descriptions state them, and the text and JSON of their bytes.

use super::number::Number;
use serde_json::Value;
use std::fmt::Write;

/// The type of a value whose bytes this command can print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Type {
    Unit,
    Number(Number),
    /// An integer of which only these values are valid.
    Choice(Number, Vec<i128>),
    /// An array of elements that have at least one byte.
    Array(Box<Type>, usize),
    /// A struct or an offset, of this many bytes. It is printed in hexadecimal.
    Opaque(usize),
    Str,
    Bytes,
}

/// The most levels of a description. A description comes from the segment, which another program may have written.
const DEPTH: usize = 16;

impl Type {
    /// Returns the type of a description such as `u64`, `[f32;3]`, `str` or `{0:u64,8:f64,}16`. `None` if it is
    /// malformed, or describes values that this command cannot print.
    pub(in crate::commands) fn of(description: &str) -> Option<Self> {
        match description {
            "str" => Some(Self::Str),
            "bytes" => Some(Self::Bytes),
            _ => match Self::parse_fixed(description, DEPTH)? {
                (found, "") => Some(found),
                _ => None,
            },
        }
    }

    /// Parses the description of a type of fixed length at the beginning of `text`. Returns the rest, too.
    fn parse_fixed(text: &str, depth: usize) -> Option<(Self, &str)> {
        let depth = depth.checked_sub(1)?;
        if let Some(rest) = text.strip_prefix('[') {
            let (element, rest) = Self::parse_fixed(rest, depth)?;
            let (count, rest) = rest.strip_prefix(';')?.split_once(']')?;
            let count = count.parse().ok()?;
            let found = Self::Array(Box::new(element), count);
            return (found.size()? > 0).then_some((found, rest));
        }
        if let Some(mut rest) = text.strip_prefix('{') {
            while !rest.starts_with('}') {
                let (offset, field) = rest.split_once(':')?;
                offset.parse::<usize>().ok()?;
                rest = Self::parse_fixed(field, depth)?.1.strip_prefix(',')?;
            }
            let rest = &rest[1..];
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let size = rest[..end].parse().ok()?;
            return Some((Self::Opaque(size), &rest[end..]));
        }
        if let Some(rest) = text.strip_prefix("()") {
            return Some((Self::Unit, rest));
        }
        if let Some(rest) = text.strip_prefix("offset") {
            return Some((Self::Opaque(size_of::<u64>()), rest));
        }
        let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
        let (number, rest) = (Number::of(&text[..end])?, &text[end..]);
        let Some(rest) = rest.strip_prefix('<') else {
            return Some((Self::Number(number), rest));
        };
        let (values, rest) = rest.split_once('>')?;
        let values = values.split_terminator(',').map(|value| value.parse().ok());
        Some((Self::Choice(number, values.collect::<Option<_>>()?), rest))
    }

    /// Returns the number of bytes of each value; `None` if it differs between values.
    pub(super) fn size(&self) -> Option<usize> {
        match self {
            Self::Unit => Some(0),
            Self::Number(number) | Self::Choice(number, _) => Some(number.size()),
            Self::Array(element, count) => element.size()?.checked_mul(*count),
            Self::Opaque(size) => Some(*size),
            Self::Str | Self::Bytes => None,
        }
    }

    /// Returns the value with these bytes as text.
    pub(in crate::commands) fn text(&self, bytes: &[u8]) -> Result<String, String> {
        self.has_size_of(bytes)?;
        match self {
            Self::Unit => Ok("()".into()),
            Self::Number(number) | Self::Choice(number, _) => number.text(bytes),
            Self::Array(element, _) => {
                let size = element.size().unwrap_or(1);
                let elements: Result<Vec<_>, _> =
                    bytes.chunks(size).map(|element_bytes| element.text(element_bytes)).collect();
                Ok(format!("[{}]", elements?.join(", ")))
            }
            Self::Opaque(_) | Self::Bytes => Ok(hex(bytes)),
            Self::Str => utf8(bytes).map(str::to_owned),
        }
    }

    /// Returns the value with these bytes as JSON. Integers of 128 bits, bytes and structs are strings, as in text;
    /// so are the floats that JSON lacks.
    pub(in crate::commands) fn json(&self, bytes: &[u8]) -> Result<Value, String> {
        self.has_size_of(bytes)?;
        match self {
            Self::Unit => Ok(Value::Null),
            Self::Number(number) | Self::Choice(number, _) => number.json(bytes),
            Self::Array(element, _) => {
                let size = element.size().unwrap_or(1);
                bytes.chunks(size).map(|element_bytes| element.json(element_bytes)).collect()
            }
            Self::Opaque(_) | Self::Bytes | Self::Str => self.text(bytes).map(Value::String),
        }
    }

    /// Returns the bytes of the value that `text` states.
    pub(in crate::commands) fn parse(&self, text: &str) -> Result<Vec<u8>, String> {
        match self {
            Self::Unit if text == "()" => Ok(Vec::new()),
            Self::Unit => Err(format!("{text:?} is not ()")),
            Self::Number(number) => number.parse(text),
            Self::Choice(number, values) => {
                let bytes = number.parse(text)?;
                let is_one = values
                    .iter()
                    .any(|value| number.parse(&value.to_string()).as_ref() == Ok(&bytes));
                match is_one {
                    true => Ok(bytes),
                    false => Err(format!("{text} is not one of the values of the type")),
                }
            }
            Self::Array(element, count) => {
                let inner = text.trim().strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                let inner = inner.ok_or("expected an array, as in [1, 2, 3]")?;
                let elements = split(inner);
                if elements.len() != *count {
                    return Err(format!("expected {count} elements, found {}", elements.len()));
                }
                let mut bytes = Vec::new();
                for text in elements {
                    bytes.extend(element.parse(text)?);
                }
                Ok(bytes)
            }
            Self::Opaque(_) => Err("this command does not write structs and offsets".into()),
            Self::Str => Ok(text.as_bytes().to_vec()),
            Self::Bytes => unhex(text),
        }
    }

    fn has_size_of(&self, bytes: &[u8]) -> Result<(), String> {
        match self.size() {
            Some(size) if size != bytes.len() => {
                Err(format!("a value has {} bytes instead of {size}", bytes.len()))
            }
            _ => Ok(()),
        }
    }
}

/// The types of a map's keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Entries {
    pub(in crate::commands) key: Type,
    pub(in crate::commands) value: Type,
}

impl Entries {
    /// Returns the types that a description such as `map<str,u64>` names. `None` as for [`Type::of`].
    pub(in crate::commands) fn of(description: &str) -> Option<Self> {
        let (key, value) = Self::split(description)?;
        Some(Self { key: Type::of(key)?, value: Type::of(value)? })
    }

    /// Returns the descriptions of the keys and of the values of a map.
    fn split(description: &str) -> Option<(&str, &str)> {
        let inner = description.strip_prefix("map<")?.strip_suffix('>')?;
        let mut depth = 0_usize;
        for (at, c) in inner.char_indices() {
            match c {
                '<' | '[' | '{' => depth += 1,
                '>' | ']' | '}' => depth = depth.checked_sub(1)?,
                ',' if depth == 0 => return Some((&inner[..at], &inner[at + 1..])),
                _ => {}
            }
        }
        None
    }
}

/// Splits the text of an array's elements at the commas outside of inner arrays.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_i64, 0);
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() || !parts.is_empty() {
        parts.push(last);
    }
    parts
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes)
        .map_err(|_| format!("a str is not UTF-8; its bytes are {}", hex(bytes)))
}

/// Returns two hexadecimal digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<_>> = text.chars().map(|c| c.to_digit(16)).collect();
    match digits.as_deref().map(<[u32]>::as_chunks) {
        Some((pairs, [])) => Ok(pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect()),
        _ => Err(format!("{text:?} is not bytes: expected two hexadecimal digits for each byte")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(description: &str) -> Type {
        Type::of(description).unwrap_or_else(|| panic!("{description}"))
    }

    #[test]
    fn values_are_the_text_that_they_were_parsed_from() {
        for (description, text) in [
            ("u8", "255"),
            ("i8", "-128"),
            ("u64", "18446744073709551615"),
            ("i64", "-9223372036854775808"),
            ("u128", "340282366920938463463374607431768211455"),
            ("i128", "-170141183460469231731687303715884105728"),
            ("f32", "0.1"),
            ("f64", "-1.5"),
            ("f64", "NaN"),
            ("bool", "true"),
            ("char", "ä"),
            ("[u8;4]", "[1, 2, 3, 4]"),
            ("[[i16;2];2]", "[[1, -2], [3, 4]]"),
            ("i16<-1,3,4,>", "-1"),
            ("str", "a, [b"),
            ("str", ""),
            ("()", "()"),
            ("bytes", "00ff"),
            ("bytes", ""),
        ] {
            let found = of(description);
            let bytes = found.parse(text).unwrap();
            assert_eq!(found.text(&bytes).as_deref(), Ok(text), "{description}");
            found.json(&bytes).unwrap();
        }
    }

    #[test]
    fn values_of_another_type_are_refused() {
        for (description, text) in [
            ("u8", "256"),
            ("u8", "-1"),
            ("i8", "128"),
            ("i8", "-129"),
            ("u64", "0x"),
            ("u128", "340282366920938463463374607431768211456"),
            ("f64", "one"),
            ("bool", "1"),
            ("char", "ab"),
            ("char", ""),
            ("[u8;2]", "[1]"),
            ("[u8;2]", "1, 2"),
            ("[u8;2]", "[1, 2,]"),
            ("u8<1,2,>", "3"),
            ("bytes", "0"),
            ("bytes", "0g"),
            ("{0:u64,}8", "0000000000000000"),
            ("offset", "0000000000000000"),
        ] {
            assert!(of(description).parse(text).is_err(), "{description}: {text}");
        }
    }

    #[test]
    fn bytes_that_are_no_value_are_refused() {
        assert!(of("bool").text(&[7]).is_err());
        assert!(of("char").json(&0xd800_u32.to_le_bytes()).is_err());
        assert!(of("str").text(b"\xff").unwrap_err().contains("ff"));
        assert!(of("u64").text(&[1, 2]).unwrap_err().contains("2 bytes instead of 8"));
    }

    #[test]
    fn offsets_and_structs_are_hexadecimal() {
        assert_eq!(of("offset").text(&[1; 8]).as_deref(), Ok("0101010101010101"));
        assert_eq!(of("{0:offset,8:u64,}16"), Type::Opaque(16));
        assert_eq!(
            of("[offset;2]").text(&[0; 16]).as_deref(),
            Ok("[0000000000000000, 0000000000000000]")
        );
    }

    #[test]
    fn json_is_exact() {
        let json = |description: &str, text: &str| {
            let found = of(description);
            found.json(&found.parse(text).unwrap()).unwrap()
        };
        assert_eq!(json("u64", "18446744073709551615"), Value::from(u64::MAX));
        assert_eq!(json("i64", "-1"), Value::from(-1));
        assert_eq!(json("u128", "1"), Value::from("1"));
        assert_eq!(json("f32", "0.1"), Value::from(0.1));
        assert_eq!(json("f64", "inf"), Value::from("inf"));
        assert_eq!(json("[bool;2]", "[true, false]"), Value::from(vec![true, false]));
        assert_eq!(json("bytes", "c0de"), Value::from("c0de"));
        let place = of("{0:u64,8:[f32;2],16:i16<-1,3,4,>,18:bool,19:[u8;5],}24");
        assert_eq!(place, Type::Opaque(24));
        assert_eq!(place.json(&[1; 24]), Ok(Value::from("01".repeat(24))));
    }

    /// A description comes from the segment.
    #[test]
    fn malformed_descriptions_have_no_type() {
        for description in [
            "",
            "u7",
            "usize",
            "u64 ",
            "[u8]",
            "[u8;]",
            "[u8;0]",
            "[();9]",
            "[str;2]",
            "[u8;2",
            "{0:u8,}",
            "{0:u8}1",
            "{x:u8,}1",
            "u8<1,",
            "u8<x,>",
            "map<u8,u8>",
            "[u8;99999999999999999999]",
            "[[u8;9223372036854775807];9]",
        ] {
            assert_eq!(Type::of(description), None, "{description}");
        }
        let deep = format!("{}u8{}", "[".repeat(100_000), ";1]".repeat(100_000));
        assert_eq!(Type::of(&deep), None);
    }

    #[test]
    fn maps_have_two_types() {
        let entries = Entries::of("map<str,u64>").unwrap();
        assert_eq!(entries, Entries { key: Type::Str, value: of("u64") });
        let entries = Entries::of("map<u8<1,2,>,[{0:u8,1:u8,}2;3]>").unwrap();
        assert_eq!(entries.value, Type::Array(Box::new(Type::Opaque(2)), 3));
        for description in
            ["map<>", "map<u8>", "map<u8,>", "map<u8,u8", "u8,u8", "map<u8>>,u8>", "map<u8,u8,u8>"]
        {
            assert_eq!(Entries::of(description), None, "{description}");
        }
    }
}
