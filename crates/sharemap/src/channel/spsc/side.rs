//! What a sender and a receiver have in common: a role, the ring, and a position in it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::ring::{CONTROL, Cursor, HEAD, RETRIES, Ring, TAIL};
use super::wait::Wait;
use crate::channel::role::{OwnedRole, Role, RoleWord};
use crate::error::{Error, ErrorKind, Result};
use crate::layout::Element;
use crate::peer::{Faults, Machine, Opening, RingSpan};
use crate::sync::core::gate::{self, Wake};

/// An end of the channel.
pub(super) struct Side<T> {
    pub(super) role: OwnedRole,
    pub(super) span: RingSpan<T, CONTROL>,
    pub(super) cursor: Cursor,
    /// How this side waits for the other.
    pub(super) wait: Wait,
}

/// Which of the two positions is a side's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Tail,
    Head,
}

/// The bits of [`RETRIES`] that are a position. Those above count deaths.
const POSITION: u64 = (1 << 48) - 1;

/// Returns the ring in a span.
#[inline(always)]
pub(super) fn ring<T: Element>(span: &RingSpan<T, CONTROL>) -> Ring<'_, T> {
    Ring { control: span.control(), slots: span.slots() }
}

impl<T: Element> Side<T> {
    /// Claims a role of the channel whose words lie at an offset, for a side that continues where the one before it
    /// stopped.
    pub(super) fn claim(
        opening: &Arc<Opening>,
        (at, capacity): (u64, u64),
        (role, own): (Role, Own),
        wait: Wait,
    ) -> Result<Self> {
        let span = RingSpan::new(opening, at, capacity)?;
        let (role, before) = OwnedRole::claim(opening, role, wait.operation)?;
        let mut side = Self { role, span, cursor: Cursor { own: 0, other: 0 }, wait };
        side.cursor = side.starting(own, before)?;
        Ok(side)
    }

    /// Returns the positions from which a side continues. Counts the death of a receiver that had a message.
    fn starting(&self, own: Own, before: RoleWord) -> Result<Cursor> {
        let (ring, faults) = (ring(&self.span), &mut Faults::default());
        // Of both positions only the own one stands still.
        let (tail, head) = match own {
            Own::Tail => (ring.control.load(TAIL, faults), ring.control.load(HEAD, faults)),
            Own::Head => {
                let head = ring.control.load(HEAD, faults);
                (ring.control.load(TAIL, faults), head)
            }
        };
        let messages = tail.wrapping_sub(head);
        if !faults.is_empty() {
            return Err(self.fault(faults));
        }
        if messages > ring.slots.count() {
            return Err(self.error(ErrorKind::Malformed).with_detail(
                "its positions are further apart than it has slots; create it again",
            ));
        }
        if own == Own::Tail {
            return Ok(Cursor { own: tail, other: head });
        }
        if before.is_over() && !before.has_left() && messages > 0 {
            let failed = 1 + self.failures(head)?;
            ring.control.store(RETRIES, failed << 48 | head & POSITION, faults);
            if !faults.is_empty() {
                return Err(self.fault(faults));
            }
        }
        Ok(Cursor { own: head, other: tail })
    }

    /// Returns how many receivers died before they released the message of a position; at most 65,534.
    pub(super) fn failures(&self, head: u64) -> Result<u64> {
        let faults = &mut Faults::default();
        let word = ring(&self.span).control.load(RETRIES, faults);
        match faults.is_empty() {
            true if word & POSITION == head & POSITION => Ok((word >> 48).min(0xfffe)),
            true => Ok(0),
            false => Err(self.fault(faults)),
        }
    }

    /// Fails in a child that has this side from a fork.
    #[inline(always)]
    pub(super) fn require_own(&self) -> Result<()> {
        self.role.lane.require_own(self.wait.operation)
    }

    /// Returns the moment that a wait ends; `None` if it cannot be expressed.
    pub(super) fn after(&self, timeout: Duration) -> Option<Duration> {
        self.role.lane.now().checked_add(timeout)
    }

    /// Waits as [`Wait::run`] does, and fails with `Closed` if the other side has left.
    #[cold]
    #[inline(never)]
    pub(super) fn wait(
        &mut self,
        until: Option<Duration>,
        count: impl Fn(Ring<'_, T>, &mut Cursor, &mut Faults) -> u64,
    ) -> Result<()> {
        let Self { role, span, cursor, wait } = self;
        let is_ready = || {
            let faults = &mut Faults::default();
            let is_ready = count(ring(span), cursor, faults) > 0;
            if faults.is_empty() { Ok(is_ready) } else { Err(span.fault(faults, wait.operation)) }
        };
        let ready = wait.run(&role.lane, until, is_ready);
        match ready.map_err(|error| error.with_path(span.session().path()))? {
            true => Ok(()),
            false => Err(self.error(ErrorKind::Closed)),
        }
    }

    /// Returns the other side's role.
    pub(super) fn other(&self) -> Result<RoleWord> {
        let word = self.wait.other.load(self.span.session());
        word.map_err(|error| error.with_operation(self.wait.operation))
    }

    /// Returns what `question` says of the other side's role.
    pub(super) fn other_has(&self, question: fn(RoleWord) -> bool) -> Result<bool> {
        self.other().map(question)
    }

    /// Returns an error of this side's operation.
    #[cold]
    pub(super) fn error(&self, kind: ErrorKind) -> Error {
        Error::new(kind, self.wait.operation).with_path(self.span.session().path()).inside()
    }

    /// Returns the error of accesses of which one has failed.
    #[cold]
    pub(super) fn fault(&self, faults: &Faults) -> Error {
        self.span.fault(faults, self.wait.operation)
    }
}

impl<T> Side<T> {
    pub(super) fn debug(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let session = self.role.lane.session();
        f.debug_struct(name)
            .field("object", &session.path())
            .field("position", &self.cursor.own)
            .finish_non_exhaustive()
    }
}

/// Wakes the other side, which waits for what the owner of this role does.
#[cold]
#[inline(never)]
pub(super) fn wake(role: &OwnedRole) {
    // The message is sent, or released, whatever comes of this: without a wake, the other side looks again by itself.
    let _ = gate::open(&role.lane, role.role.gate, Wake::One);
}
