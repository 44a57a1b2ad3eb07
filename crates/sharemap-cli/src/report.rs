//! Reports the failure of a command, on standard error and in JSON.

use crate::failure::{Details, Failure, complain};
use crate::output::Output;
use serde::Serialize;
use std::process::ExitCode;

impl Failure {
    /// Reports the failure together with a partial result. In JSON, `body` and the error are one object.
    /// The failure that is returned carries the exit code only.
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

    /// Reports the failure on standard error, and in JSON if requested. Returns the exit code.
    pub(crate) fn report(self, output: &mut Output) -> ExitCode {
        #[derive(Serialize)]
        struct Report {
            error: Details,
        }
        if !matches!(self, Self::ClosedPipe) {
            // Output from before the failure is still valid. An error of this write changes neither
            // the message nor the exit code.
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
