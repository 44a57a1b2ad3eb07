//! An opening of an object, which shares its session with other openings of this process.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::peer::registry;
use crate::peer::session::Session;

/// An opening of an object: a reference to the session of this process, and a cancellation flag of its
/// own.
///
/// The registry counts the openings of a session. After the last is dropped, the session detaches.
#[derive(Debug)]
pub(crate) struct Opening {
    session: Arc<Session>,
    cancelled: AtomicBool,
}

impl Opening {
    /// Returns a new opening. The caller has counted it in the registry, if the session is registered.
    pub(super) fn of(session: Arc<Session>) -> Arc<Self> {
        Arc::new(Self { session, cancelled: AtomicBool::new(false) })
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Sets or clears cancellation. While it is set, operations through this opening that would block
    /// fail with `Cancelled`, including those that block already.
    pub(crate) fn cancel(&self, cancelled: bool) {
        self.cancelled.store(cancelled, Ordering::Relaxed);
    }

    /// Returns `true` while blocking operations must fail with `Cancelled`.
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
    /// Ends the opening in the registry first, and then, by dropping the field, its reference. In the
    /// other order, the session could detach while the registry lists it as used, and another thread
    /// would attach a second time.
    fn drop(&mut self) {
        registry::leave(&self.session);
    }
}
