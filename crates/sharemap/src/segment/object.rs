//! Objects without a name, which offsets refer to.

use crate::error::{Error, ErrorKind, Result};
use crate::peer::Machine;
use crate::segment::allocator::{Freed, Piece, Tops};
use crate::segment::attach::Attachable;
use crate::segment::offset::Offset;
use crate::segment::segment::{Inner, Segment};
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
                allocator.fill(taken.at, bytes)?;
                allocator.settle(taken.top)?;
                Ok(taken.at)
            }
            piece @ Piece::Run(_) => allocator.change(|change| {
                let at = allocator.trade(change, Some(piece), None, &mut Tops::default())?;
                allocator.fill(at, bytes)?;
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
        let place = self.attachable(place)?;
        let content = (size_of::<T>() as u64, value.stored_bytes());
        let tag = self.inner.tag;
        let attached = self.at_once(|allocator, access| {
            allocator.attach_at_once(access, place, content, |at| Offset::<T>::of(tag, at).word())
        });
        match attached {
            Some(attached) => attached,
            None => self.attach_later(place, content, &|at| Offset::<T>::of(tag, at).word()),
        }
        .map(|at| Offset::of(tag, at))
    }

    #[cold]
    fn attach_later(
        &self,
        place: Attachable,
        content: (u64, &[u8]),
        word: &dyn Fn(u64) -> u64,
    ) -> Result<u64> {
        self.with(|allocator| allocator.attach(place, content, word))
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
        let place = self.attachable(place)?;
        let detached = self.at_once(|allocator, access| {
            let at = |word| self.inner.at(Offset::<T>::from_word(word));
            allocator.detach_at_once(access, place, at)
        });
        match detached {
            Some(detached) => detached.map(|()| true),
            None => self.detach_later(place, &|word| self.at(Offset::<T>::from_word(word))),
        }
    }

    #[cold]
    fn detach_later(&self, place: Attachable, at: &dyn Fn(u64) -> Result<u64>) -> Result<bool> {
        self.with(|allocator| allocator.detach(place, at))
    }

    /// Returns where an offset of an offset lies.
    #[inline(always)]
    fn attachable<T>(&self, place: Offset<Offset<T>>) -> Result<Attachable> {
        let at = self.at(place)?;
        let lock = self.inner.plan.place_lock(at);
        Ok(Attachable { at, lock, none: Offset::<T>::NONE.word() })
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

    /// Returns where an offset lies in this segment, within the part that records may change.
    #[inline]
    fn at<T>(&self, offset: Offset<T>) -> Result<u64> {
        match self.inner.at(offset) {
            Some(at) => Ok(at),
            None => Err(self.outside(offset.at(self.inner.tag))),
        }
    }

    /// Returns the error for an offset that is none of an object: where it lies, or why it lies nowhere.
    #[cold]
    fn outside(&self, at: Result<u64>) -> Error {
        let error = match at {
            Ok(at) => Error::new(ErrorKind::Invalid, "use the offset")
                .with_offset(at)
                .with_detail("no object lies there"),
            Err(error) => error,
        };
        self.named(error)
    }
}

impl Inner {
    /// Returns where an offset lies in the heap; `None` if it does not.
    #[inline(always)]
    fn at<T>(&self, offset: Offset<T>) -> Option<u64> {
        let at = offset.at(self.tag).ok()?;
        (self.plan.heap.at <= at && at < self.plan.heap.end).then_some(at)
    }
}
