//! How a command ends when it does not end well.

use crate::output::Output;
use crate::text::{Text, escape, lossless};
use clap::error::ContextValue;
use serde::Serialize;
use sharemap::{Error, ErrorKind};
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Why a command stops.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library says no.
    Library(Error),
    /// The same, in a sentence of the command's.
    Object { message: String, error: Error },
    /// A call of the standard library on a file says no.
    File { message: String, error: io::Error },
    /// The command itself says no.
    Refused(String),
    /// It says no because somebody uses it.
    Busy(String),
    /// There is no such object.
    NotFound(String),
    /// The reader of standard output has gone: no failure of ours, and nobody to tell.
    ClosedPipe,
    /// It has been said already; only the exit code is left.
    Reported,
    /// The same, beside what was done all the same; with this exit code.
    Partial(u8),
    /// The same for a check that found something.
    CheckFailed,
    /// A command that was run for somebody ended with this code.
    Ended(i32),
}

/// What `--json` prints in place of a result, or at the end of an interrupted one.
#[derive(Debug, Serialize)]
pub(crate) struct Details {
    kind: String,
    message: String,
    path: Option<String>,
    offset: Option<u64>,
    os_code: Option<i32>,
}

impl Failure {
    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    /// `operation` completes "cannot …"; an error of ours inside of `error` is taken out.
    pub(crate) fn file(operation: &str, path: &Path, error: io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
            return Self::Library(Error::from(error));
        }
        let message = format!("cannot {operation} {}: {error}", lossless(path));
        Self::File { message, error }
    }

    /// `operation` completes "cannot …".
    pub(crate) fn object(operation: &str, name: &str, error: Error) -> Self {
        let message = format!("cannot {operation} {name}: {}", message(&error));
        Self::Object { message, error }
    }

    /// 1 failed, 3 not found, 4 check failed, 5 busy or denied.
    fn code(&self) -> u8 {
        match self {
            Self::Library(error) | Self::Object { error, .. } => match error.kind() {
                ErrorKind::NotFound => 3,
                ErrorKind::PermissionDenied
                | ErrorKind::ForeignOwner
                | ErrorKind::NotWritable
                | ErrorKind::Busy => 5,
                _ => 1,
            },
            Self::File { error, .. } => match error.kind() {
                io::ErrorKind::NotFound => 3,
                io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::ResourceBusy => 5,
                _ => 1,
            },
            Self::NotFound(_) => 3,
            Self::Busy(_) => 5,
            Self::Refused(_) | Self::Reported => 1,
            Self::Partial(code) => *code,
            Self::CheckFailed => 4,
            // Not all systems' codes fit; see `report`.
            Self::Ended(code) => u8::try_from(*code).unwrap_or(1),
            Self::ClosedPipe => 0,
        }
    }

    /// For the `error` member of a JSON object.
    pub(crate) fn details(&self) -> Details {
        let (kind, error) = match self {
            Self::Library(error) | Self::Object { error, .. } => {
                (format!("{:?}", error.kind()), Some(error))
            }
            Self::File { error, .. } => (format!("{:?}", error.kind()), None),
            Self::Busy(_) => ("Busy".into(), None),
            Self::NotFound(_) => ("NotFound".into(), None),
            _ => ("Refused".into(), None),
        };
        Details {
            kind,
            message: self.to_string(),
            path: error.and_then(Error::path).map(lossless),
            offset: error.and_then(Error::offset),
            os_code: match self {
                Self::File { error, .. } => error.raw_os_error(),
                _ => error.and_then(Error::os_code),
            },
        }
    }

    /// Whether there is nothing left to say.
    fn is_said(&self) -> bool {
        matches!(
            self,
            Self::ClosedPipe
                | Self::Reported
                | Self::Partial(_)
                | Self::CheckFailed
                | Self::Ended(_)
        )
    }

    /// Says it beside what was done all the same: in JSON, `body` and the error are one object.
    pub(crate) fn beside(self, body: &impl Serialize, output: &mut Output) -> Self {
        #[derive(Serialize)]
        struct Partial<'a, T> {
            #[serde(flatten)]
            body: &'a T,
            error: Details,
        }
        if output.json() {
            let error = self.details();
            if let Err(failure) = output.object(&Partial { body, error }) {
                return failure;
            }
        }
        complain(&self);
        Self::Partial(self.code())
    }

    /// Says it on standard error, and in JSON where that was asked for.
    pub(crate) fn report(self, output: &mut Output) -> ExitCode {
        #[derive(Serialize)]
        struct Report {
            error: Details,
        }
        if !matches!(self, Self::ClosedPipe) {
            // What was printed before the failure is still good; whether anybody can read it any
            // more changes nothing.
            if output.json() && !self.is_said() {
                let error = self.details();
                let _ = output.object(&Report { error });
            }
            let _ = output.flush();
        }
        if !self.is_said() {
            complain(&self);
        }
        if let Self::Ended(code) = self {
            std::process::exit(code);
        }
        ExitCode::from(self.code())
    }
}

/// One line on standard error.
#[allow(clippy::disallowed_methods, reason = "the line is escaped")]
pub(crate) fn complain(what: impl Into<Text>) {
    use io::Write;
    // Nobody can be told that nobody can be told.
    let _ = writeln!(io::stderr(), "sharemap: {}", what.into().as_str());
}

/// Returns the library's message, with the path's bytes that are not UTF-8 escaped.
pub(crate) fn message(error: &Error) -> String {
    let text = error.to_string();
    match error.path() {
        Some(path) if path.to_str().is_none() => {
            text.replace(path.as_os_str().to_string_lossy().as_ref(), &lossless(path))
        }
        _ => text,
    }
}

/// Escapes the arguments that a usage error repeats.
pub(crate) fn escaped(mut error: clap::Error) -> clap::Error {
    let context: Vec<_> = error.context().map(|(kind, value)| (kind, value.clone())).collect();
    for (kind, value) in context {
        let value = match value {
            ContextValue::String(text) => ContextValue::String(escape(text)),
            ContextValue::Strings(texts) => {
                ContextValue::Strings(texts.into_iter().map(escape).collect())
            }
            _ => continue,
        };
        error.insert(kind, value);
    }
    error
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Library(error) => f.write_str(&message(error)),
            Self::File { message, .. } | Self::Object { message, .. } => f.write_str(message),
            Self::Refused(message) | Self::Busy(message) | Self::NotFound(message) => {
                f.write_str(message)
            }
            Self::ClosedPipe => f.write_str("nobody reads the output any more"),
            Self::Reported | Self::Partial(_) | Self::CheckFailed | Self::Ended(_) => {
                f.write_str("failed")
            }
        }
    }
}
