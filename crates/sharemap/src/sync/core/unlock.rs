//! Giving a lock's word back: the word, then the gate, then the announcement, each done whatever came
//! of the one before.

use crate::error::Result;
use crate::peer::{Announced, Machine};
use crate::sync::core::gate::{self, SLEEPER, Wake};
use crate::sync::core::word::owner;

/// What is given back: where it is, and who is to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unlock {
    /// The word's offset, and what it is to be.
    pub(crate) word: u64,
    pub(crate) flags: u32,
    pub(crate) gate: u64,
    pub(crate) wake: Wake,
}

/// Who sleeps at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    Nobody,
    Somebody,
}

impl Unlock {
    /// All of it.
    #[inline(always)]
    pub(crate) fn run<W: Machine>(self, machine: &W, announced: Announced) -> Result<()> {
        match self.begin(machine) {
            Ok(Waiting::Nobody) => machine.withdraw(announced),
            other => self.finish(machine, announced, other.map(drop)),
        }
    }

    /// What is left to do, if somebody waits or the beginning failed. While the word names the lane,
    /// the announcement stays: whoever recovers the lane is to find it.
    #[cold]
    #[inline(never)]
    pub(crate) fn finish<W: Machine>(
        self,
        machine: &W,
        announced: Announced,
        begun: Result<()>,
    ) -> Result<()> {
        if begun.is_err() && owner(machine.load_32(self.word)?) == Some(announced.lane) {
            return begun;
        }
        finish(machine, self.gate, self.wake, announced, begun)
    }

    /// Releases the word, plainly if those who wait fence, and looks at the gate.
    #[inline(always)]
    fn begin<W: Machine>(self, machine: &W) -> Result<Waiting> {
        if machine.stores_release() {
            return self.begin_plainly(machine);
        }
        machine.swap_32(self.word, self.flags)?;
        machine.load_32(self.gate).map(who_waits)
    }

    /// The same, where [`Machine::stores_release`] is known.
    #[inline(always)]
    pub(crate) fn begin_plainly<W: Machine>(self, machine: &W) -> Result<Waiting> {
        machine.store_and_load_32(self.word, self.flags, self.gate).map(who_waits)
    }
}

/// What a gate's word says.
#[inline(always)]
pub(crate) fn who_waits(gate: u32) -> Waiting {
    if gate & SLEEPER == 0 { Waiting::Nobody } else { Waiting::Somebody }
}

/// What is left to do, if somebody waits or the beginning failed.
#[cold]
#[inline(never)]
pub(crate) fn finish<W: Machine>(
    machine: &W,
    gate: u64,
    wake: Wake,
    announced: Announced,
    begun: Result<()>,
) -> Result<()> {
    let opened = gate::open(machine, gate, wake);
    let withdrawn = machine.withdraw(announced);
    begun.and(opened).and(withdrawn)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::peer::{self, ExpectedLayout, Liveness, OpenOptions, Session, delegate_world};
    use crate::shm::Location;
    use crate::sync::algorithms::mutex::{RawMutex, ReleaseState};
    use crate::sync::core::announcement::Kind;

    /// A world whose word cannot be stored to, as where a full disk refuses the page.
    struct Refusing<'a> {
        session: &'a Session,
    }

    impl Machine for Refusing<'_> {
        delegate_world!(session: words lanes waits others);

        fn store_and_load_32(&self, _: u64, _: u32, _: u64) -> Result<u32> {
            Err(Error::new(ErrorKind::Fault, "access"))
        }
    }

    #[test]
    fn who_cannot_release_stays_announced() {
        if crate::guard::recovery() == crate::guard::Recovery::Syscall {
            eprintln!("skipped: no atomic accesses here");
            return;
        }
        let shape = ExpectedLayout {
            kind: 79,
            fingerprint: [0; 16],
            payload: 64,
            participants: 2,
            lanes: 2,
        };
        let fill = &mut |_: &peer::Memory, _: &peer::Header| Ok(());
        let terms = OpenOptions::default();
        let location = Location::anonymous();
        let opening =
            peer::create_new(&location, &shape, &terms, crate::sync::recover, fill).unwrap();
        let session = opening.session();
        if !session.stores_release() {
            eprintln!("skipped: releases are exchanges here");
            return;
        }
        let mutex = RawMutex::new(session.payload_at(), 8);
        let held = mutex.lock(&**session, None).unwrap();
        let refused = mutex.unlock(&Refusing { session }, held, ReleaseState::Sound);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Fault);
        let what = Kind::Mutex.of(session.payload_at());
        assert_eq!(session.announced(what).unwrap(), Some(held.announced()));
        assert_eq!(mutex.lock(&**session, None).unwrap_err().kind(), ErrorKind::Deadlock);
        mutex.unlock(&**session, held, ReleaseState::Sound).unwrap();
        assert_eq!(session.announced(what).unwrap(), None);
    }
}
