//! Standard output: text for people, or one JSON object.

use crate::failure::Failure;
use clap::ColorChoice;
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

/// Of every JSON object; docs/json.md says what it covers.
const VERSION: u32 = 1;

/// Where a command prints its data.
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
    pub(crate) fn new(command: &'static str, json: bool) -> Self {
        let to = BufWriter::with_capacity(64 << 10, io::stdout());
        Self { command, json, to }
    }

    /// Whether JSON was asked for.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether a person looks at it now.
    pub(crate) fn is_terminal(&self) -> bool {
        self.to.get_ref().is_terminal()
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.to.write_all(bytes).map_err(printing)
    }

    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.to, "{line}").map_err(printing)
    }

    /// `label  value`, the labels in one column.
    pub(crate) fn field(&mut self, label: &str, value: impl fmt::Display) -> Result<(), Failure> {
        let label = console::style(format!("  {label:<13}")).dim();
        self.paragraph(&label.to_string(), &value.to_string())
    }

    /// `text` behind `label`, its further lines below its first; where a person looks at it, lines
    /// end at the terminal's edge.
    pub(crate) fn paragraph(&mut self, label: &str, text: &str) -> Result<(), Failure> {
        let indent = console::measure_text_width(label);
        let width = match self.to.get_ref().is_terminal() {
            true => usize::from(console::Term::stdout().size().1).saturating_sub(indent).max(30),
            false => usize::MAX,
        };
        let mut label = label.to_owned();
        for line in text.lines().flat_map(|line| wrap(line, width)) {
            writeln!(self.to, "{label}{line}").map_err(printing)?;
            label = " ".repeat(indent);
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(printing)
    }

    /// The one object of a command, with its version and the command's name.
    pub(crate) fn object(&mut self, body: &impl Serialize) -> Result<(), Failure> {
        let text = self.envelope(body)?;
        self.line(text)
    }

    fn envelope(&self, body: &impl Serialize) -> Result<String, Failure> {
        let envelope = Envelope { version: VERSION, command: self.command, body };
        serde_json::to_string(&envelope).map_err(|error| printing(error.into()))
    }

    /// An object too long to be held in memory: `head`, then whatever is written of its last
    /// members, then [`end`](Output::end).
    pub(crate) fn begin(&mut self, head: &impl Serialize) -> Result<(), Failure> {
        let mut text = self.envelope(head)?;
        text.pop();
        self.bytes(text.as_bytes())
    }

    /// The last members and the end of the object.
    pub(crate) fn end(&mut self, tail: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(tail).map_err(|error| printing(error.into()))?;
        self.line(text.replacen('{', ",", 1))
    }
}

/// Colours where `choice` and the environment allow them.
pub(crate) fn choose_colors(choice: ColorChoice) {
    match choice {
        ColorChoice::Always => console::set_colors_enabled(true),
        ColorChoice::Never => console::set_colors_enabled(false),
        // A variable that is set but empty says nothing.
        ColorChoice::Auto => {
            if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
                console::set_colors_enabled(false);
            }
        }
    }
}

/// Breaks a line between words; lines that fit stay as they are.
fn wrap(line: &str, width: usize) -> Vec<String> {
    if console::measure_text_width(line) <= width {
        return vec![line.to_owned()];
    }
    let mut lines: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let room = lines.last().map(|last| width.saturating_sub(console::measure_text_width(last)));
        match lines.last_mut() {
            Some(last) if room > Some(console::measure_text_width(word)) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
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
    use super::wrap;

    #[test]
    fn long_lines_are_broken_between_words() {
        assert_eq!(wrap("a  table   stays", 16), ["a  table   stays"]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("one two three", 6), ["one", "two", "three"]);
        assert_eq!(wrap("unbreakable", 3), ["unbreakable"]);
        assert_eq!(wrap("", 3), [""]);
    }
}
