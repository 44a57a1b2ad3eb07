//! Text for people, in which only this program's own styles act on a terminal.
//!
//! Names, paths, process names and errors are untrusted data. Every function that prints takes a
//! [`Text`]. Data is escaped when it becomes a `Text`, and only styles are added afterwards.

use console::Style;
use std::ffi::OsStr;
use std::fmt::{Display, Write};
use std::ops::Add;

/// A line of text for a terminal: escaped data, in styles of this program.
///
/// `Text` has no `Display`, so it cannot be formatted into a string and escaped twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(String);

impl Text {
    /// Escapes `data` and applies a style.
    pub(crate) fn styled(style: &Style, data: impl Display) -> Self {
        Self(style.apply_to(escape(data)).to_string())
    }

    /// Returns the width in columns.
    pub(crate) fn width(&self) -> usize {
        console::measure_text_width(&self.0)
    }

    /// Adds spaces up to `width` columns.
    pub(crate) fn padded(mut self, width: usize) -> Self {
        let spaces = width.saturating_sub(self.width());
        self.0.extend(std::iter::repeat_n(' ', spaces));
        self
    }

    /// Breaks the text between words into lines of at most `width` columns.
    pub(crate) fn wrapped(&self, width: usize) -> Vec<&str> {
        if self.width() <= width {
            return vec![&self.0];
        }
        let mut lines: Vec<&str> = Vec::new();
        let mut line = 0..0;
        for word in self.0.split_whitespace() {
            let from = word.as_ptr().addr() - self.0.as_ptr().addr();
            let end = from + word.len();
            if !line.is_empty() && console::measure_text_width(&self.0[line.start..end]) > width {
                lines.push(&self.0[line.clone()]);
                line.start = from;
            } else if line.is_empty() {
                line.start = from;
            }
            line.end = end;
        }
        lines.push(&self.0[line]);
        lines
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Display> From<T> for Text {
    fn from(data: T) -> Self {
        Self(escape(data))
    }
}

impl<T: Into<Text>> Add<T> for Text {
    type Output = Self;

    fn add(mut self, more: T) -> Self {
        self.0 += &more.into().0;
        self
    }
}

impl FromIterator<Text> for Text {
    fn from_iter<I: IntoIterator<Item = Text>>(parts: I) -> Self {
        Self(parts.into_iter().map(|part| part.0).collect())
    }
}

/// Writes characters that act on a terminal as `\n`, `\r`, `\t`, `\x1b` or `\u{202e}`.
pub(crate) fn escape(data: impl Display) -> String {
    let data = data.to_string();
    let mut text = String::with_capacity(data.len());
    for c in data.chars() {
        // Writing to a `String` cannot fail.
        let _ = match c {
            '\n' => text.write_str("\\n"),
            '\r' => text.write_str("\\r"),
            '\t' => text.write_str("\\t"),
            '\0'..='\x7f' if is_active(c) => write!(text, "\\x{:02x}", u32::from(c)),
            c if is_active(c) => write!(text, "\\u{{{:x}}}", u32::from(c)),
            c => text.write_char(c),
        };
    }
    text
}

/// Returns `true` if `c` moves the cursor, changes the order of the text, or begins a command to the
/// terminal: C0, DEL, C1, the marks, embeddings, overrides and isolates of bidirectional text, and
/// the separators of lines and paragraphs.
pub(crate) fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{206f}'
                | '\u{feff}'
        )
}

/// Returns a name or path as a string, with a `\xff` for each byte that is not UTF-8, so that
/// different names stay different, in JSON too.
pub(crate) fn lossless(name: impl AsRef<OsStr>) -> String {
    lossless_bytes(name.as_ref().as_encoded_bytes())
}

/// Returns a name given as bytes like [`lossless`].
pub(crate) fn lossless_bytes(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        text += chunk.valid();
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_control_characters_are_escaped() {
        let title = "a\n\t\r\u{1b}]0;title\u{7}\u{7f}";
        assert_eq!(escape(title), r"a\n\t\r\x1b]0;title\x07\x7f");
        assert_eq!(
            escape("\u{9b}31m\u{202e}x\u{2069}\u{61c}"),
            r"\u{9b}31m\u{202e}x\u{2069}\u{61c}"
        );
        assert_eq!(escape("ordinary: ä ✓ \\ אב"), "ordinary: ä ✓ \\ אב");
        let active = (0..=0x10_ffff).filter_map(char::from_u32).filter(|&c| is_active(c));
        assert!(escape(active.collect::<String>()).chars().all(|c| c.is_ascii_graphic()));
    }

    #[test]
    fn styles_are_put_around_data_and_never_come_from_it() {
        let red = Style::new().red().force_styling(true);
        let text = Text::styled(&red, "\u{1b}[32mgreen") + " and \u{1b}[1m";
        assert_eq!(text.as_str(), "\u{1b}[31m\\x1b[32mgreen\u{1b}[0m and \\x1b[1m");
        assert_eq!(text.width(), r"\x1b[32mgreen and \x1b[1m".len());
        assert_eq!(Text::from("ab").padded(4).as_str(), "ab  ");
    }

    #[test]
    fn names_keep_bytes_that_are_not_utf_8() {
        assert_eq!(lossless("ä\n"), "ä\n");
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            assert_eq!(lossless(OsStr::from_bytes(b"a\x9bb\xe2\x80\xff")), r"a\x9bb\xe2\x80\xff");
        }
    }

    #[test]
    fn long_lines_are_broken_between_words() {
        let wrap = |text: &str, width| {
            Text::from(text).wrapped(width).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(wrap("a  table   stays", 16), ["a  table   stays"]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one two three", 6), ["one", "two", "three"]);
        assert_eq!(wrap("unbreakable", 3), ["unbreakable"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(wrap("     ", 3), [""]);
    }
}
