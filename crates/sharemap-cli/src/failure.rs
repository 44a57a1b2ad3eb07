//! Failures of commands: their messages, exit codes and JSON. `report` prints them.

use crate::text::{Text, escape, lossless};
use clap::error::ContextValue;
use serde::Serialize;
use sharemap::{Error, ErrorKind};
use std::fmt;
use std::io;
use std::path::Path;

/// The reason why a command stops.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library returned an error.
    Library(Error),
    /// The library returned an error, which the command states in its own words.
    Object { message: String, error: Error },
    /// A file operation of the standard library failed.
    File { message: String, error: io::Error },
    /// The command refuses the request.
    Refused(String),
    /// The command refuses the request because a process uses the object.
    Busy(String),
    /// There is no such object.
    NotFound(String),
    /// The reader of standard output closed its end. This is no failure, so the command ends quietly.
    ClosedPipe,
    /// The failure has been reported; only the exit code is left.
    Reported,
    /// The failure has been reported together with a partial result. The value is the exit code.
    Partial(u8),
    /// A check found a problem, and has reported it.
    CheckFailed,
    /// The command that `sharemap lock` ran ended with this code.
    Ended(i32),
}

/// The `error` member that `--json` prints in place of a result, or at the end of an interrupted one.
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

    /// Returns the failure of a file operation. `operation` completes "cannot …". If `error` wraps an
    /// error of the library, that error is reported instead.
    pub(crate) fn file(operation: &str, path: &Path, error: io::Error) -> Self {
        if error.get_ref().is_some_and(|inner| inner.is::<Error>()) {
            return Self::Library(Error::from(error));
        }
        let message = format!("cannot {operation} {}: {error}", lossless(path));
        Self::File { message, error }
    }

    /// Returns the failure of an operation on an object. `operation` completes "cannot …".
    pub(crate) fn object(operation: &str, name: &str, error: Error) -> Self {
        let message = format!("cannot {operation} {name}: {}", message(&error));
        Self::Object { message, error }
    }

    /// Returns the exit code: 1 failed, 3 not found, 4 check failed, 5 busy or denied.
    pub(crate) fn code(&self) -> u8 {
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
            // `report` passes the whole code on, which may not fit into 8 bits.
            Self::Ended(code) => u8::try_from(*code).unwrap_or(1),
            Self::ClosedPipe => 0,
        }
    }

    /// Returns `true` if there is no such object.
    pub(crate) fn is_not_found(&self) -> bool {
        self.code() == 3
    }

    /// Returns the `error` member of a JSON object.
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

    /// Returns `true` if the failure has been reported, or needs no report.
    pub(crate) fn is_said(&self) -> bool {
        matches!(
            self,
            Self::ClosedPipe
                | Self::Reported
                | Self::Partial(_)
                | Self::CheckFailed
                | Self::Ended(_)
        )
    }
}

/// Prints one line on standard error.
#[allow(clippy::disallowed_methods, reason = "the line is escaped")]
pub(crate) fn complain(what: impl Into<Text>) {
    use io::Write;
    // If standard error cannot be written to, there is no place left to report that.
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
            Self::ClosedPipe => f.write_str("the reader of standard output has closed it"),
            Self::Reported | Self::Partial(_) | Self::CheckFailed | Self::Ended(_) => {
                f.write_str("failed")
            }
        }
    }
}
