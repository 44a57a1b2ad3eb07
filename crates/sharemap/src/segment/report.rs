//! What a segment contains, and whether it is whole.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Machine, Session};
use crate::segment::census::{self, Census};
use crate::segment::change::change;
use crate::segment::segment::Segment;
use crate::segment::size_class::{CLASSES, size_of};

/// What a segment contains, as [`Segment::stats`] counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentStats {
    /// The length of the segment in bytes.
    pub len: u64,
    /// The length that it may grow to.
    pub max: u64,
    /// The bytes of allocated blocks and runs, and of the segment's own tables.
    pub used: u64,
    /// The bytes that can be allocated before the segment grows.
    pub free: u64,
    /// The blocks of each size.
    pub blocks: Vec<BlockStats>,
    /// The number of allocations of more than half a span, 32 KiB.
    pub runs: u64,
    /// The number of spans of 64 KiB that are free for any size.
    pub free_spans: u64,
    /// The number of threads' lanes that have a change which is not complete.
    pub open_changes: u32,
    /// The number of named objects.
    pub named: u64,
}

/// The blocks of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockStats {
    /// The length of a block in bytes.
    pub size: u64,
    /// The number of allocated blocks.
    pub allocated: u64,
    /// The number of free blocks that threads keep for their next allocations.
    pub kept: u64,
    /// The number of other free blocks, in spans that are for this size only.
    pub free: u64,
}

/// What [`Segment::check`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// The damage; empty if the segment is whole.
    pub damage: Vec<Damage>,
    /// The number of allocated blocks and runs that no named object refers to: those of [`Segment::allocate`].
    pub unattached: u64,
    /// The bytes of these.
    pub unattached_bytes: u64,
    /// `true` if writers changed the segment during all attempts to check it, so that the report says nothing. Only
    /// a check that is open for reading cannot stop them.
    pub is_unstable: bool,
}

impl CheckReport {
    /// Returns `true` if the segment was checked and is whole.
    ///
    /// # Examples
    /// See [`Segment::check`].
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.damage.is_empty() && !self.is_unstable
    }
}

/// A contradiction in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damage {
    /// The offset in the segment.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

/// The number of checks beside writers before they are stopped, and again afterwards.
const CHECKS: u32 = 3;
/// How long a check waits for a writer that holds a lock.
const PATIENCE: Duration = Duration::from_secs(10);

impl Segment {
    /// Counts what the segment contains.
    ///
    /// Takes no lock, so that the numbers may stem from different moments while other processes work.
    ///
    /// # Errors
    /// - `Busy` - writers changed the segment in all attempts.
    /// - `Malformed` - the segment is damaged; see [`check`](Self::check).
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let before = segment.stats()?;
    /// segment.allocate(&[0_u8; 100])?;
    /// let stats = segment.stats()?;
    /// assert_eq!(stats.blocks.iter().find(|block| block.size == 112).unwrap().allocated, 1);
    /// assert!(stats.used > before.used && stats.len == 1 << 20);
    /// # Ok(()) }
    /// ```
    pub fn stats(&self) -> Result<SegmentStats> {
        self.count().map_err(|error| self.named(error))
    }

    fn count(&self) -> Result<SegmentStats> {
        let session = self.session();
        let heap = self.inner.plan.heap;
        let mut attempt = 0;
        let census = loop {
            match self.census() {
                Ok((census, _)) => break census,
                Err(error) if attempt == 100 => return Err(error),
                // A change was in progress.
                Err(_) => session.nap(Duration::from_micros(100)),
            }
            attempt += 1;
        };
        let areas = self.inner.areas()?;
        let mut open_changes = 0;
        for area in &areas {
            open_changes += u32::from(area.is_busy(session)?);
        }
        let len = session.load_64(heap.len())?;
        let blocks: Vec<BlockStats> = (0..CLASSES)
            .map(|class| {
                let counts = census.classes[class as usize];
                BlockStats {
                    size: size_of(class),
                    allocated: counts.allocated,
                    kept: counts.stacked,
                    free: counts.free,
                }
            })
            .collect();
        let free_blocks: u64 =
            blocks.iter().map(|block| block.size * (block.kept + block.free)).sum();
        let free = census.reachable_spans * heap.span_len() + free_blocks;
        Ok(SegmentStats {
            len,
            max: session.header().max,
            used: len.saturating_sub(free),
            free,
            blocks,
            runs: census.runs,
            free_spans: census.reachable_spans,
            open_changes,
            named: self.objects()?.len() as u64,
        })
    }

    /// Checks the whole structure: each block once, every list and map whole, every offset in range.
    ///
    /// What dead processes began is completed first. The check runs beside writers. Only if it finds a contradiction
    /// three times, it acquires all locks, and looks again: damage is reported if it is there then. Writers wait
    /// meanwhile, for about as long as reading the whole segment takes. The check needs memory in proportion to the
    /// number of allocated blocks.
    ///
    /// The check proves structure, not values: it cannot know what a value should be.
    ///
    /// # Errors
    /// - `Timeout` - a process has held a lock for 10 seconds; it is stopped, perhaps.
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// segment.set_value("answer", &42_u32)?;
    /// let lost = segment.allocate(&7_u64)?;
    /// let report = segment.check()?;
    /// assert!(report.is_healthy());
    /// assert_eq!(report.unattached, 1);
    /// # Ok(()) }
    /// ```
    pub fn check(&self) -> Result<CheckReport> {
        let named = |error: Error| self.named(error);
        let takes_part = self.session().takes_part();
        let mut result = match takes_part {
            true => self.session().recover_dead().map(drop),
            false => Ok(()),
        };
        if result.is_ok() {
            result = match self.check_repeatedly() {
                Ok(report) => return Ok(report),
                Err(error) => Err(error),
            };
        }
        if takes_part && !result.as_ref().is_err_and(is_incomplete) {
            result = match self.check_alone() {
                Ok(report) => return Ok(report),
                Err(error) => Err(error),
            };
        }
        match result {
            Err(error) if is_damage(&error) => Ok(CheckReport {
                damage: match takes_part {
                    true => vec![Damage {
                        offset: error.offset().unwrap_or_default(),
                        what: what_is_wrong(&error),
                    }],
                    false => Vec::new(),
                },
                unattached: 0,
                unattached_bytes: 0,
                is_unstable: !takes_part,
            }),
            Err(error) => Err(named(error)),
            Ok(()) => Ok(CheckReport {
                damage: Vec::new(),
                unattached: 0,
                unattached_bytes: 0,
                is_unstable: true,
            }),
        }
    }

    /// Checks while no other thread changes the segment.
    fn check_alone(&self) -> Result<CheckReport> {
        self.with(|allocator| {
            let session = self.session();
            let until = session.now() + PATIENCE;
            change(session, allocator.space, allocator.area, Some(until), |change| {
                change.lock(self.inner.plan.all_locks())?;
                // Threads that only allocate or free an object use no lock, and move blocks from stack to stack.
                self.check_repeatedly()
            })
        })
    }

    /// Checks until a check finds no contradiction, or several have found one.
    fn check_repeatedly(&self) -> Result<CheckReport> {
        for _ in 1..CHECKS {
            if let Ok(report) = self.check_once() {
                return Ok(report);
            }
        }
        self.check_once()
    }

    fn check_once(&self) -> Result<CheckReport> {
        let (_, mut allocated) = self.census()?;
        self.reachable(&mut |at| {
            if !allocated.remove(&at) {
                return Err(crate::segment::heap::malformed(at).with_detail(
                    "an object refers to memory that is free, or that another one has",
                ));
            }
            Ok(())
        })?;
        let heap = self.inner.plan.heap;
        let mut bytes = 0;
        for &at in &allocated {
            bytes = heap.len_at(self.session(), at)?.saturating_add(bytes);
        }
        Ok(CheckReport {
            damage: Vec::new(),
            unattached: allocated.len() as u64,
            unattached_bytes: bytes,
            is_unstable: false,
        })
    }

    /// Returns the census, and the allocated blocks and runs.
    fn census(&self) -> Result<(Census, BTreeSet<u64>)> {
        let session: &Session = self.session();
        let mut census = census::take(session, self.inner.plan.heap, &self.inner.areas()?)?;
        let allocated = std::mem::take(&mut census.allocated);
        Ok((census, allocated))
    }

    /// Completes what dead processes began, and frees the memory of removed objects. Returns the number of processes.
    ///
    /// Nothing needs this call: the next thread that meets what a dead process holds completes it, and so does the next
    /// removal. It makes sure that nothing is left, before a [`check`](Self::check) or a measurement.
    ///
    /// # Errors
    /// - `NotWritable` - the segment is open for reading only.
    /// - `Timeout` - the handle has a [timeout](Self::with_timeout), and a lock was held for longer.
    /// - `TooManyThreads` - no lane became free within about 100 ms.
    /// - `TooManyProcesses` - a forked child could not attach.
    /// - `Malformed` - what a dead process began is damaged.
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// assert_eq!(segment.repair()?, 0);
    /// # Ok(()) }
    /// ```
    pub fn repair(&self) -> Result<u32> {
        let session = self.session();
        session.require_writable("repair")?;
        let recovered = session.recover_dead().map_err(|error| self.named(error))?;
        self.free_removed()?;
        Ok(recovered)
    }
}

/// Returns what an error says of the place in the segment, without the remedy: to check it.
fn what_is_wrong(error: &Error) -> String {
    let what = match error.kind() {
        ErrorKind::Malformed => None,
        ErrorKind::OutOfBounds | ErrorKind::Invalid | ErrorKind::Alignment => {
            Some("a word refers to memory that cannot be what it should be")
        }
        ErrorKind::Deadlock => Some("a lock is owned by a thread that has not acquired it"),
        _ => Some("what is read there changes all the time"),
    };
    let detail = error.detail().unwrap_or("the words contradict others");
    match what {
        None => detail.trim_end_matches("; check the segment").to_owned(),
        Some(what) => what.to_owned(),
    }
}

/// Returns `true` if an error tells of a contradiction in the segment.
fn is_damage(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Malformed
            | ErrorKind::OutOfBounds
            | ErrorKind::Invalid
            | ErrorKind::Deadlock
            | ErrorKind::Alignment
            | ErrorKind::Busy
            | ErrorKind::NotFound
    )
}

/// Returns `true` if a check cannot go on for a reason that is not in the segment.
fn is_incomplete(error: &Error) -> bool {
    !is_damage(error)
}
