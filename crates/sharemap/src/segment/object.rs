//! Objects without a name, which offsets refer to.

use std::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Machine, Session};
use crate::segment::allocator::{Allocator, Detached, Freed, Piece, Tops};
use crate::segment::offset::Offset;
use crate::segment::segment::Segment;
use crate::segment::stored::{Stored, fits_word};

impl Segment {
    /// Allocates an object, and returns its offset.
    ///
    /// Nothing refers to the object until the caller stores the offset. If the process dies before, the memory stays
    /// allocated: [`check`](Self::check) counts it as unattached. [`attach`](Self::attach) stores the offset in the
    /// same step.
    ///
    /// # Errors
    /// - `NoSpace` - the segment is full and may not grow, or its file system is full.
    /// - `TooLarge` - the value is longer than about 64 MiB.
    /// - `NotWritable` - the segment is open for reading only.
    /// - `Timeout` - the handle has a [timeout](Self::with_timeout), and a lock was held for longer.
    /// - `TooManyThreads` - no lane became free within about 100 ms.
    /// - `TooManyProcesses` - a forked child could not attach.
    /// - `Malformed` - the segment is damaged; see [`check`](Self::check).
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let point = segment.allocate(&[1.5_f64, 2.5])?;
    /// assert_eq!(segment.read(point)?, [1.5, 2.5]);
    /// segment.free(point)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "malloc")]
    #[inline]
    pub fn allocate<T: Stored>(&self, value: &T) -> Result<Offset<T>> {
        let bytes = value.stored_bytes();
        let at = self.with(|allocator| match allocator.reserve(bytes.len() as u64)? {
            Piece::Block(taken) => {
                self.fill(taken.at, bytes)?;
                allocator.settle(taken.top)?;
                Ok(taken.at)
            }
            piece @ Piece::Run(_) => allocator.change(|change| {
                let at = allocator.trade(change, Some(piece), None, &mut Tops::default())?;
                self.fill(at, bytes)?;
                change.commit(&[])?;
                Ok(at)
            }),
        })?;
        Ok(Offset::of(self.inner.tag, at))
    }

    /// Frees an object.
    ///
    /// Each object is to be freed once. The second time, or while another thread frees it, its memory may be given to
    /// two objects, which then change each other; [`check`](Self::check) reports that.
    ///
    /// # Errors
    /// - `Invalid` - no block of memory begins at the offset, or it belongs to another segment.
    /// - `NotWritable` - the segment is open for reading only.
    /// - `Timeout` - the handle has a [timeout](Self::with_timeout), and a lock was held for longer.
    /// - `TooManyThreads` - no lane became free within about 100 ms.
    /// - `TooManyProcesses` - a forked child could not attach.
    /// - `Malformed` - the segment is damaged; see [`check`](Self::check).
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let other = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let point = segment.allocate(&[1.5_f64, 2.5])?;
    /// assert_eq!(other.free(point).unwrap_err().kind(), ErrorKind::Invalid);
    /// segment.free(point)?;
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn free<T: Stored>(&self, offset: Offset<T>) -> Result<()> {
        let at = self.at(offset)?;
        self.with(|allocator| match allocator.prepare_free(at)? {
            Freed::Block(at, class) => allocator.settle(allocator.give(at, class)?),
            freed @ Freed::Run(_) => allocator.change(|change| {
                allocator.trade(change, None, Some(freed), &mut Tops::default())?;
                change.commit(&[])
            }),
        })
    }

    /// Allocates an object and stores its offset at `place`, in one step.
    ///
    /// `place` is an offset within another object, which must be [`Offset::NONE`] before. No death of a process
    /// leaves the object allocated without the offset, or the offset without the object.
    ///
    /// # Errors
    /// - `AlreadyExists` - `place` has an offset already.
    /// - `Invalid` - `place` is an offset of another segment, or none.
    ///
    /// Otherwise as for [`allocate`](Self::allocate).
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # #[cfg(feature = "derive")]
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// segment.create_value("points", &[Offset::<[f64; 2]>::NONE; 100])?;
    /// let points = segment.offset::<[Offset<[f64; 2]>; 100]>("points")?.unwrap();
    /// let point = segment.attach(points.element(7), &[1.5, 2.5])?;
    /// assert_eq!(segment.read(points.element(7))?, point);
    /// assert!(segment.detach(points.element(7))?);
    /// # Ok(()) }
    /// # #[cfg(not(feature = "derive"))]
    /// # fn main() {}
    /// ```
    #[inline]
    pub fn attach<T: Stored>(&self, place: Offset<Offset<T>>, value: &T) -> Result<Offset<T>> {
        let place = self.at(place)?;
        let bytes = value.stored_bytes();
        let tag = self.inner.tag;
        self.with(|allocator| {
            let machine = self.session();
            let require_none = |word| match word == Offset::<T>::NONE.word() {
                true => Ok(()),
                false => Err(has_offset(place)),
            };
            let piece = allocator.reserve(bytes.len() as u64)?;
            let lock = self.inner.plan.place_lock(place);
            if let Piece::Block(taken) = piece {
                // Nothing refers to the block before the change.
                self.fill(taken.at, bytes)?;
                let offset = Offset::of(tag, taken.at);
                allocator.attach((lock.start, place), taken, |word| {
                    require_none(word).map(|()| offset.word())
                })?;
                return Ok(offset);
            }
            allocator.change(|change| {
                change.lock(lock)?;
                require_none(machine.load_64(place)?)?;
                let mut tops = Tops::default();
                let at = allocator.trade(change, Some(piece), None, &mut tops)?;
                self.fill(at, bytes)?;
                let offset = Offset::of(tag, at);
                change.record(place, offset.word());
                change.commit(tops.as_slice())?;
                Ok(offset)
            })
        })
    }

    /// Frees the object whose offset is at `place`, and stores [`Offset::NONE`] there, in one step.
    ///
    /// Returns `false` if `place` has no offset.
    ///
    /// # Errors
    /// As for [`free`](Self::free).
    ///
    /// # Examples
    /// See [`attach`](Self::attach).
    #[inline]
    pub fn detach<T: Stored>(&self, place: Offset<Offset<T>>) -> Result<bool> {
        let place = self.at(place)?;
        let none = Offset::<T>::NONE.word();
        let at = |word| match word == none {
            true => Ok(0),
            false => self.at(Offset::<T>::from_word(word)),
        };
        self.with(|allocator| {
            let lock = self.inner.plan.place_lock(place);
            match allocator.detach((lock.start, place), none, at)? {
                Detached::Run => self.detach_run(allocator, lock, place, (none, &at)),
                detached => Ok(detached == Detached::Block),
            }
        })
    }

    /// Frees what the word at `place` refers to, as far as it needs no room in a stack: a run.
    #[cold]
    fn detach_run(
        &self,
        allocator: &Allocator<'_, Session>,
        lock: Range<u32>,
        place: u64,
        (none, at): (u64, &dyn Fn(u64) -> Result<u64>),
    ) -> Result<bool> {
        let machine = self.session();
        allocator.change(|change| {
            change.lock(lock)?;
            let at = match at(machine.load_64(place)?)? {
                0 => return Ok(false),
                at => at,
            };
            let mut tops = Tops::default();
            allocator.trade(change, None, Some(Freed::Run(at)), &mut tops)?;
            change.record(place, none);
            change.commit(tops.as_slice())?;
            Ok(true)
        })
    }

    /// Copies an object out of the segment.
    ///
    /// Objects of up to 8 bytes are old or new while another process [writes](Self::write); longer ones may be half of
    /// each.
    ///
    /// # Errors
    /// - `Invalid` - the bytes are not a valid value of the type, or the offset belongs to another segment.
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// See [`allocate`](Self::allocate).
    #[inline]
    pub fn read<T: Stored>(&self, offset: Offset<T>) -> Result<T::Owned> {
        let at = self.at(offset)?;
        let value = match fits_word::<T>() {
            // No block is shorter.
            true => self.session().load_64(at).and_then(T::of_word),
            false => {
                let view = self.session().memory().view(at, size_of::<T>() as u64);
                view.and_then(T::copy_out)
            }
        };
        value.map_err(|error| self.named(error))
    }

    /// Copies a value into an object.
    ///
    /// An object of 4 or 8 bytes is written by one store. A longer one that a process is writing when it dies stays
    /// half-written.
    ///
    /// # Errors
    /// - `Invalid` - the offset belongs to another segment.
    /// - `NotWritable` - the segment is open for reading only.
    /// - `Fault` - the memory could not be accessed.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26)?;
    /// let hits = segment.allocate(&0_u64)?;
    /// segment.write(hits, &1)?;
    /// assert_eq!(segment.read(hits)?, 1);
    /// # Ok(()) }
    /// ```
    #[inline]
    pub fn write<T: Stored>(&self, offset: Offset<T>, value: &T) -> Result<()> {
        let at = self.at(offset)?;
        let session = self.session();
        if !session.takes_part() && !session.keeps_changes() {
            return Err(self.named(Error::new(ErrorKind::NotWritable, "write")));
        }
        session.write(at, value.stored_bytes()).map_err(|error| self.named(error))
    }

    /// Fills memory that nothing refers to.
    #[inline(always)]
    fn fill(&self, at: u64, bytes: &[u8]) -> Result<()> {
        // The memory may have been a map's until a store of this thread, and readers of the map may still read it.
        // They must see that store when they look again, if they see these bytes.
        self.session().fence_stores();
        self.session().write(at, bytes)
    }

    /// Returns where an offset lies in this segment, within the part that records may change.
    #[inline]
    fn at<T>(&self, offset: Offset<T>) -> Result<u64> {
        let at = offset.at(self.inner.tag).map_err(|error| self.named(error))?;
        match self.inner.plan.heap.at <= at && at < self.inner.plan.heap.end {
            true => Ok(at),
            false => Err(self.outside(at)),
        }
    }

    #[cold]
    fn outside(&self, at: u64) -> Error {
        self.named(Error::new(ErrorKind::Invalid, "use the offset").with_offset(at))
            .with_detail("no object lies there")
    }
}

#[cold]
fn has_offset(place: u64) -> Error {
    Error::new(ErrorKind::AlreadyExists, "attach")
        .with_offset(place)
        .with_detail("the place has an offset already")
}
