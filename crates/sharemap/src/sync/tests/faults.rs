//! What the algorithms keep when the memory faults between two of their steps.
//!
//! A [`Failing`] machine performs the operations of a session, except that accesses to words fail where the
//! test says so. The steps of the algorithms cannot fail one by one on real memory: it faults as a whole page.

use std::cell::Cell;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::{Announced, Liveness, Machine, Session, delegate_world};
use crate::sync::algorithms::counting_semaphore::RawCountingSemaphore;
use crate::sync::algorithms::event::{RawEvent, Reset};
use crate::sync::algorithms::semaphore::{self, RawSemaphore};
use crate::sync::core::announcement::{self, Kind};
use crate::sync::tests::object::of_one_lock;

/// An access that a [`Failing`] machine refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Each compare-exchange of 64 bits.
    Exchange,
    /// Each store of an announcement of this kind.
    Store(Kind),
}

struct Failing<'a> {
    session: &'a Session,
    refused: Cell<Option<Access>>,
    /// How many compare-exchanges of 32 bits do not fail yet. A sleep sets it to 1.
    exchanges: Cell<u32>,
}

impl<'a> Failing<'a> {
    fn new(session: &'a Session) -> Self {
        Self { session, refused: Cell::new(None), exchanges: Cell::new(u32::MAX) }
    }

    fn allow(&self, access: Access) -> Result<()> {
        match self.refused.get() {
            Some(refused) if refused == access => Err(Error::new(ErrorKind::Fault, "access")),
            _ => Ok(()),
        }
    }
}

impl Machine for Failing<'_> {
    delegate_world!(session: lanes others notes);
    delegate_world! { @ each session
        fn load_32(at: u64) -> Result<u32>;
        fn store_32(at: u64, value: u32) -> Result<()>;
        fn swap_32(at: u64, value: u32) -> Result<u32>;
        fn load_64(at: u64) -> Result<u64>;
        fn swap_64(at: u64, value: u64) -> Result<u64>;
        fn read(at: u64, into: &mut [u8]) -> Result<()>;
        fn write(at: u64, from: &[u8]) -> Result<()>;
        fn stores_release() -> bool;
        fn fence_all() -> bool;
        fn nap(time: Duration) -> ();
    }

    fn compare_exchange_32(&self, at: u64, current: u32, new: u32) -> Result<u32> {
        let Some(left) = self.exchanges.get().checked_sub(1) else {
            return Err(Error::new(ErrorKind::Fault, "access"));
        };
        self.exchanges.set(left);
        self.session.compare_exchange_32(at, current, new)
    }

    fn compare_exchange_64(&self, at: u64, current: u64, new: u64) -> Result<u64> {
        self.allow(Access::Exchange)?;
        self.session.compare_exchange_64(at, current, new)
    }

    fn store_64(&self, at: u64, value: u64) -> Result<()> {
        if let (_, Some(kind)) = announcement::parse(value) {
            self.allow(Access::Store(kind))?;
        }
        self.session.store_64(at, value)
    }

    fn spin(&self, _: u32) -> Option<u32> {
        None
    }

    /// Does what another thread would do during the sleep: adds one to the first word of the payload.
    fn wait(&self, _: u64, _: u32, _: Duration) -> Result<()> {
        self.exchanges.set(1);
        self.session.store_32(self.session.payload().0, 1)
    }
}

/// Creates a semaphore with two permits.
fn permits(session: &Session) -> RawSemaphore {
    session.store_64(session.payload().0, 2).unwrap();
    RawSemaphore::new(session.payload().0)
}

/// Recovers the only permit that this thread announces, as if the process had died.
fn recover_permit(session: &Session, announced: Announced) {
    semaphore::recover(session, session.payload().0, announced.slot, announced.lane).unwrap();
    session.withdraw(announced).unwrap();
}

#[test]
fn a_permit_that_cannot_be_released_is_not_lost() {
    let Some(session) = &of_one_lock() else { return };
    let session: &Session = session;
    let permits = permits(session);
    let machine = Failing::new(session);
    for refused in [Access::Exchange, Access::Store(Kind::PermitReturner)] {
        let permit = permits.acquire(session, None).unwrap();
        let announced = permit.announced;
        machine.refused.set(Some(refused));
        let error = permits.release(&machine, permit).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fault);
        assert_eq!(permits.available(session).unwrap(), 1, "{refused:?}: it is still held");
        // Other changes of the word do not free it.
        let other = permits.acquire(session, None).unwrap();
        permits.release(session, other).unwrap();
        recover_permit(session, announced);
        assert_eq!(permits.available(session).unwrap(), 2, "{refused:?}: recovery frees it");
    }
    // Once the word has changed, the permit is free whatever fails afterwards.
    let permit = permits.acquire(session, None).unwrap();
    machine.refused.set(Some(Access::Store(Kind::PermitWaiter)));
    let error = permits.release(&machine, permit).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fault);
    assert_eq!(permits.available(session).unwrap(), 2);
}

#[test]
fn a_permit_that_was_taken_is_acquired_whatever_fails_afterwards() {
    let Some(session) = &of_one_lock() else { return };
    let session: &Session = session;
    let permits = permits(session);
    let machine = Failing::new(session);
    machine.refused.set(Some(Access::Store(Kind::Permit)));
    let first = permits.acquire(&machine, None).unwrap();
    let second = permits.try_acquire(&machine).unwrap().expect("a permit is free");
    assert_eq!(permits.available(session).unwrap(), 0);
    permits.release(session, first).unwrap();
    assert_eq!(permits.available(session).unwrap(), 1);
    // The other permit is found by its intention alone.
    recover_permit(session, second.announced);
    assert_eq!(permits.available(session).unwrap(), 2);
}

#[test]
fn a_count_that_was_taken_is_reported_whatever_fails_afterwards() {
    let Some(session) = &of_one_lock() else { return };
    let session: &Session = session;
    let count = RawCountingSemaphore::new(session.payload().0);
    let machine = Failing::new(session);
    count.wait(&machine, None).unwrap();
    assert_eq!(count.count(session).unwrap(), 0);
    assert_eq!(machine.exchanges.get(), 0, "later exchanges were refused");
}

#[test]
fn an_event_that_was_reset_is_reported_whatever_fails_afterwards() {
    let Some(session) = &of_one_lock() else { return };
    let session: &Session = session;
    let event = RawEvent::new(session.payload().0, Reset::Auto);
    let machine = Failing::new(session);
    event.wait(&machine, None).unwrap();
    assert!(!event.is_set(session).unwrap());
    assert_eq!(machine.exchanges.get(), 0, "later exchanges were refused");
}
