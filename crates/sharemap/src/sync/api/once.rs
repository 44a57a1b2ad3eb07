//! `Once`: an action that succeeds once, in one of the processes that share it.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Layout;
use crate::peer::Machine;
use crate::sync::algorithms::exclusive::Acquisition;
use crate::sync::algorithms::once::{RawOnce, Turn};
use crate::sync::api::shared_type::{LayoutReader, LayoutSize, LayoutWriter, LockRef, SharedType};

/// The initial state of a shared one-time action: not done.
///
/// The action itself is passed to [`OnceHandle::call`]. [`Shared`](crate::Shared) dereferences to the
/// handle.
///
/// # Examples
/// ```
/// use sharemap::{Location, Once, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let prepared = Shared::create_new(Location::anonymous(), Once::new)?;
/// prepared.call(|_state| {
///     // Prepare something, once for all processes.
///     sharemap::Result::Ok(())
/// })?;
/// assert!(prepared.is_done()?);
/// # Ok(()) }
/// ```
#[doc(alias = "pthread_once_t")]
#[doc(alias = "call_once")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Once(());

impl Once {
    /// Creates the initial state: no action has succeeded.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let once = Shared::create_new(Location::anonymous(), Once::new)?;
    /// once.call(|_| Ok::<_, Error>(println!("once for all processes")))?;
    /// assert!(once.is_done()?);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl SharedType for Once {
    type Handle = OnceHandle;
    const ROOM: LayoutSize = LayoutSize::exactly(RawOnce::SIZE);

    fn describe(layout: &mut Layout) {
        layout.push("once");
    }

    fn fill(&self, blank: &mut LayoutWriter<'_>) -> Result<()> {
        blank.take(Self::ROOM).map(drop)
    }

    fn handle(found: &mut LayoutReader) -> Result<Self::Handle> {
        let place = found.take(Self::ROOM)?;
        Ok(OnceHandle { raw: RawOnce::new(place.at), place })
    }
}

/// What an action is told about earlier attempts.
///
/// # Examples
/// ```
/// use sharemap::{Location, Once, OnceState, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let prepared = Shared::create_new(Location::anonymous(), Once::new)?;
/// prepared.call(|state| {
///     if state == OnceState::PreviousOwnerDied {
///         // Remove what the dead process left half-done.
///     }
///     sharemap::Result::Ok(())
/// })?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnceState {
    /// No action has begun, or each earlier one returned an error or panicked.
    First,
    /// A process died while it ran its action, which may be half-done, and no action has succeeded
    /// since.
    PreviousOwnerDied,
}

/// A one-time action that is shared between processes.
///
/// The first process that calls [`call`](Self::call) runs its action; the others wait for it. Once an
/// action has succeeded, no other runs. If the process dies, the next caller runs its own action.
///
/// # Examples
/// ```
/// use sharemap::{Location, Mutex, Once, Shared};
///
/// # fn main() -> sharemap::Result<()> {
/// let state = Shared::create_new(Location::anonymous(), || (Once::new(), Mutex::new(0_u64)))?;
/// let (prepared, seed) = &*state;
/// for _process in 0..3 {
///     prepared.call(|_state| {
///         *seed.lock()? += 7;
///         sharemap::Result::Ok(())
///     })?;
/// }
/// assert_eq!(*seed.lock()?, 7);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct OnceHandle {
    place: LockRef,
    raw: RawOnce,
}

impl OnceHandle {
    /// Runs `action` unless an action has already succeeded, blocking the current thread while another
    /// one runs.
    ///
    /// Returns `Ok` if an action has succeeded, in this call or an earlier one. If `action` fails or
    /// panics, or its process dies, the next caller runs its own action. A blocked caller detects a
    /// death within milliseconds.
    ///
    /// # Errors
    /// The error of `action`, unchanged. Otherwise, converted into `E`, an error of kind
    ///
    /// - `Deadlock` - this thread is running an action of this `Once`.
    /// - `Cancelled` - the call had to block after [`Shared::cancel`](crate::Shared::cancel).
    /// - `Invalid` - `action` forked, and the call is returning in the child; the parent completes it.
    /// - `Fault` - the memory could not be accessed.
    /// - `NotWritable` - no action has succeeded, and the object was opened read-only or copy-on-write.
    /// - `TooManyThreads` - no action has succeeded, and no [lane](crate::SharedOptions::lanes) became
    ///   free within about 100 ms, or the thread is running its last destructors.
    /// - `TooManyProcesses` - no action has succeeded, and a forked child could not attach within about
    ///   100 ms.
    ///
    /// Other kinds report a failed system call, or why a forked child could not attach.
    ///
    /// # Examples
    /// ```
    /// use std::io;
    ///
    /// use sharemap::{Location, Once, Shared};
    ///
    /// # fn main() -> io::Result<()> {
    /// let prepared = Shared::create_new(Location::anonymous(), Once::new)?;
    /// let failed = prepared.call(|_state| Err(io::Error::other("not now")));
    /// assert!(failed.is_err());
    /// prepared.call(|_state| io::Result::Ok(()))?; // runs, as the first action failed
    /// prepared.call(|_state| -> io::Result<()> { unreachable!("an action has succeeded") })?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "pthread_once")]
    #[doc(alias = "InitOnceExecuteOnce")]
    #[inline]
    pub fn call<E: From<Error>>(
        &self,
        action: impl FnOnce(OnceState) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        if self.is_done()? { Ok(()) } else { self.call_slow(None, action) }
    }

    /// Runs `action` like [`call`](Self::call), but blocks for at most `timeout` while another
    /// thread runs its action.
    ///
    /// The time that `action` takes and the claiming of a lane are not bounded by `timeout`.
    ///
    /// # Errors
    /// As for [`call`](Self::call), and
    ///
    /// - `Timeout` - the other thread's action did not end within `timeout`.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// use std::time::Duration;
    ///
    /// let once = Shared::create_new(Location::anonymous(), Once::new)?;
    /// once.call_timeout(Duration::from_secs(5), |state| {
    ///     if matches!(state, OnceState::PreviousOwnerDied) {
    ///         println!("clear what the dead process began");
    ///     }
    ///     Ok::<_, Error>(())
    /// })?;
    /// # Ok(()) }
    /// ```
    pub fn call_timeout<E: From<Error>>(
        &self,
        timeout: Duration,
        action: impl FnOnce(OnceState) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        self.call_slow(self.place.after(timeout), action)
    }

    fn call_slow<E: From<Error>>(
        &self,
        until: Option<Duration>,
        action: impl FnOnce(OnceState) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let session = self.place.session();
        let turn = self
            .raw
            .begin(&self.place, until)
            .map_err(|error| self.place.with_object_path(error))?;
        let Turn::Mine(held) = turn else { return Ok(()) };
        let what = if held.died() { OnceState::PreviousOwnerDied } else { OnceState::First };
        // If the action fails or panics, dropping this abandons the word.
        let mut running = RunningAction { once: self, held: Some(held) };
        action(what)?;
        let Some(held) = running.held.take() else { return Ok(()) };
        // In a child that the action forked, the word belongs to the parent.
        if !session.is_own(held.lane()) {
            let error = self.place.error(ErrorKind::Invalid, "complete the one-time action");
            return Err(error
                .with_detail("the parent of this forked process completes it; call again to wait")
                .into());
        }
        self.raw.finish(session, held).map_err(|error| self.place.with_object_path(error).into())
    }

    /// Returns `true` if an action has succeeded.
    ///
    /// The method also works if the object was opened read-only.
    ///
    /// # Errors
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let once = Shared::create_new(Location::anonymous(), Once::new)?;
    /// assert!(!once.is_done()?);
    /// // An action that fails leaves the next call to try again.
    /// assert!(once.call(|_| Err(Error::from(std::io::Error::other("no luck")))).is_err());
    /// assert!(!once.is_done()?);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn is_done(&self) -> Result<bool> {
        self.raw.is_done(self.place.session()).map_err(|error| self.place.with_object_path(error))
    }
}

/// The owned word while an action runs. Dropping it with the word leaves the action to the next caller.
struct RunningAction<'a> {
    once: &'a OnceHandle,
    held: Option<Acquisition>,
}

impl Drop for RunningAction<'_> {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let session = self.once.place.session();
        if session.is_own(held.lane()) {
            // A death that this owner was told of stays recorded in the word. If the word cannot be
            // written, it names this lane until recovery.
            let _ = self.once.raw.abandon(session, held);
        }
    }
}
