//! One opening of an object.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::peer::registry;
use crate::peer::session::Session;

/// One opening of an object: a reference to the session of this process, and the opening's own
/// cancellation.
#[derive(Debug)]
pub(crate) struct Opening {
    session: Arc<Session>,
    cancelled: AtomicBool,
}

impl Opening {
    pub(super) fn of(session: Arc<Session>) -> Arc<Self> {
        Arc::new(Self { session, cancelled: AtomicBool::new(false) })
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Ends the waits through this opening and refuses more, or allows them again.
    pub(crate) fn cancel(&self, cancelled: bool) {
        self.cancelled.store(cancelled, Ordering::Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

impl Deref for Opening {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        registry::leave(&self.session);
    }
}
