//! The attachment of this process to an object, and the [`Machine`] on which the lock algorithms run.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::peer::header::{self, Header, READERS};
use crate::peer::inherited::InheritedLanes;
use crate::peer::lane_cache::{AnnouncementRef, LaneCacheTable};
use crate::peer::local::LocalParticipant;
use crate::peer::machine::{AnnounceOrdering, Announced, Liveness, Machine};
use crate::peer::memory::{Attachment, Memory};
use crate::peer::options::{OpenOptions, PowerCuts};
use crate::peer::registry;
use crate::peer::spinning::Spinning;
use crate::sys::{SlotMode, WaitPlace, fence, fork, liveness, process as system, wait};

/// The distance of the keys of sessions: the size of an entry in the caches of threads, so that some bits of a key are
/// the place of its entry.
pub(super) const KEY_STEP: u64 = 16;

/// A function of the layer above that releases what the dead lane `lane` announced: `what`, in the slot
/// at offset `slot`.
///
/// The recoverer may die at any step, and the next one calls the function again from the beginning. Each
/// call must therefore be repeatable.
pub(crate) type RecoverFn = fn(&Session, slot: u64, what: u64, lane: u32) -> Result<()>;

/// An object that this process is attached to, with its participant and the lanes of its threads.
///
/// Dropping the session detaches. All openings by this process share it, so the process has one
/// participant however often it opens the object.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) memory: Memory,
    pub(super) header: Header,
    pub(super) attachment: Attachment,
    pub(super) slots: liveness::Slots,
    /// Set if unclean ends must be detected reliably ([`PowerCuts::Told`]); never cleared.
    tells_power_cuts: AtomicBool,
    pub(super) release: RecoverFn,
    /// This process's participant, in memory that is zero in a forked child.
    pub(super) own: LocalParticipant,
    pub(super) lane_caches: LaneCacheTable,
    /// Lanes of the processes that this one was forked from.
    pub(super) inherited: InheritedLanes,
    /// Identifies this session in the caches of threads. No other session of the process has the key.
    pub(super) key: u64,
    pub(super) me: Weak<Self>,
    /// The lock on the readers' slot, which keeps the object in use; `None` in a participant.
    _reader: Option<liveness::LivenessLock>,
    /// The key in the registry; `None` if the session belongs to a single opening.
    pub(super) registered: Option<registry::Key>,
    waits: wait::Waits,
    spinning: Spinning,
    start: Instant,
    /// The millisecond of the last throttled probe, counted from `start`.
    settled: AtomicU64,
    /// The number of dead participants that this process recovered one by one.
    pub(super) recoveries: AtomicU32,
}

impl Session {
    /// Creates the session of an object that is ready and has the expected layout.
    ///
    /// A participant is not attached yet ([`attach`](Self::attach)).
    pub(super) fn new(
        memory: Memory,
        header: Header,
        attachment: Attachment,
        slots: liveness::Slots,
        terms: &OpenOptions,
        release: RecoverFn,
        registered: Option<registry::Key>,
    ) -> Result<Arc<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(KEY_STEP);
        let named = |error: Error| error.with_path(memory.path());
        let reader = match attachment {
            Attachment::Participant => None,
            _ => Some(take_as_reader(&slots).map_err(named)?),
        };
        let private = LocalParticipant::LEN + LaneCacheTable::len(header.lanes);
        let wiped = Arc::new(fork::WipeOnFork::new(private).map_err(named)?);
        let own = LocalParticipant::new(Arc::clone(&wiped));
        let lane_caches = LaneCacheTable::new(wiped, LocalParticipant::LEN, header.lanes);
        let waits = wait::Waits::new(header.id);
        // Before the first unlock by this process, which may then be a plain store (FORMAT.md, "The word").
        fence::register();
        Ok(Arc::new_cyclic(|me| Self {
            memory,
            header,
            attachment,
            slots,
            tells_power_cuts: AtomicBool::new(terms.power_cuts == PowerCuts::Told),
            release,
            own,
            lane_caches,
            inherited: InheritedLanes::new(header.lanes),
            key: NEXT.fetch_add(KEY_STEP, Ordering::Relaxed),
            me: Weak::clone(me),
            _reader: reader,
            registered,
            waits,
            spinning: Spinning::new(),
            start: Instant::now(),
            settled: AtomicU64::new(u64::MAX),
            recoveries: AtomicU32::new(0),
        }))
    }

    /// Marks the object faulted: its contents are wrong. From now on processes attach only to read it.
    #[cold]
    pub(crate) fn mark_faulted(&self) -> Result<()> {
        self.memory.store(header::STATE, header::FAULTED)
    }

    /// Returns the number that identifies this session in this process.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Returns the memory of the object.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Returns the header, as it was validated when the session attached.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Fails with `NotWritable` unless this attachment is a participant.
    #[inline]
    pub(crate) fn require_writable(&self, operation: &'static str) -> Result<()> {
        match self.attachment {
            Attachment::Participant => Ok(()),
            _ => Err(takes_no_part(self, operation)),
        }
    }

    /// Returns `true` if this attachment is a participant, and `false` if it is read-only or
    /// copy-on-write.
    pub(crate) fn takes_part(&self) -> bool {
        self.attachment == Attachment::Participant
    }

    /// Returns `true` if writes stay private to this process.
    pub(crate) fn keeps_changes(&self) -> bool {
        self.attachment == Attachment::CopyOnWrite
    }

    /// Returns the offset of the payload and the offset of its end.
    pub(crate) fn payload(&self) -> (u64, u64) {
        (self.header.payload_at, self.header.payload_at + self.header.payload)
    }

    /// Returns the path or name of the object, for errors.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.memory.path()
    }

    /// Returns the open file of the object.
    pub(crate) fn file(&self) -> Option<&File> {
        self.memory.file()
    }

    /// Returns whether unclean ends must be detected reliably.
    pub(super) fn power_cuts(&self) -> PowerCuts {
        match self.tells_power_cuts.load(Ordering::Relaxed) {
            true => PowerCuts::Told,
            false => PowerCuts::Overlooked,
        }
    }

    /// Detects unclean ends reliably from now on. The caller must then update the clean flag.
    pub(super) fn detect_unclean(&self) {
        self.tells_power_cuts.store(true, Ordering::Relaxed);
    }

    /// Adds the object's path to an error.
    #[cold]
    pub(super) fn with_object_path(&self, error: Error) -> Error {
        error.with_path(self.memory.path())
    }

    /// Returns the addresses that waiting on the word at offset `at` needs.
    fn place(&self, at: u64) -> Result<WaitPlace> {
        let word = self.memory.at(at, 4)?;
        let (bucket, sleepers) = self.header.bucket(at);
        Ok(WaitPlace { word, bucket, sleepers: self.memory.at(sleepers, 4)? })
    }

    /// Adds the object's path and the offset of a word to an error.
    fn at_word(&self, error: Error, at: u64) -> Error {
        self.with_object_path(error.with_lock_offset(at))
    }
}

impl Machine for Session {
    #[inline(always)]
    fn load_32(&self, at: u64) -> Result<u32> {
        self.memory.load(at)
    }

    #[inline(always)]
    fn store_32(&self, at: u64, value: u32) -> Result<()> {
        self.memory.store(at, value)
    }

    #[inline(always)]
    fn swap_32(&self, at: u64, value: u32) -> Result<u32> {
        self.memory.swap(at, value)
    }

    #[inline(always)]
    fn compare_exchange_32(&self, at: u64, current: u32, new: u32) -> Result<u32> {
        self.memory.compare_exchange(at, current, new)
    }

    #[inline(always)]
    fn load_64(&self, at: u64) -> Result<u64> {
        self.memory.load(at)
    }

    #[inline(always)]
    fn store_64(&self, at: u64, value: u64) -> Result<()> {
        self.memory.store(at, value)
    }

    fn grow(&self, len: u64) -> Result<()> {
        self.memory.grow(len)
    }

    #[inline(always)]
    fn swap_64(&self, at: u64, value: u64) -> Result<u64> {
        self.memory.swap(at, value)
    }

    #[inline(always)]
    fn compare_exchange_64(&self, at: u64, current: u64, new: u64) -> Result<u64> {
        self.memory.compare_exchange(at, current, new)
    }

    #[inline(always)]
    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.memory.read(at, into)
    }

    #[inline(always)]
    fn write(&self, at: u64, from: &[u8]) -> Result<()> {
        self.memory.write(at, from)
    }

    #[inline]
    fn lanes(&self) -> u32 {
        self.header.lanes
    }

    #[inline]
    fn slots(&self, lane: u32) -> u64 {
        // Lane numbers come from words that any peer may overwrite.
        let lane = if lane < self.header.lanes { lane } else { 0 };
        self.header.lane(lane) + 8
    }

    #[inline]
    fn is_own(&self, lane: u32) -> bool {
        self.is_own_lane(lane)
    }

    #[inline(always)]
    fn announce(&self, what: u64) -> Result<Announced> {
        self.announce_by(what, AnnounceOrdering::Plain).map(AnnouncementRef::announced)
    }

    #[inline(always)]
    fn announce_seq_cst(&self, what: u64) -> Result<Announced> {
        self.announce_by(what, AnnounceOrdering::Exchange).map(AnnouncementRef::announced)
    }

    fn announced(&self, what: u64) -> Result<Option<Announced>> {
        self.find_announcement(what)
    }

    #[inline(always)]
    fn withdraw(&self, announced: Announced) -> Result<()> {
        self.withdraw_at(announced)
    }

    #[inline(always)]
    fn stores_release(&self) -> bool {
        fence::is_registered()
    }

    fn fence_all(&self) -> bool {
        fence::fence_all()
    }

    fn wait(&self, at: u64, expected: u32, at_most: Duration) -> Result<()> {
        let place = self.place(at)?;
        // SAFETY: `place` checked that both words lie in the mapping.
        #[allow(unsafe_code, reason = "a word in the mapping")]
        let result = unsafe { self.waits.wait(&place, expected, Some(at_most)) };
        result.map_err(|error| self.at_word(error, at))
    }

    fn wake(&self, at: u64, how_many: u32) -> Result<u32> {
        let place = self.place(at)?;
        // SAFETY: `place` checked that both words lie in the mapping.
        #[allow(unsafe_code, reason = "a word in the mapping")]
        let result = unsafe { self.waits.wake(&place, how_many) };
        result.map_err(|error| self.at_word(error, at))
    }

    fn nap(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn spin(&self, turn: u32) -> Option<u32> {
        self.spinning.turn(turn)
    }

    fn probe_liveness(&self, lane: u32) -> Result<Liveness> {
        self.probe_lane(lane)
    }

    fn probe_throttled(&self, lane: u32) -> Result<Liveness> {
        // At most one probe in a millisecond, by all threads of this process: a probe is a system call.
        let now = self.start.elapsed().as_millis() as u64;
        if self.settled.swap(now, Ordering::Relaxed) == now {
            return Ok(Liveness::Alive);
        }
        self.probe_lane(lane)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn milliseconds(&self) -> u32 {
        // 0 means that the thread does not sleep (FORMAT.md, "Lane").
        (system::milliseconds() as u32).max(1)
    }

    fn note_wait(&self, since: u32) {
        self.note_wait_in_lane(since);
    }
}

/// Acquires a shared lock on the readers' slot, which keeps the object in use.
///
/// Fails with `Busy` if another process holds the slot exclusively for about 100 ms.
fn take_as_reader(slots: &liveness::Slots) -> Result<liveness::LivenessLock> {
    // On macOS and Windows, a query acquires the slot exclusively for a moment.
    const TRIES: u32 = 100;
    const NAP: Duration = Duration::from_millis(1);
    for _ in 0..TRIES {
        if let Some(hold) = slots.take(READERS, SlotMode::Shared)? {
            return Ok(hold);
        }
        std::thread::sleep(NAP);
    }
    Err(Error::new(ErrorKind::Busy, "open")
        .with_detail("another process holds the readers' slot exclusively; try again"))
}

impl Drop for Session {
    fn drop(&mut self) {
        // Threads that open the object meanwhile wait for the removal. If they attached before the
        // participant is free, the process would occupy two.
        self.detach();
        registry::remove(self);
    }
}

/// Returns the error for an operation that requires a participant, in an attachment without one.
#[cold]
pub(super) fn takes_no_part(session: &Session, operation: &'static str) -> Error {
    session.with_object_path(Error::new(ErrorKind::NotWritable, operation)).with_detail(
        "it was opened read-only or copy-on-write, and the operation changes the object; open it for writing, \
         as `open` does",
    )
}
