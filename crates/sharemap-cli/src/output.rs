//! Standard output: text for people, or one JSON object.

use crate::failure::Failure;
use crate::text::{Text, is_active};
use clap::ColorChoice;
use console::Style;
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

/// The version of every JSON object; docs/json.md states what it covers.
const VERSION: u32 = 2;

/// The standard output of a command.
pub(crate) struct Output {
    command: &'static str,
    json: bool,
    to: BufWriter<Stdout>,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    version: u32,
    command: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

impl Output {
    #[allow(clippy::disallowed_methods, reason = "this is how it prints")]
    pub(crate) fn new(command: &'static str, json: bool) -> Self {
        let to = BufWriter::with_capacity(64 << 10, io::stdout());
        Self { command, json, to }
    }

    /// Returns `true` if the output is JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Returns `true` if standard output is a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.to.get_ref().is_terminal()
    }

    /// Prints bytes unescaped: file contents, scripts, or JSON in pieces.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.to.write_all(bytes).map_err(printing)
    }

    /// Prints a line of text.
    pub(crate) fn line(&mut self, line: impl Into<Text>) -> Result<(), Failure> {
        writeln!(self.to, "{}", line.into().as_str()).map_err(printing)
    }

    /// Prints `label  value`, with the labels in one column.
    pub(crate) fn field(&mut self, label: &str, value: impl Into<Text>) -> Result<(), Failure> {
        self.paragraph(Text::styled(&Style::new().dim(), format!("  {label:<13}")), value)
    }

    /// Prints `text` after `label`. On a terminal, lines break at the edge and are indented like
    /// the first.
    pub(crate) fn paragraph(
        &mut self,
        label: impl Into<Text>,
        text: impl Into<Text>,
    ) -> Result<(), Failure> {
        let mut label = label.into();
        let indent = label.width();
        let width = match self.to.get_ref().is_terminal() {
            true => usize::from(console::Term::stdout().size().1).saturating_sub(indent).max(30),
            false => usize::MAX,
        };
        for line in text.into().wrapped(width) {
            writeln!(self.to, "{}{line}", label.as_str()).map_err(printing)?;
            label = Text::default().padded(indent);
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(printing)
    }

    /// Prints the command's one JSON object: the version, the command's name, and `body`.
    pub(crate) fn object(&mut self, body: &impl Serialize) -> Result<(), Failure> {
        let text = self.envelope(body)?;
        self.json_line(&text)
    }

    fn envelope(&self, body: &impl Serialize) -> Result<String, Failure> {
        let envelope = Envelope { version: VERSION, command: self.command, body };
        json(&envelope)
    }

    /// Prints JSON that [`json`] has written, and a line feed.
    fn json_line(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.to, "{text}").map_err(printing)
    }

    /// Prints an item of a list inside an object that [`begin`](Output::begin) has begun.
    pub(crate) fn item(&mut self, separator: &str, item: &impl Serialize) -> Result<(), Failure> {
        let text = json(item)?;
        self.json_line(&format!("{separator}{text}"))
    }

    /// Begins an object that is too long to hold in memory, with the members of `head`. The caller
    /// prints the long member and then calls [`end`](Output::end).
    pub(crate) fn begin(&mut self, head: &impl Serialize) -> Result<(), Failure> {
        let mut text = self.envelope(head)?;
        text.pop();
        self.bytes(text.as_bytes())
    }

    /// Prints the members of `tail` and ends the object.
    pub(crate) fn end(&mut self, tail: &impl Serialize) -> Result<(), Failure> {
        let text = json(tail)?;
        self.json_line(&text.replacen('{', ",", 1))
    }
}

/// Prints a line from a second process of the tour, which has no [`Output`].
#[allow(clippy::disallowed_methods, reason = "the line is escaped")]
pub(crate) fn tell(line: impl Into<Text>) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{}", line.into().as_str())?;
    output.flush()
}

/// Writes JSON that cannot act on a terminal.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, Inert);
    value.serialize(&mut serializer).map_err(|error| printing(error.into()))?;
    String::from_utf8(text).map_err(|error| printing(io::Error::other(error)))
}

/// Formats compact JSON, with DEL, C1 and the controls of bidirectional text as `\u` escapes.
struct Inert;

impl Formatter for Inert {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        to: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| is_active(c)) {
            to.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(to, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        to.write_all(rest.as_bytes())
    }
}

/// Enables or disables colours, as `choice` and the environment demand.
pub(crate) fn choose_colors(choice: ColorChoice) {
    match choice {
        ColorChoice::Always => console::set_colors_enabled(true),
        ColorChoice::Never => console::set_colors_enabled(false),
        // An empty NO_COLOR counts as unset.
        ColorChoice::Auto => {
            if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
                console::set_colors_enabled(false);
            }
        }
    }
}

fn printing(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::ClosedPipe
    } else {
        Failure::File { message: format!("cannot write to standard output: {error}"), error }
    }
}

#[cfg(test)]
mod tests {
    use super::json;

    #[test]
    fn json_has_no_characters_that_act_on_a_terminal() {
        let text = "a\u{7f}\u{9b}31m\u{202e}\u{2066}\n\"ä";
        let written = json(&text).unwrap();
        assert_eq!(written, r#""a\u007f\u009b31m\u202e\u2066\n\"ä""#);
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }
}
