//! The table of guarded slices, in which the fault handler looks addresses up.
//!
//! A slot is claimed by one slice at a time. The handler may look at a slot while another thread
//! claims or releases it: the slot's sequence number tells (a sequence lock). The slice in which a
//! thread faults stays alive meanwhile, because the thread borrows it, so its slot does not change.
//!
//! Slots lie in chunks, each twice as long as the one before it. Chunks and slots are never freed, so
//! the handler needs no lock. Free slots form a stack of indices.
//!
//! The kernel copies a forked process piece by piece, while other threads change the table. In the
//! child, the stack of free slots may therefore lead to a slot in use. Such a slot is never claimed: the
//! child abandons the stack, and takes new slots.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

/// The number of slots in the first chunk.
const FIRST: u32 = 64;

/// The offset that stands for no lost byte.
const NONE_LOST: u64 = u64::MAX;

/// The slot of a slice. All zeros are a valid, free slot.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    /// The sequence number: odd while a slice is in the slot.
    sequence: AtomicU64,
    base: AtomicUsize,
    len: AtomicUsize,
    /// The offset in the file of the byte at `base`.
    origin: AtomicU64,
    page: AtomicUsize,
    file: AtomicI32,
    /// The index of the next free slot, plus 1, while this slot is free; 0 for the last.
    next: AtomicU32,
    /// The first lost byte, from `base`.
    lost: AtomicU64,
}

/// The memory and the file of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The first address, and the length in bytes: whole pages of the slice's mapping.
    pub(super) base: usize,
    pub(super) len: usize,
    /// The offset in the file of the byte at `base`.
    pub(super) origin: u64,
    /// The size of the mapping's pages.
    pub(super) page: usize,
    /// The descriptor that tells the file's size; -1 if none does.
    pub(super) file: i32,
}

impl Slot {
    fn is_used(&self) -> bool {
        self.sequence.load(Ordering::Relaxed) % 2 == 1
    }

    /// Puts a slice into the slot, which the caller has claimed.
    pub(super) fn put(&self, entry: &Entry) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        // Pairs with the fence in `get`: if the handler sees one of the stores below, it also sees that
        // the slot was released before.
        fence(Ordering::Release);
        self.base.store(entry.base, Ordering::Relaxed);
        self.len.store(entry.len, Ordering::Relaxed);
        self.origin.store(entry.origin, Ordering::Relaxed);
        self.page.store(entry.page, Ordering::Relaxed);
        self.file.store(entry.file, Ordering::Relaxed);
        self.lost.store(NONE_LOST, Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Release);
    }

    /// Returns the slice in the slot if it contains `address`.
    fn get(&self, address: usize) -> Option<Entry> {
        let before = self.sequence.load(Ordering::Acquire);
        let base = self.base.load(Ordering::Relaxed);
        let len = self.len.load(Ordering::Relaxed);
        if before % 2 == 0 || address.wrapping_sub(base) >= len {
            return None;
        }
        let origin = self.origin.load(Ordering::Relaxed);
        let page = self.page.load(Ordering::Relaxed);
        let file = self.file.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if self.sequence.load(Ordering::Relaxed) != before {
            return None;
        }
        Some(Entry { base, len, origin, page, file })
    }

    /// Records that the bytes from `offset` on, counted from the slice's base, are lost.
    pub(super) fn lose(&self, offset: u64) {
        self.lost.fetch_min(offset, Ordering::AcqRel);
    }

    /// Returns the offset of the first lost byte from the slice's base.
    pub(super) fn lost(&self) -> Option<u64> {
        let lost = self.lost.load(Ordering::Acquire);
        (lost != NONE_LOST).then_some(lost)
    }
}

/// A table of at most `CHUNKS` chunks.
pub(super) struct Table<const CHUNKS: usize> {
    chunks: [AtomicPtr<Slot>; CHUNKS],
    /// The number of slots that were ever claimed.
    used: AtomicU32,
    /// The index of the first free slot, plus 1, and in the upper half the number of changes, so that
    /// a stale exchange fails.
    free: AtomicU64,
}

/// The reason for which no slot could be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Full,
    NoMemory,
}

impl<const CHUNKS: usize> Table<CHUNKS> {
    /// The number of slots.
    pub(super) const SLOTS: u32 = FIRST * ((1 << CHUNKS) - 1);

    pub(super) const fn new() -> Self {
        Self {
            chunks: [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS],
            used: AtomicU32::new(0),
            free: AtomicU64::new(0),
        }
    }

    /// Claims a free slot.
    pub(super) fn claim(&self) -> Result<(u32, &'static Slot), Refusal> {
        match self.pop() {
            Some(claimed) => Ok(claimed),
            None => self.claim_new(),
        }
    }

    fn pop(&self) -> Option<(u32, &'static Slot)> {
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let index = (head as u32).checked_sub(1)?;
            let slot = self.slot(index)?;
            let new = advanced(head) | u64::from(slot.next.load(Ordering::Relaxed));
            match self.free.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire) {
                // Only in a forked child, as described above.
                Ok(_) if slot.is_used() => {
                    self.free.fetch_and(!u64::from(u32::MAX), Ordering::AcqRel);
                    return None;
                }
                Ok(_) => return Some((index, slot)),
                Err(now) => head = now,
            }
        }
    }

    /// Claims a slot that no slice has had.
    #[cold]
    fn claim_new(&self) -> Result<(u32, &'static Slot), Refusal> {
        loop {
            let index = self.used.load(Ordering::Acquire);
            if index >= Self::SLOTS {
                return Err(Refusal::Full);
            }
            let slot = match self.slot(index) {
                Some(slot) => slot,
                None => {
                    self.add_chunk(place(index).0)?;
                    continue;
                }
            };
            let claimed =
                self.used.compare_exchange(index, index + 1, Ordering::AcqRel, Ordering::Relaxed);
            // A used slot is found only in a forked child.
            if claimed.is_ok() && !slot.is_used() {
                return Ok((index, slot));
            }
        }
    }

    fn add_chunk(&self, chunk: usize) -> Result<(), Refusal> {
        let layout = Layout::array::<Slot>((FIRST as usize) << chunk);
        let layout = layout.map_err(|_| Refusal::NoMemory)?;
        // SAFETY: the layout is not empty.
        let new: *mut Slot = unsafe { alloc_zeroed(layout) }.cast();
        if new.is_null() {
            return Err(Refusal::NoMemory);
        }
        let stored = self.chunks[chunk].compare_exchange(
            ptr::null_mut(),
            new,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        if stored.is_err() {
            // SAFETY: allocated above, with this layout; no other thread has seen it.
            unsafe { dealloc(new.cast(), layout) };
        }
        Ok(())
    }

    /// Returns the slot of this index, whose chunk may be missing. A chunk is never freed.
    fn slot(&self, index: u32) -> Option<&'static Slot> {
        let (chunk, at) = place(index);
        let slots = self.chunks.get(chunk)?.load(Ordering::Acquire);
        // SAFETY: `at` is less than the length of the chunk, which is never freed, and whose zeros are
        // valid slots.
        (!slots.is_null()).then(|| unsafe { &*slots.add(at) })
    }

    /// Releases a slot, with or without a slice in it. The caller has claimed it.
    pub(super) fn release(&self, index: u32, slot: &Slot) {
        let sequence = slot.sequence.load(Ordering::Relaxed);
        slot.sequence.store(sequence + sequence % 2, Ordering::Relaxed);
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            slot.next.store(head as u32, Ordering::Relaxed);
            let new = advanced(head) | u64::from(index + 1);
            match self.free.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Returns the slice that contains `address`, with its slot. Async-signal-safe.
    ///
    /// The loops are plain, and the frames few, as in the rest of the handler.
    pub(super) fn find(&self, address: usize) -> Option<(&'static Slot, Entry)> {
        let used = self.used.load(Ordering::Acquire) as usize;
        let (mut chunk, mut first, mut size) = (0, 0, FIRST as usize);
        while first < used && chunk < CHUNKS {
            let slots = self.chunks[chunk].load(Ordering::Acquire);
            let mut at = 0;
            while !slots.is_null() && at < size && first + at < used {
                // SAFETY: within the chunk, as in `slot`.
                let slot = unsafe { &*slots.add(at) };
                if let Some(entry) = slot.get(address) {
                    return Some((slot, entry));
                }
                at += 1;
            }
            first += size;
            size *= 2;
            chunk += 1;
        }
        None
    }
}

/// Returns the number of a slot's chunk, and the slot's position in it.
fn place(index: u32) -> (usize, usize) {
    let chunk = (index / FIRST + 1).ilog2();
    (chunk as usize, (index - FIRST * ((1 << chunk) - 1)) as usize)
}

/// Returns the upper half of a stack's head after a change, with an empty lower half.
fn advanced(head: u64) -> u64 {
    ((head >> 32).wrapping_add(1)) << 32
}

#[cfg(test)]
mod tests {
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::{Entry, FIRST, Refusal, Table, place};

    fn entry(base: usize, len: usize) -> Entry {
        Entry { base, len, origin: base as u64 ^ 1, page: 4096, file: len as i32 }
    }

    #[test]
    fn each_index_has_a_place_of_its_own() {
        let mut expected = (0, 0);
        for index in 0..FIRST * 31 {
            assert_eq!(place(index), expected);
            expected.1 += 1;
            if expected.1 == (FIRST as usize) << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
    }

    #[test]
    fn a_full_table_refuses_and_a_released_slot_is_claimed_again() {
        let table = Table::<3>::new();
        let slots: Vec<_> = (0..Table::<3>::SLOTS).map(|_| table.claim().unwrap()).collect();
        assert_eq!(slots.len() as u32, 7 * FIRST);
        for (number, (_, slot)) in slots.iter().enumerate() {
            slot.put(&entry((number + 1) << 16, 4096));
        }
        assert_eq!(table.claim().unwrap_err(), Refusal::Full);
        for (number, (_, slot)) in slots.iter().enumerate() {
            let base = (number + 1) << 16;
            for address in [base, base + 4095] {
                let (found, entry) = table.find(address).unwrap();
                assert!(ptr::eq(found, *slot));
                assert_eq!(entry, super::tests::entry(base, 4096));
            }
            assert!(table.find(base - 1).is_none() && table.find(base + 4096).is_none());
        }
        let (index, slot) = slots[100];
        table.release(index, slot);
        assert!(table.find(101 << 16).is_none());
        let (again, same) = table.claim().unwrap();
        assert!(again == index && ptr::eq(same, slot));
        same.put(&entry(1 << 15, 4096));
        assert!(table.find(101 << 16).is_none() && table.find(1 << 15).is_some());
        assert_eq!(table.claim().unwrap_err(), Refusal::Full);
    }

    #[test]
    fn the_first_lost_byte_is_kept_until_the_slot_is_reused() {
        let table = Table::<1>::new();
        let (index, slot) = table.claim().unwrap();
        slot.put(&entry(1 << 20, 1 << 16));
        assert_eq!(slot.lost(), None);
        for offset in [8192, 4096, 12288] {
            slot.lose(offset);
        }
        assert_eq!(slot.lost(), Some(4096));
        table.release(index, slot);
        let (_, slot) = table.claim().unwrap();
        slot.put(&entry(1 << 20, 1 << 16));
        assert_eq!(slot.lost(), None);
    }

    /// A forked child's stack of free slots may lead to a slot in use, which is never claimed.
    #[test]
    fn a_slot_in_use_is_not_claimed_through_a_torn_stack() {
        let table = Table::<1>::new();
        let (kept, slot) = table.claim().unwrap();
        slot.put(&entry(1 << 20, 4096));
        let (index, other) = table.claim().unwrap();
        table.release(index, other);
        other.next.store(kept + 1, Ordering::Relaxed); // as an old copy of the slot
        assert_eq!(table.claim().unwrap().0, index);
        let (third, _) = table.claim().unwrap();
        assert!(third != kept && third != index);
        assert!(ptr::eq(table.find(1 << 20).unwrap().0, slot));
        // An old copy of the number of slots.
        table.used.store(kept, Ordering::Relaxed);
        assert_eq!(table.claim().unwrap().0, index, "the first that no slice uses");
    }

    /// Slices that live are found, as what they are, while others come and go in the same slots and at
    /// the same addresses.
    #[test]
    fn slices_are_found_while_others_come_and_go() {
        const FIXED: usize = 8;
        const NEAR: usize = 1 << 24;
        let table = Table::<4>::new();
        let base = |number: usize| (number + 16) * NEAR;
        // The slots that come and go precede the fixed ones.
        let early: Vec<_> = (0..16).map(|_| table.claim().unwrap()).collect();
        let fixed: Vec<_> = (0..FIXED).map(|_| table.claim().unwrap().1).collect();
        for (number, slot) in fixed.iter().enumerate() {
            slot.put(&entry(base(number), 1 << 20));
        }
        early.into_iter().for_each(|(index, slot)| table.release(index, slot));
        let looks = if std::env::var_os("SHAREMAP_LONG").is_some() { 20_000_000 } else { 5_000 };
        let (stop, found) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for number in 0..2 {
                let (table, stop) = (&table, &stop);
                scope.spawn(move || {
                    let mut round = number;
                    while !stop.load(Ordering::Relaxed) {
                        // At one address in turn: a short slice, and a long one that would cover
                        // fixed ones if its length were taken for the short one's.
                        let at = base(round % FIXED) - 0x1000 * (number + 1);
                        let lens = [0x800, 0x800, 0x900];
                        let (index, slot) = table.claim().unwrap();
                        slot.put(&entry(at, lens[round % 3]));
                        table.release(index, slot);
                        let (index, slot) = table.claim().unwrap();
                        slot.put(&entry(usize::MAX / 2, usize::MAX / 2));
                        table.release(index, slot);
                        round += 1;
                    }
                });
            }
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for look in 0..looks {
                            let number = look % FIXED;
                            let (slot, entry) = table.find(base(number) + 0x800).unwrap();
                            assert!(ptr::eq(slot, fixed[number]));
                            assert_eq!(entry, super::tests::entry(base(number), 1 << 20));
                            found.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            let results: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
            stop.store(true, Ordering::Relaxed);
            assert!(results.into_iter().all(|result| result.is_ok()));
        });
        assert_eq!(found.into_inner(), 2 * looks as u64);
    }
}
