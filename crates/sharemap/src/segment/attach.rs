//! Attaching memory to a word and detaching it, in one step: the memory is not free without the word, nor the word set
//! without the memory.

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Faults, Machine, Writable};
use crate::segment::allocator::{Allocator, Freed, Tops};
use crate::segment::at_once::{AtOnce, Effect, Place};

/// A word that refers to memory or to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attachable {
    /// The offset of the word.
    pub(super) at: u64,
    /// The number of the lock that protects it.
    pub(super) lock: u32,
    /// The value that refers to nothing.
    pub(super) none: u64,
}

/// What one attempt to detach did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detached {
    /// Freed the memory.
    Freed,
    /// Nothing: the place refers to nothing.
    Nothing,
    /// Nothing: the lane's stack of this class has no room.
    Full(u32),
}

impl<M: Machine> Allocator<'_, M> {
    /// Takes a block of at least `len` bytes, copies `bytes` to it, and stores what refers to it in the word at `place`, in
    /// one step. Returns the offset of the block, or `None` if nothing has changed: then [`attach`](Self::attach) does
    /// it, or says why not.
    ///
    /// `word` returns what refers to an offset.
    #[inline(always)]
    pub(super) fn attach_at_once<W: Writable>(
        &self,
        access: AtOnce<'_, W>,
        place: Attachable,
        (len, bytes): (u64, &[u8]),
        word: impl FnOnce(u64) -> u64,
    ) -> Option<Result<u64>> {
        let faults = &mut Faults::default();
        let (at, top) = self.take_at_once(access, len, faults)?;
        self.fill(at, bytes).ok()?;
        let held = self.acquire_at_once(access, place.lock, faults)?;
        let effect = match Place::at(access.memory, place.at) {
            Some(there) if there.load(faults) == place.none => {
                Some(Effect::Record(there, word(at), top))
            }
            _ => None,
        };
        Some(self.make_at_once(access, held, effect, faults)?.map(|()| at))
    }

    /// Takes memory of any length and attaches it, like [`attach_at_once`](Self::attach_at_once).
    ///
    /// Fails with `AlreadyExists` if the word at `place` refers to something.
    #[cold]
    pub(super) fn attach(
        &self,
        place: Attachable,
        (len, bytes): (u64, &[u8]),
        word: &dyn Fn(u64) -> u64,
    ) -> Result<u64> {
        let piece = self.reserve(len)?;
        self.change(|change| {
            change.lock(place.lock..place.lock + 1)?;
            if self.machine.load_64(place.at)? != place.none {
                return Err(has_offset(place.at));
            }
            let mut tops = Tops::default();
            let at = self.trade(change, Some(piece), None, &mut tops)?;
            self.fill(at, bytes)?;
            change.record(place.at, word(at));
            change.commit(tops.as_slice())?;
            Ok(at)
        })
    }

    /// Frees the block that the word at `place` refers to, and stores what refers to nothing there, in one step. Returns
    /// `None` if nothing has changed: then [`detach`](Self::detach) does it, or says why not.
    ///
    /// `at` returns the offset that a word refers to, if it may.
    #[inline(always)]
    pub(super) fn detach_at_once<W: Writable>(
        &self,
        access: AtOnce<'_, W>,
        place: Attachable,
        at: impl FnOnce(u64) -> Option<u64>,
    ) -> Option<Result<()>> {
        let faults = &mut Faults::default();
        let held = self.acquire_at_once(access, place.lock, faults)?;
        let effect = self.free_at_once(access, place, at, faults);
        self.make_at_once(access, held, effect, faults)
    }

    #[inline(always)]
    fn free_at_once<'m, W: Writable>(
        &self,
        access: AtOnce<'m, W>,
        place: Attachable,
        at: impl FnOnce(u64) -> Option<u64>,
        faults: &mut Faults,
    ) -> Option<Effect<'m, W>> {
        let there = Place::at(access.memory, place.at)?;
        let at = at(there.load(faults))?;
        Some(Effect::Record(there, place.none, self.give_at_once(access, at, faults)?))
    }

    /// Frees memory of any length, like [`detach_at_once`](Self::detach_at_once). Returns `false` if the word at `place`
    /// refers to nothing.
    #[cold]
    pub(super) fn detach(
        &self,
        place: Attachable,
        at: &dyn Fn(u64) -> Result<u64>,
    ) -> Result<bool> {
        loop {
            let detached = self.change(|change| {
                change.lock(place.lock..place.lock + 1)?;
                let word = self.machine.load_64(place.at)?;
                if word == place.none {
                    return Ok(Detached::Nothing);
                }
                let freed = self.freed(at(word)?)?;
                if let Freed::Block(_, class) = freed {
                    if self.area.blocks(self.machine, class)? >= self.most_kept(class) {
                        return Ok(Detached::Full(class));
                    }
                }
                let mut tops = Tops::default();
                self.trade(change, None, Some(freed), &mut tops)?;
                change.record(place.at, place.none);
                change.commit(tops.as_slice())?;
                Ok(Detached::Freed)
            })?;
            match detached {
                // Not under the lock: room is made by a change of its own.
                Detached::Full(class) => self.spill(class)?,
                detached => return Ok(detached == Detached::Freed),
            };
        }
    }
}

#[cold]
fn has_offset(place: u64) -> Error {
    Error::new(ErrorKind::AlreadyExists, "attach")
        .with_offset(place)
        .with_detail("the place has an offset already")
}
