//! The ring of one sender and one receiver (FORMAT.md, "Spsc").
//!
//! Messages have positions, which count from the first message on and wrap at 2^64. The message of a position lies in the
//! slot with that number, modulo the number of slots, which is a power of two. The sender's position, the tail, is that of
//! the next message; the receiver's position, the head, is that of the oldest message that is not released. Each is stored
//! by its own side only, and each side remembers what it saw last of the other's.
//!
//! To send: if there is no room by what is remembered, or less than is wanted, load the head. Fill the slots, then store
//! the tail. To receive: if there are fewer messages by what is remembered than are wanted, load the tail. Copy the slots,
//! then store the head.
//!
//! Both stores are release stores, and both loads acquire loads: the receiver that sees a tail sees the messages before
//! it, and the sender that sees a head overwrites only what has been copied. Each change is one store, so that a death at
//! any moment leaves nothing to repair: a message counts as sent, or as released, or does not.
//!
//! A misbehaving peer can store any position. Those that are further apart than the ring is long are ignored, so that the
//! sender finds the ring full in the end and the receiver finds it empty, and both wait, until their deadlines.

use crate::channel::role::Role;
use crate::layout::{Element, Pod};
use crate::peer::{Copied, Faults, Machine, Memory, Readable, Slots, Window, Writable};
use crate::sync::core::gate::SLEEPER;

/// The length of the words before the slots.
pub(in crate::channel) const CONTROL: u64 = 1024;

// Offsets of the words. What one side stores often lies 128 bytes from what the other does, as processors fetch two cache
// lines together.
/// The number of slots. It never changes.
pub(in crate::channel) const CAPACITY: u64 = 0;
const SENDER: u64 = 16;
const RECEIVER: u64 = 32;
/// The position of the message that the last dead receiver had not released, and how many died before they released it.
pub(in crate::channel) const RETRIES: u64 = 48;
pub(in crate::channel) const TAIL: u64 = 128;
/// How often the sender has slept.
pub(in crate::channel) const SEND_WAITS: u64 = 136;
pub(in crate::channel) const HEAD: u64 = 256;
/// How often the receiver has slept.
pub(in crate::channel) const RECEIVE_WAITS: u64 = 264;
/// The gate of a receiver that waits for a message.
pub(in crate::channel) const MESSAGES: u64 = 384;
/// The gate of a sender that waits for a free slot.
pub(in crate::channel) const ROOM: u64 = 512;

/// Returns the role of the sender, for which the receiver waits.
pub(in crate::channel) fn sender(at: u64) -> Role {
    Role { at: at + SENDER, gate: at + MESSAGES }
}

/// Returns the role of the receiver, for which the sender waits.
pub(in crate::channel) fn receiver(at: u64) -> Role {
    Role { at: at + RECEIVER, gate: at + ROOM }
}

/// A side's own position, and that of the other side as it was seen last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::channel) struct Cursor {
    pub(in crate::channel) own: u64,
    pub(in crate::channel) other: u64,
}

/// The words and the slots.
pub(in crate::channel) struct Ring<'m, T, R: Readable = Memory> {
    pub(in crate::channel) control: Window<'m, CONTROL, R>,
    pub(in crate::channel) slots: Slots<'m, T, R>,
}

impl<T, R: Readable> Clone for Ring<'_, T, R> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, R: Readable> Copy for Ring<'_, T, R> {}

impl<T: Element, W: Writable> Ring<'_, T, W> {
    /// Returns the number of free slots that the sender may fill. Loads the head if there are fewer than `wanted` by what
    /// the sender saw last. After a failure, the number is arbitrary.
    #[inline(always)]
    pub(in crate::channel) fn room(
        self,
        cursor: &mut Cursor,
        wanted: u64,
        faults: &mut Faults,
    ) -> u64 {
        let capacity = self.slots.count();
        if capacity - cursor.own.wrapping_sub(cursor.other) < wanted {
            let head = self.control.load(HEAD, faults);
            if faults.is_empty() && cursor.own.wrapping_sub(head) <= capacity {
                cursor.other = head;
            }
        }
        capacity - cursor.own.wrapping_sub(cursor.other)
    }

    /// Sends a message. Returns `false` if the ring is full, and `None` if an access has failed: nothing is sent then.
    #[inline(always)]
    pub(in crate::channel) fn try_send(
        self,
        cursor: &mut Cursor,
        value: &T,
        faults: &mut Faults,
    ) -> Option<bool> {
        if self.room(cursor, 1, faults) == 0 {
            return faults.is_empty().then_some(false);
        }
        // The lines of the slots lie in the receiver's cache. A store that waits for its line holds up all later ones.
        self.slots.prefetch_for_store(cursor.own);
        self.slots.store(cursor.own, value, faults);
        // Before the message is published, as a message that could not be written must not be.
        if !faults.is_empty() {
            return None;
        }
        self.publish(cursor, 1, faults)
    }

    /// Publishes messages that are in their slots. Returns `None` if the store has failed: nothing is published then.
    #[inline(always)]
    pub(in crate::channel) fn publish(
        self,
        cursor: &mut Cursor,
        count: u64,
        faults: &mut Faults,
    ) -> Option<bool> {
        let tail = cursor.own.wrapping_add(count);
        self.control.store(TAIL, tail, faults);
        if !faults.is_empty() {
            return None;
        }
        cursor.own = tail;
        Some(true)
    }

    /// Returns the number of messages that the receiver may copy. Loads the tail if there are fewer than `wanted` by what
    /// the receiver saw last. After a failure, the number is arbitrary.
    #[inline(always)]
    pub(in crate::channel) fn messages(
        self,
        cursor: &mut Cursor,
        wanted: u64,
        faults: &mut Faults,
    ) -> u64 {
        if cursor.other.wrapping_sub(cursor.own) < wanted {
            // Both lines come from the sender's cache. They are fetched at the same time.
            self.slots.prefetch(cursor.own);
            let tail = self.control.load(TAIL, faults);
            if faults.is_empty() && tail.wrapping_sub(cursor.own) <= self.slots.count() {
                cursor.other = tail;
            }
        }
        cursor.other.wrapping_sub(cursor.own)
    }

    /// Receives a message. Returns `false` if the ring is empty, and `None` if an access has failed: the message is still
    /// there then.
    #[inline(always)]
    pub(in crate::channel) fn try_receive(
        self,
        cursor: &mut Cursor,
        into: &mut Copied<T>,
        faults: &mut Faults,
    ) -> Option<bool> {
        if self.messages(cursor, 1, faults) == 0 {
            return faults.is_empty().then_some(false);
        }
        self.slots.load(cursor.own, into, faults);
        if !faults.is_empty() {
            return None;
        }
        self.release(cursor, 1, faults)
    }

    /// Releases messages that were copied. Returns `None` if the store has failed: they are still there then.
    #[inline(always)]
    pub(in crate::channel) fn release(
        self,
        cursor: &mut Cursor,
        count: u64,
        faults: &mut Faults,
    ) -> Option<bool> {
        let head = cursor.own.wrapping_add(count);
        self.control.store(HEAD, head, faults);
        if !faults.is_empty() {
            return None;
        }
        cursor.own = head;
        Some(true)
    }

    /// Sends as many of `values` as fit, at most up to the last slot. Returns their number.
    #[inline(always)]
    pub(in crate::channel) fn send_run(
        self,
        cursor: &mut Cursor,
        values: &[T],
        faults: &mut Faults,
    ) -> Option<usize> {
        let values = &values[..values.len().min(self.most_at_once())];
        let room = self.room(cursor, values.len() as u64, faults);
        let values = &values[..values.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        let count = match faults.is_empty() {
            true => self.slots.store_run(cursor.own, values, faults),
            false => return None,
        };
        if !faults.is_empty() {
            return None;
        }
        if count > 0 {
            self.publish(cursor, count as u64, faults)?;
        }
        Some(count)
    }

    /// Receives as many messages as there are room for in `into`, at most up to the last slot. Returns their number.
    #[inline(always)]
    pub(in crate::channel) fn receive_run(
        self,
        cursor: &mut Cursor,
        into: &mut [T],
        faults: &mut Faults,
    ) -> Option<usize>
    where
        T: Pod,
    {
        let most = into.len().min(self.most_at_once());
        let there = self.messages(cursor, most as u64, faults);
        let most = most.min(usize::try_from(there).unwrap_or(usize::MAX));
        let count = match faults.is_empty() {
            true => self.slots.load_run(cursor.own, &mut into[..most], faults),
            false => return None,
        };
        if !faults.is_empty() {
            return None;
        }
        if count > 0 {
            self.release(cursor, count as u64, faults)?;
        }
        Some(count)
    }

    /// Returns how many messages one run has at most: so many that the other side has something to do meanwhile.
    #[inline(always)]
    fn most_at_once(self) -> usize {
        const BYTES: usize = 1 << 16;
        (BYTES / size_of::<T>()).max(1)
    }

    /// Returns `true` if the other side may sleep at its gate, which is to be opened then. The caller has stored its
    /// position, and runs on the machine.
    ///
    /// A gate that cannot be loaded counts as one that nothing sleeps at: the caller's position is stored, and its next
    /// call reports the fault.
    #[inline(always)]
    pub(in crate::channel) fn is_awaited(self, machine: &impl Machine, gate: u64) -> bool {
        // The load must not overtake the store of the position. A waiter's fence covers processes that are registered for
        // it.
        if !machine.stores_release() {
            self.control.fence();
        }
        let faults = &mut Faults::default();
        let seen = self.control.load_32(gate, faults);
        seen & SLEEPER != 0 && faults.is_empty()
    }
}
