//! The header of a shared object (FORMAT.md, "Header").
//!
//! The first 128 bytes are constant once the object is ready, and protected by a checksum. The words
//! after them change.

use crate::error::{Error, ErrorKind, Result};
use crate::peer::memory::{Attachment, Memory};
use crate::peer::options::Payload;
use crate::sys::{self, FileKind, OpenedFile, SlotHome};

/// The slot of the process that creates the object or adopts it (FORMAT.md, "Slots").
pub(crate) const CREATION: u64 = 0;
/// The slot that all read-only and copy-on-write attachments share.
pub(crate) const READERS: u64 = 1;
/// The slot of participant 0; participant *n* has slot `FIRST` + *n*.
pub(crate) const FIRST: u64 = 2;

/// The first bytes of every object. The first byte is no ASCII character, and the line ends detect a
/// copy in text mode, which would change them.
pub(crate) const MAGIC: [u8; 8] = *b"\x89SHM\r\n\x1a\n";
pub(crate) const VERSION: u16 = 1;
const BYTE_ORDER: u16 = 0x0102;

/// The length of the header in bytes; the tables follow.
pub(crate) const LEN: u64 = 256;
/// The length of the constant part in bytes, including its checksum.
const FIXED: usize = 128;

/// The offset of the state: [`CREATING`], [`READY`] or [`FAULTED`].
pub(crate) const STATE: u64 = 128;
/// The offset of the clean flag, which FORMAT.md calls the mark.
pub(crate) const CLEAN: u64 = 132;
/// The offset of the number of attachments so far.
pub(crate) const EPOCH: u64 = 136;
/// The offset of the id of the boot in which the object was last used.
pub(crate) const BOOT: u64 = 144;
/// The recorded boot id while none is known: its creator did not know it, or an adoption has not finished.
pub(crate) const NO_BOOT: [u8; 16] = [0; 16];
/// The offset of the home: the file that carries the liveness locks.
const HOME: u64 = 160;

pub(crate) const CREATING: u32 = 1;
pub(crate) const READY: u32 = 2;
pub(crate) const FAULTED: u32 = 3;

/// The kind of a segment. Its contents can be checked, so that a faulted one can be read.
pub(crate) const SEGMENT: u32 = 2;

/// The kind of a channel with one sender and one receiver.
pub(crate) const SPSC: u32 = 3;

pub(crate) const WAIT_BUCKETS: u32 = 64;
const BUCKET: u64 = 4;
pub(crate) const PARTICIPANT: u64 = 64;
pub(crate) const LANE: u64 = 64;
/// The offset in a lane of the time since which its thread sleeps.
pub(crate) const WAITS_SINCE: u64 = 4;
/// The greatest number of participants and of lanes. Words store a number plus one in 16 bits, so that
/// 0 means none.
pub(crate) const MOST: u32 = 65_535;
/// The alignment of the tables and of the payload: a cache line.
const ALIGNMENT: u64 = 64;

/// The layout of an object to create, or the layout that an existing object must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExpectedLayout {
    pub(crate) kind: u32,
    /// The fingerprint of the payload's type. It catches mistakes and proves nothing.
    pub(crate) fingerprint: [u8; 16],
    /// The length of the payload in bytes.
    pub(crate) payload: u64,
    /// The length that the payload of a new object may grow to, if it is more.
    pub(crate) growable_to: u64,
    /// The number of participants of a new object; an existing one may have any number.
    pub(crate) participants: u32,
    /// The number of lanes of a new object; an existing one may have any number.
    pub(crate) lanes: u32,
}

impl ExpectedLayout {
    /// Returns a layout with 64 participants and 256 lanes.
    pub(crate) fn new(kind: u32, fingerprint: [u8; 16], payload: u64) -> Self {
        Self { kind, fingerprint, payload, growable_to: 0, participants: 64, lanes: 256 }
    }
}

/// A validated copy of the constant part of a header.
///
/// All offsets and lengths in it lie within the object, and the tables do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u32,
    pub(crate) id: [u8; 16],
    /// The length of the object; its file may be longer.
    pub(crate) len: u64,
    pub(crate) fingerprint: [u8; 16],
    /// The length that the object may grow to.
    pub(crate) max: u64,
    pub(crate) participants: u32,
    pub(crate) lanes: u32,
    pub(crate) buckets: u32,
    pub(crate) buckets_at: u64,
    pub(crate) participants_at: u64,
    pub(crate) lanes_at: u64,
    pub(crate) payload_at: u64,
    pub(crate) payload: u64,
}

impl Header {
    /// Returns the header of a new object with the layout `shape`.
    ///
    /// Fails with `OutOfBounds` if a count is not between 1 and 65535, and with `Overflow` if the
    /// object would be too long.
    pub(crate) fn of(shape: &ExpectedLayout, id: [u8; 16]) -> Result<Self> {
        for (what, count) in [("participants", shape.participants), ("lanes", shape.lanes)] {
            if count == 0 || count > MOST {
                return Err(Error::new(ErrorKind::OutOfBounds, "create")
                    .with_length(count.into())
                    .with_detail(format!("an object has 1 to {MOST} {what}")));
            }
        }
        let buckets_at = LEN;
        let participants_at = buckets_at + u64::from(WAIT_BUCKETS) * BUCKET;
        let lanes_at = participants_at + u64::from(shape.participants) * PARTICIPANT;
        let payload_at = (lanes_at + u64::from(shape.lanes) * LANE).next_multiple_of(ALIGNMENT);
        let end = |payload: u64| {
            let end = payload_at.checked_add(payload).filter(|&end| i64::try_from(end).is_ok());
            end.ok_or_else(|| Error::new(ErrorKind::Overflow, "create").with_length(payload))
        };
        let len = end(shape.payload)?;
        Ok(Self {
            kind: shape.kind,
            id,
            len,
            fingerprint: shape.fingerprint,
            max: len.max(end(shape.growable_to)?),
            participants: shape.participants,
            lanes: shape.lanes,
            buckets: WAIT_BUCKETS,
            buckets_at,
            participants_at,
            lanes_at,
            payload_at,
            payload: shape.payload,
        })
    }

    /// Returns `true` if processes attach so to an object in this state. What is left of a faulted segment can be read.
    pub(super) fn takes(&self, state: u32, attachment: Attachment) -> bool {
        match attachment {
            Attachment::ReadOnly | Attachment::CopyOnWrite if self.kind == SEGMENT => {
                matches!(state, READY | FAULTED)
            }
            _ => state == READY,
        }
    }

    /// Returns the error for an object with contents that a process declared wrong.
    #[cold]
    pub(super) fn faulted(&self) -> Error {
        let remedy = match self.kind {
            SEGMENT => "save what it has through a read-only opening, and re-create it",
            _ => "re-create it",
        };
        Error::new(ErrorKind::Unclean, "open")
            .with_detail(format!("a process that used it found its contents wrong; {remedy}"))
    }

    /// Writes the constant part.
    ///
    /// The magic is stored last, with release ordering: a process that loads it sees the rest.
    pub(crate) fn write(&self, memory: &Memory) -> Result<()> {
        const MAGIC_LEN: usize = MAGIC.len();
        memory.write(MAGIC_LEN as u64, &self.encode()[MAGIC_LEN..])?;
        memory.store(0, u64::from_ne_bytes(MAGIC))
    }

    /// Returns the bytes of the constant part.
    pub(crate) fn encode(&self) -> [u8; FIXED] {
        let mut bytes = [0; FIXED];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(10, &BYTE_ORDER.to_le_bytes());
        put(12, &self.kind.to_le_bytes());
        put(16, &self.id);
        put(32, &self.len.to_le_bytes());
        put(40, &self.fingerprint);
        put(56, &self.max.to_le_bytes());
        put(64, &self.participants.to_le_bytes());
        put(68, &self.lanes.to_le_bytes());
        put(72, &self.buckets.to_le_bytes());
        put(80, &self.buckets_at.to_le_bytes());
        put(88, &self.participants_at.to_le_bytes());
        put(96, &self.lanes_at.to_le_bytes());
        put(104, &self.payload_at.to_le_bytes());
        put(112, &self.payload.to_le_bytes());
        let sum = checksum(&bytes[..120]);
        bytes[120..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Copies the constant part once and validates the copy. Returns `None` if there is no magic yet,
    /// because the object is being created.
    ///
    /// Fails with `NotAnObject`, `WrongVersion`, `Malformed` or `Truncated` for other contents.
    pub(crate) fn read(memory: &Memory) -> Result<Option<Self>> {
        if memory.load::<u64>(0)? == 0 {
            return Ok(None);
        }
        let mut bytes = [0; FIXED];
        memory.read(0, &mut bytes)?;
        Self::decode(&bytes, memory.len()).map(Some).map_err(|error| error.with_path(memory.path()))
    }

    /// Copies the constant part again, if it is `known` to have had these bytes. Returns `None` if it has
    /// others now.
    pub(crate) fn read_known(memory: &Memory, known: &Known) -> Result<Option<Self>> {
        let mut bytes = [0; FIXED];
        memory.read(0, &mut bytes)?;
        Ok((bytes == known.bytes).then_some(known.header))
    }

    /// Validates the bytes of a header in a mapping of `len` bytes.
    fn decode(bytes: &[u8; FIXED], len: u64) -> Result<Self> {
        let error = |kind| Error::new(kind, "open");
        let two = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let four = |at: usize| u32::from_le_bytes(array(bytes, at));
        let eight = |at: usize| u64::from_le_bytes(array(bytes, at));
        if bytes[..8] != MAGIC {
            return Err(error(ErrorKind::NotAnObject)
                .with_detail("it does not begin with the magic of a shared object"));
        }
        if two(10) != BYTE_ORDER {
            return Err(error(ErrorKind::WrongVersion)
                .with_field_offset(10)
                .with_detail("its integers are not little-endian"));
        }
        match two(8) {
            VERSION => {}
            other => {
                let age = if other > VERSION { "newer" } else { "older" };
                return Err(error(ErrorKind::WrongVersion).with_field_offset(8).with_detail(format!(
                    "its format is version {other}, {age} than {VERSION}; use it with the version of \
                     this library that created it, or re-create it"
                )));
            }
        }
        if eight(120) != checksum(&bytes[..120]) {
            return Err(error(ErrorKind::Malformed)
                .with_field_offset(120)
                .with_detail("its checksum does not match the header; re-create it"));
        }
        let header = Self {
            kind: four(12),
            id: array(bytes, 16),
            len: eight(32),
            fingerprint: array(bytes, 40),
            max: eight(56),
            participants: four(64),
            lanes: four(68),
            buckets: four(72),
            buckets_at: eight(80),
            participants_at: eight(88),
            lanes_at: eight(96),
            payload_at: eight(104),
            payload: eight(112),
        };
        if header.len > len {
            return Err(header.cut_short(len));
        }
        match header.contradiction() {
            Some(at) => Err(contradiction(error(ErrorKind::Malformed), at)),
            None => Ok(header),
        }
    }

    /// Returns the error for an object that has only `len` bytes left.
    #[cold]
    pub(crate) fn cut_short(&self, len: u64) -> Error {
        Error::new(ErrorKind::Truncated, "open")
            .with_length(len)
            .with_detail(format!("it was created with {} bytes; re-create it", self.len))
    }

    /// Returns the offset of a field that contradicts the others or the format; `None` if there is none.
    fn contradiction(&self) -> Option<u64> {
        let counts = [(64, self.participants), (68, self.lanes)];
        let tables = [
            (80, self.buckets_at, self.buckets, BUCKET),
            (88, self.participants_at, self.participants, PARTICIPANT),
            (96, self.lanes_at, self.lanes, LANE),
        ];
        if let Some((at, _)) = counts.iter().find(|(_, count)| *count == 0 || *count > MOST) {
            return Some(*at);
        }
        if !self.buckets.is_power_of_two() || self.buckets > MOST {
            return Some(72);
        }
        if self.max < self.len {
            return Some(56);
        }
        let mut end = LEN;
        for (field, at, count, size) in tables {
            if at < end || at % size.min(ALIGNMENT) != 0 || at > self.len {
                return Some(field);
            }
            end = at + u64::from(count) * size;
        }
        if self.payload_at < end || self.payload_at % ALIGNMENT != 0 {
            return Some(104);
        }
        match self.payload_at.checked_add(self.payload) {
            Some(end) if end <= self.len => None,
            _ => Some(112),
        }
    }

    /// Checks that the object has the layout `shape`.
    ///
    /// Fails with `WrongKind`, `WrongSize` or `WrongType`.
    pub(crate) fn check(&self, shape: &ExpectedLayout, payload: Payload) -> Result<()> {
        let error = |kind| Error::new(kind, "open");
        if self.kind != shape.kind {
            return Err(error(ErrorKind::WrongKind).with_detail(format!(
                "its kind is {}, but {} was requested",
                self.kind, shape.kind
            )));
        }
        let fits = match payload {
            Payload::Exactly => self.payload == shape.payload,
            Payload::AtLeast => self.payload >= shape.payload,
        };
        if !fits {
            return Err(error(ErrorKind::WrongSize).with_length(self.payload).with_detail(
                format!(
                    "its payload has {} bytes, but {} were requested",
                    self.payload, shape.payload
                ),
            ));
        }
        if self.fingerprint != shape.fingerprint {
            return Err(error(ErrorKind::WrongType).with_detail(
                "it was created with a type whose fields differ from those of the requested type",
            ));
        }
        Ok(())
    }

    /// Returns the offset of the record of `participant`, which must be in range.
    pub(crate) fn participant(&self, participant: u32) -> u64 {
        self.participants_at + u64::from(participant) * PARTICIPANT
    }

    /// Returns the offset of `lane`, which must be in range.
    #[inline(always)]
    pub(crate) fn lane(&self, lane: u32) -> u64 {
        self.lanes_at + u64::from(lane) * LANE
    }

    /// Returns the wait bucket of the word at offset `word`, and the offset of the bucket's count of
    /// sleeping threads (FORMAT.md, "Wait buckets").
    pub(crate) fn bucket(&self, word: u64) -> (u32, u64) {
        let mixed = (word >> 2).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let bucket = mixed as u32 & (self.buckets - 1);
        (bucket, self.buckets_at + u64::from(bucket) * BUCKET)
    }
}

/// The header of an object that was ready when its file was read, before it is mapped.
pub(crate) struct Known {
    pub(crate) header: Header,
    bytes: [u8; FIXED],
}

impl Known {
    /// Reads the header by one call, to learn how the object is to be mapped. `None` if the file cannot be
    /// read, or does not begin with the header of an object that is ready.
    ///
    /// What the mapping shows later decides; see [`Header::read_known`].
    pub(crate) fn read(opened: &OpenedFile) -> Option<Self> {
        let OpenedFile { file, status, .. } = opened;
        if status.kind != FileKind::Regular || status.len < LEN {
            return None;
        }
        let mut read = Vec::with_capacity(LEN as usize);
        sys::file::read_more(file, &mut read, Some(0)).ok()?;
        let state = read.get(STATE as usize..STATE as usize + 4)?;
        let bytes: [u8; FIXED] = read.get(..FIXED)?.try_into().ok()?;
        let header = Header::decode(&bytes, status.len).ok()?;
        (state == READY.to_ne_bytes()).then_some(Self { header, bytes })
    }
}

/// Records the home of the liveness locks.
///
/// The kind is exchanged last: a reader that loads it also sees the numbers, and this thread's later
/// loads come after the home is visible.
pub(crate) fn write_home(memory: &Memory, home: SlotHome) -> Result<()> {
    let (kind, device, file) = match home {
        SlotHome::Object => (1u32, 0, 0),
        SlotHome::Companion { device, file } => (2, device, file),
    };
    memory.store(HOME + 8, device)?;
    memory.store(HOME + 16, file)?;
    memory.swap(HOME, kind).map(drop)
}

/// Returns the recorded home of the liveness locks; `None` before the first attachment, or if the
/// value is unknown.
pub(crate) fn read_home(memory: &Memory) -> Result<Option<SlotHome>> {
    Ok(match memory.load::<u32>(HOME)? {
        1 => Some(SlotHome::Object),
        2 => Some(SlotHome::Companion {
            device: memory.load(HOME + 8)?,
            file: memory.load(HOME + 16)?,
        }),
        _ => None,
    })
}

/// Returns the FNV-1a hash of `bytes`, in 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Adds the header field at offset `at` to an error: its value contradicts other fields, or has no meaning.
#[cold]
pub(super) fn contradiction(error: Error, at: u64) -> Error {
    error.with_field_offset(at).with_detail(format!(
        "the field at offset {at} of the header is wrong; re-create the object"
    ))
}

/// Copies `N` bytes from offset `at`.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
