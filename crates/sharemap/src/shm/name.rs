//! The names of shared objects: one set of valid names for all systems.

use crate::error::{Error, ErrorKind, Result};

/// The longest name in bytes. File names have up to 255 bytes; the rest is for prefixes and suffixes of
/// the backends.
pub(crate) const LONGEST: usize = 200;

/// Returns `name` if it is valid on every system: 1 to 200 of the characters `A`–`Z`, `a`–`z`,
/// `0`–`9`, `.`, `_` and `-`, the first not a dot.
pub(crate) fn checked(name: &str) -> Result<&str> {
    let error = |kind| Error::new(kind, "use the name").with_path(Some(std::path::Path::new(name)));
    if name.is_empty() {
        return Err(error(ErrorKind::NameEmpty));
    }
    if name.len() > LONGEST {
        return Err(error(ErrorKind::NameTooLong)
            .with_length(name.len() as u64)
            .with_detail(format!("names have at most {LONGEST} bytes")));
    }
    let portable = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if let Some(at) = name.bytes().position(|byte| !portable(byte)) {
        let error = error(ErrorKind::NameCharacter).with_field_offset(at as u64);
        return Err(match name.as_bytes()[at] {
            b'/' | b'\\' if at == 0 => error.with_detail("leave the leading separator off"),
            b'/' | b'\\' => error.with_detail("for an object in a file, use `Location::file`"),
            _ => error.with_detail("use only A-Z, a-z, 0-9, '.', '_' and '-'"),
        });
    }
    if name.starts_with('.') {
        return Err(error(ErrorKind::NameCharacter)
            .with_field_offset(0)
            .with_detail("a leading dot is reserved for objects that are being created"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portable_names_are_valid() {
        let longest = "x".repeat(LONGEST);
        for name in ["a", "jobs", "psm_1f2e3d", "PostgreSQL.12-3", "a..b", "-", "_", &longest] {
            assert_eq!(checked(name).unwrap(), name);
        }
    }

    #[test]
    fn errors_name_the_position_and_the_remedy() {
        let kind = |name: &str| checked(name).unwrap_err().kind();
        assert_eq!(kind(""), ErrorKind::NameEmpty);
        assert_eq!(kind(&"x".repeat(LONGEST + 1)), ErrorKind::NameTooLong);
        for (name, at) in [
            ("/jobs", 0),
            ("a/b", 1),
            ("a\\b", 1),
            ("Local\\a", 5),
            ("a b", 1),
            ("a\0", 1),
            ("é", 0),
            ("ab:", 2),
            (".hidden", 0),
            ("..", 0),
        ] {
            let error = checked(name).unwrap_err();
            assert_eq!(
                (error.kind(), error.offset()),
                (ErrorKind::NameCharacter, Some(at)),
                "{name}"
            );
        }
        let text = |name| checked(name).unwrap_err().to_string();
        assert!(text("/jobs").contains("leave the leading separator off"));
        assert!(text("a/b").contains("Location::file"));
        assert!(text("a b").contains("portable"));
    }
}
