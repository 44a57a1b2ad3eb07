//! What a mapping remembers of its flushes.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// The first failed flush of a mapping. The system reports a failed write once and then forgets it, so
/// the mapping remembers it.
#[derive(Default)]
pub(super) struct FlushState {
    /// The system's code of the first failure; 0 if no flush has failed.
    failure: AtomicI32,
}

impl FlushState {
    /// Fails if an earlier flush failed.
    pub(super) fn check(&self) -> Result<()> {
        match self.failure.load(Ordering::Acquire) {
            0 => Ok(()),
            code => Err(Error::new(ErrorKind::FlushFailed, "flush")
                .with_detail("an earlier flush of this mapping failed")
                .with_source(io::Error::from_raw_os_error(code))),
        }
    }

    /// Records a failure, for the lifetime of the mapping, and returns it as `FlushFailed`.
    #[cold]
    pub(super) fn remember(&self, error: Error) -> Error {
        let code = error.os_code().filter(|&code| code != 0).unwrap_or(-1);
        let _ = self.failure.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        error.with_kind(ErrorKind::FlushFailed)
    }
}

#[cfg(test)]
impl FlushState {
    /// Records a failure.
    pub(super) fn fail(&self) {
        let cause = io::Error::from_raw_os_error(5);
        drop(self.remember(Error::new(ErrorKind::Io, "flush").with_source(cause)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_flush_is_remembered() {
        let state = FlushState::default();
        assert!(state.check().is_ok());
        let failed =
            Error::new(ErrorKind::Io, "flush").with_source(io::Error::from_raw_os_error(5));
        assert_eq!(state.remember(failed).kind(), ErrorKind::FlushFailed);
        for _ in 0..2 {
            let error = state.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FlushFailed);
            assert_eq!(error.os_code(), Some(5));
        }
    }
}
