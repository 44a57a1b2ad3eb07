//! One attachment of this process to one object.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::peer::create::{OpenOptions, PowerCuts};
use crate::peer::header::{self, Header};
use crate::peer::inherited::InheritedLanes;
use crate::peer::lanes::AnnounceOrdering;
use crate::peer::machine::{Announced, Liveness, Machine};
use crate::peer::memory::{Attachment, Memory};
use crate::peer::participants::LocalParticipant;
use crate::peer::registry;
use crate::peer::seat::{Seats, Spot};
use crate::sys::{SlotMode, WaitPlace, fence, fork, liveness, process as system, wait};

/// Recovers one thing that a dead lane announced, in the slot at this offset: what the layer above
/// is asked for. Called again from the beginning if it was cut short.
pub(crate) type RecoverFn = fn(&Session, slot: u64, what: u64, lane: u32) -> Result<()>;

/// The slot that a creator holds.
pub(crate) const CREATION: u64 = 0;
/// The slot that all who only read share.
pub(crate) const READERS: u64 = 1;
/// The slot of participant 0.
pub(crate) const FIRST: u64 = 2;

/// An object that this process is attached to, and with it this process's participant and its
/// threads' lanes.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) memory: Memory,
    pub(super) header: Header,
    pub(super) attachment: Attachment,
    pub(super) slots: liveness::Slots,
    /// Whether the object detects power cuts: [`PowerCuts::Told`].
    tells_power_cuts: AtomicBool,
    pub(super) release: RecoverFn,
    /// This process's participant, in memory that a forked child finds empty.
    pub(super) own: LocalParticipant,
    pub(super) seats: Seats,
    /// Lanes of processes that this one was forked from.
    pub(super) inherited: InheritedLanes,
    /// Names this session in the threads' caches; never used again.
    pub(super) key: u64,
    pub(super) me: Weak<Self>,
    /// What keeps the object in use for those who only read.
    _reader: Option<liveness::LivenessLock>,
    /// The key in the registry; `None` if the session belongs to one opening.
    pub(super) registered: Option<registry::Key>,
    waits: wait::Waits,
    start: Instant,
    /// The millisecond in which somebody was last asked about.
    settled: AtomicU64,
    /// The number of dead participants that were recovered one by one.
    pub(super) recoveries: AtomicU32,
}

impl Session {
    /// Attaches to an object that is ready and what was asked for. Waits for a free participant for at
    /// most the terms' patience.
    pub(super) fn new(
        memory: Memory,
        header: Header,
        attachment: Attachment,
        slots: liveness::Slots,
        terms: &OpenOptions,
        release: RecoverFn,
        registered: Option<registry::Key>,
    ) -> Result<Arc<Self>> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let named = |error: Error| error.with_path(memory.path());
        let reader = match attachment {
            Attachment::Participant => None,
            _ => Some(take_as_reader(&slots).map_err(named)?),
        };
        let private = LocalParticipant::LEN + Seats::len(header.lanes);
        let wiped = Arc::new(fork::WipeOnFork::new(private).map_err(named)?);
        let own = LocalParticipant::new(Arc::clone(&wiped));
        let seats = Seats::new(wiped, LocalParticipant::LEN, header.lanes);
        let waits = wait::Waits::new(header.id);
        fence::register();
        let session = Arc::new_cyclic(|me| Self {
            memory,
            header,
            attachment,
            slots,
            tells_power_cuts: AtomicBool::new(terms.power_cuts == PowerCuts::Told),
            release,
            own,
            seats,
            inherited: InheritedLanes::new(header.lanes),
            key: NEXT.fetch_add(1, Ordering::Relaxed),
            me: Weak::clone(me),
            _reader: reader,
            registered,
            waits,
            start: Instant::now(),
            settled: AtomicU64::new(u64::MAX),
            recoveries: AtomicU32::new(0),
        });
        if attachment == Attachment::Participant {
            session.attach(terms.open_timeout)?;
        }
        Ok(session)
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Where the layer above keeps what is its own.
    pub(crate) fn payload_at(&self) -> u64 {
        self.header.payload_at
    }

    /// An error of this operation if this attachment only looks.
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

    /// Whether what is written stays with this process.
    pub(crate) fn keeps_changes(&self) -> bool {
        self.attachment == Attachment::CopyOnWrite
    }

    /// The payload's first byte, and the one behind its last.
    pub(crate) fn payload(&self) -> (u64, u64) {
        (self.header.payload_at, self.header.payload_at + self.header.payload)
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        self.memory.path()
    }

    /// The open file of the object, to be passed on.
    pub(crate) fn file(&self) -> Option<&File> {
        self.memory.file()
    }

    pub(super) fn power_cuts(&self) -> PowerCuts {
        match self.tells_power_cuts.load(Ordering::Relaxed) {
            true => PowerCuts::Told,
            false => PowerCuts::Overlooked,
        }
    }

    /// Makes the object detect power cuts from now on. The caller updates its mark.
    pub(super) fn detect_unclean(&self) {
        self.tells_power_cuts.store(true, Ordering::Relaxed);
    }

    /// Whether somebody who only reads is attached.
    pub(crate) fn has_readers(&self) -> Result<bool> {
        self.slots.is_free(READERS).map(|free| !free).map_err(|error| self.with_object_path(error))
    }

    /// Says that the contents cannot be relied on any more: nobody attaches from now on.
    pub(crate) fn set_faulted(&self) -> Result<()> {
        self.memory.store(header::STATE, header::FAULTED)
    }

    #[cold]
    pub(super) fn with_object_path(&self, error: Error) -> Error {
        error.with_path(self.memory.path())
    }

    fn place(&self, at: u64) -> Result<WaitPlace> {
        let word = self.memory.at(at, 4)?;
        let (bucket, sleepers) = self.header.bucket(at);
        Ok(WaitPlace { word, bucket, sleepers: self.memory.at(sleepers, 4)? })
    }

    fn at_word(&self, error: Error, at: u64) -> Error {
        self.with_object_path(error.with_offset(at))
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
        let lane = if lane < self.header.lanes { lane } else { 0 };
        self.header.lane(lane) + 8
    }

    #[inline]
    fn is_own(&self, lane: u32) -> bool {
        self.is_own_lane(lane)
    }

    #[inline(always)]
    fn announce(&self, what: u64) -> Result<Announced> {
        self.announce_by(what, AnnounceOrdering::Plain).map(Spot::announced)
    }

    #[inline(always)]
    fn announce_seq_cst(&self, what: u64) -> Result<Announced> {
        self.announce_by(what, AnnounceOrdering::Exchange).map(Spot::announced)
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
        // SAFETY: both words lie in the mapping.
        #[allow(unsafe_code, reason = "a word in the mapping")]
        let result = unsafe { self.waits.wait(&place, expected, Some(at_most)) };
        result.map_err(|error| self.at_word(error, at))
    }

    fn wake(&self, at: u64, how_many: u32) -> Result<u32> {
        let place = self.place(at)?;
        // SAFETY: both words lie in the mapping.
        #[allow(unsafe_code, reason = "a word in the mapping")]
        let result = unsafe { self.waits.wake(&place, how_many) };
        result.map_err(|error| self.at_word(error, at))
    }

    fn nap(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn spin(&self, turn: u32) -> bool {
        const TURNS: u32 = 100;
        if turn >= TURNS || !has_company() {
            return false;
        }
        std::hint::spin_loop();
        true
    }

    fn probe_liveness(&self, lane: u32) -> Result<Liveness> {
        self.probe_lane(lane)
    }

    fn probe_throttled(&self, lane: u32) -> Result<Liveness> {
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
        (system::milliseconds() as u32).max(1)
    }

    fn note_wait(&self, since: u32) {
        self.note_wait_in_lane(since);
    }
}

/// The slot of those who only read, which says that the object is in use.
fn take_as_reader(slots: &liveness::Slots) -> Result<liveness::LivenessLock> {
    // Where nobody can ask about a slot without having it, whoever asks has it alone for a moment.
    const TRIES: u32 = 100;
    const NAP: Duration = Duration::from_millis(1);
    for _ in 0..TRIES {
        if let Some(hold) = slots.take(READERS, SlotMode::Shared)? {
            return Ok(hold);
        }
        std::thread::sleep(NAP);
    }
    Err(Error::new(ErrorKind::Busy, "open").with_detail(
        "somebody keeps the slot of those who only read, which is for all of them, alone: try again",
    ))
}

/// Whether another processor can do what this one waits for.
fn has_company() -> bool {
    static PROCESSORS: AtomicU64 = AtomicU64::new(0);
    let mut count = PROCESSORS.load(Ordering::Relaxed);
    if count == 0 {
        count = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        PROCESSORS.store(count, Ordering::Relaxed);
    }
    count > 1
}

impl Drop for Session {
    fn drop(&mut self) {
        self.detach();
        registry::remove(self);
    }
}

/// The error of an operation that takes a participant, by one who has none.
#[cold]
pub(super) fn takes_no_part(session: &Session, operation: &'static str) -> Error {
    session.with_object_path(Error::new(ErrorKind::NotWritable, operation)).with_detail(
        "it was opened to be looked at: whoever locks, waits or signals has to write, so open it \
         with `Shared::open`",
    )
}
