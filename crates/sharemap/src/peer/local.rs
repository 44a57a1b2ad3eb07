//! What this process alone knows about an attachment: its own participant.

#![allow(unsafe_code, reason = "fields in memory that a child finds empty")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::sys::{fork, liveness};

/// This process's participant, in memory that a forked child finds empty: a child is not a
/// participant until it attaches itself.
///
/// Where the system does not wipe memory on fork (`fork::wipes` is `false`), a child has a copy of
/// the fields, and their `process` tells that they are not its own.
#[derive(Debug)]
pub(super) struct LocalParticipant {
    memory: Arc<fork::WipeOnFork>,
}

#[repr(C)]
pub(super) struct Fields {
    /// The participant's number plus one; 0: none. Stored last when attaching, and cleared first
    /// when detaching.
    participant: AtomicU32,
    /// The process that has the participant, as `fork::process` numbers it.
    process: AtomicU32,
    /// The liveness lock, as [`into_raw`](liveness::LivenessLock::into_raw) returned it; 0: none.
    lock: AtomicUsize,
    /// A spin lock that admits one attaching thread. Its value is the number of the process that
    /// holds it. A parent's number, copied by a fork, does not lock the child.
    pub(super) attaching: AtomicU32,
    /// A lock, likewise, that admits one recovering thread.
    recovering: AtomicU32,
}

impl LocalParticipant {
    /// The bytes of `memory` that are used.
    pub(super) const LEN: usize = 64;

    /// Creates the value, without a participant, at the start of zeroed `memory` of at least
    /// [`LEN`](Self::LEN) bytes.
    pub(super) fn new(memory: Arc<fork::WipeOnFork>) -> Self {
        memory.note_written(Self::LEN);
        Self { memory }
    }

    pub(super) fn fields(&self) -> &Fields {
        // SAFETY: the memory is as long as this value and begins with the fields, for which every
        // bit pattern is a value; they are only used as atomics. It is private, so no process truncates it.
        unsafe { &*self.memory.base().cast::<Fields>() }
    }

    /// Returns the number of this process's participant, if it has one.
    #[inline]
    pub(super) fn participant(&self) -> Option<u32> {
        let fields = self.fields();
        let participant = fields.participant.load(Ordering::Acquire).checked_sub(1)?;
        let ours = fork::wipes() || fields.process.load(Ordering::Relaxed) == fork::process();
        ours.then_some(participant)
    }

    /// Clears fields that a fork has copied from the parent, where the system does not. The caller
    /// holds `attaching`, which is this process's.
    pub(super) fn wipe(&self) {
        let fields = self.fields();
        if fields.process.load(Ordering::Relaxed) != fork::process() {
            // The lock is the parent's: the child must not release it.
            fields.lock.store(0, Ordering::Relaxed);
            fields.recovering.store(0, Ordering::Relaxed);
            fields.participant.store(0, Ordering::Release);
        }
    }

    /// Stores this process's participant and its liveness lock, which stays held.
    ///
    /// The caller holds `attaching`, and this process has no participant yet.
    pub(super) fn set(&self, participant: u32, lock: liveness::LivenessLock) {
        let fields = self.fields();
        fields.process.store(fork::process(), Ordering::Relaxed);
        fields.lock.store(lock.into_raw(), Ordering::Relaxed);
        // Last: other threads go by this field, which publishes the others.
        fields.participant.store(participant + 1, Ordering::Release);
    }

    /// Takes this process's participant and its liveness lock, which is still held, and leaves the
    /// record in the object as it is. Returns `None` if there is none: the process has not attached,
    /// or is a forked child.
    pub(super) fn take(&self) -> Option<(u32, liveness::LivenessLock)> {
        let participant = self.participant()?;
        let fields = self.fields();
        fields.participant.store(0, Ordering::Release);
        let lock = fields.lock.swap(0, Ordering::Relaxed);
        // SAFETY: the number came from a lock of this process, and the swap returns it once.
        (lock != 0).then(|| (participant, unsafe { liveness::LivenessLock::from_raw(lock) }))
    }

    /// Admits this thread as the only recovering one of this process, until the returned value is
    /// dropped. Returns `None`, without blocking, if another thread is recovering.
    ///
    /// Between processes, the liveness lock of the dead participant decides.
    pub(super) fn begin_recovery(&self) -> Option<InRecovery<'_>> {
        let recovering = &self.fields().recovering;
        (recovering.swap(fork::process(), Ordering::Acquire) != fork::process())
            .then_some(InRecovery(recovering))
    }
}

/// An RAII guard that keeps other threads of this process from recovering.
pub(super) struct InRecovery<'a>(&'a AtomicU32);

impl Drop for InRecovery<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}
