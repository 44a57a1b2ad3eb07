//! `Spsc`: messages arrive whole, in order and once; an end that dies is replaced; no wait needs its timeout.

use std::time::Duration;

use crate::channel::role::Role;
use crate::channel::spsc::ring::{
    self, CAPACITY, CONTROL, Cursor, HEAD, MESSAGES, ROOM, Ring, TAIL,
};
use crate::channel::spsc::{recover_at, wait};
use crate::error::{Error, ErrorKind};
use crate::peer::{Announced, Copied, END, Faults, Machine, Simulated, Slots, Window};
use crate::sync::core::gate::{self, Wake};
use crate::testing::explorer::search::{caught, sound, walked};
use crate::testing::explorer::sim::Sim;
use crate::testing::explorer::state::{Carry, State};
use crate::testing::explorer::{Fault, Lanes, Order, Program, Setup};

/// The offset of the words, and of the slots.
const WORDS: u64 = 384;
const SLOTS: u64 = WORDS + CONTROL;

/// What a process keeps: its positions and its announcement.
#[derive(Clone, Copy)]
struct Kept {
    cursor: Cursor,
    announced: Announced,
}

impl Kept {
    fn of(carry: &Carry) -> Self {
        let [own, other, slot, lane] = *carry;
        let announced = Announced { lane: lane as u32, slot };
        Self { cursor: Cursor { own, other }, announced }
    }

    fn keep(self, carry: &mut Carry) {
        let Cursor { own, other } = self.cursor;
        *carry = [own, other, self.announced.slot, self.announced.lane.into()];
    }
}

/// Calls `use_it` with the ring of a channel with `count` slots.
fn with_ring<R>(
    sim: &Sim<'_>,
    count: u64,
    use_it: impl FnOnce(Ring<'_, u64, Simulated<'_, Sim<'_>>>) -> R,
) -> R {
    let memory = Simulated(sim);
    let control = Window::at(&memory, WORDS).expect("the memory is longer");
    use_it(Ring { control, slots: Slots::simulated(&memory, SLOTS, count) })
}

/// Claims a role. Returns what the process keeps; `None` if a living process has the role.
fn claim(sim: &Sim<'_>, count: u64, role: Role) -> Option<Kept> {
    let announced = sim.expect(sim.announce(role.at | END));
    if sim.expect(role.claim(sim, announced.lane)).is_none() {
        sim.expect(sim.withdraw(announced));
        return None;
    }
    let owner = if role == ring::sender(WORDS) { 1 } else { 2 };
    sim.ghost(|ghost| {
        if ghost.inside.contains(&owner) {
            return Err("two processes have the role".to_owned());
        }
        ghost.inside[sim.me] = owner;
        Ok(())
    });
    with_ring(sim, count, |ring| {
        let faults = &mut Faults::default();
        let (head, tail) = (ring.control.load(HEAD, faults), ring.control.load(TAIL, faults));
        let cursor = match owner {
            1 => Cursor { own: tail, other: head },
            _ => Cursor { own: head, other: tail },
        };
        Some(Kept { cursor, announced })
    })
}

fn leave(sim: &Sim<'_>, role: Role, kept: Kept) {
    sim.ghost(|ghost| {
        ghost.inside[sim.me] = 0;
        Ok(())
    });
    sim.expect(role.release(sim, kept.announced.lane));
    sim.expect(sim.withdraw(kept.announced));
}

/// Waits as a side does. Returns `false` if the side is to end: the other has left, or may never come.
fn waits(
    sim: &Sim<'_>,
    side: wait::Wait,
    cursor: &mut Cursor,
    mut count: impl FnMut(&mut Cursor, &mut Faults) -> u64,
) -> bool {
    let is_ready = || {
        let is_ready = count(cursor, &mut Faults::default()) > 0;
        // After a death, there may never be another side, unless it is known that the channel is closed.
        let other = if is_ready { None } else { Some(side.other.load(sim)?) };
        let is_hopeless =
            other.is_some_and(|other| other.owner().is_none() && !(side.is_closed)(other));
        if is_hopeless && sim.deaths() > 0 {
            return Err(Error::new(ErrorKind::Timeout, "wait"));
        }
        Ok(is_ready)
    };
    match side.run(sim, None, is_ready) {
        Err(error) if error.kind() == ErrorKind::Timeout => false,
        result => sim.expect(result),
    }
}

/// Sends the messages up to position `until`, in a channel with `COUNT` slots.
fn sends<const COUNT: u64, const UNTIL: u64>(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    let role = ring::sender(WORDS);
    if step == 0 {
        let Some(kept) = claim(sim, COUNT, role) else { return false };
        kept.keep(carry);
        return true;
    }
    let mut kept = Kept::of(carry);
    let goes_on = kept.cursor.own != UNTIL
        && with_ring(sim, COUNT, |ring| {
            let faults = &mut Faults::default();
            let message = kept.cursor.own.wrapping_add(1);
            if ring.try_send(&mut kept.cursor, &message, faults) == Some(true) {
                if ring.is_awaited(sim, MESSAGES) {
                    sim.expect(gate::open(sim, role.gate, Wake::One));
                }
                return true;
            }
            let side = wait::sender(WORDS);
            waits(sim, side, &mut kept.cursor, |cursor, faults| ring.room(cursor, 1, faults))
        });
    kept.keep(carry);
    if !goes_on {
        leave(sim, role, kept);
    }
    goes_on
}

/// Receives messages until there is no sender any more.
fn receives<const COUNT: u64>(sim: &Sim<'_>, step: u32, carry: &mut Carry) -> bool {
    let role = ring::receiver(WORDS);
    if step == 0 {
        let Some(kept) = claim(sim, COUNT, role) else { return false };
        kept.keep(carry);
        return true;
    }
    let mut kept = Kept::of(carry);
    let goes_on = with_ring(sim, COUNT, |ring| {
        let (faults, position) = (&mut Faults::default(), kept.cursor.own);
        let mut message = Copied::none();
        match ring.try_receive(&mut kept.cursor, &mut message, faults) {
            Some(true) => {
                let message: u64 =
                    *message.value().expect("it was received, and any bytes are a number");
                sim.ghost(|_| match message == position.wrapping_add(1) {
                    true => Ok(()),
                    false => Err(format!("message {message} at position {position}")),
                });
                if ring.is_awaited(sim, ROOM) {
                    sim.expect(gate::open(sim, role.gate, Wake::One));
                }
                true
            }
            _ => {
                let side = wait::receiver(WORDS);
                waits(sim, side, &mut kept.cursor, |cursor, faults| {
                    ring.messages(cursor, 1, faults)
                })
            }
        }
    });
    kept.keep(carry);
    if !goes_on {
        leave(sim, role, kept);
    }
    goes_on
}

/// Checks the positions at the end: all was received, unless a process died.
fn is_empty<const COUNT: u64, const UNTIL: u64>(state: &State) -> Result<(), String> {
    let (tail, head) = (state.peek_64(WORDS + TAIL), state.peek_64(WORDS + HEAD));
    let is_alive = state.processes.iter().all(|process| process.alive);
    match tail.wrapping_sub(head) {
        _ if is_alive && state.deaths == 0 && (tail, head) != (UNTIL, UNTIL) => {
            Err(format!("{tail} were sent, and {head} were received"))
        }
        messages if messages > COUNT => Err(format!("{messages} messages in {COUNT} slots")),
        _ => Ok(()),
    }
}

fn setup<const COUNT: u64, const UNTIL: u64>(programs: &[Program]) -> Setup {
    Setup {
        memory: (SLOTS + 8 * COUNT) as usize,
        words: vec![(WORDS + CAPACITY, COUNT as u32)],
        recover: |sim, _, what, lane| recover_at(sim, WORDS, what, lane),
        last: is_empty::<COUNT, UNTIL>,
        preemptions: Some(2),
        long: Some(3),
        // The first sleep of each wait may miss its wake.
        brief: Duration::from_millis(1),
        buffer: 3,
        ..Setup::new(programs)
    }
}

/// Starts the positions shortly before they wrap. The message of each is its position plus one.
fn wrapping(setup: Setup, before: u64) -> Setup {
    let start = 0_u64.wrapping_sub(before);
    let mut words = setup.words.clone();
    for at in [WORDS + TAIL, WORDS + HEAD] {
        words.push((at, start as u32));
        words.push((at + 4, (start >> 32) as u32));
    }
    Setup { words, ..setup }
}

const ONE: Program = sends::<1, 1>;
const TWO: Program = sends::<1, 2>;
const BOTH: Program = sends::<2, 2>;

#[test]
fn messages_arrive() {
    sound("one message", &setup::<1, 1>(&[ONE, receives::<1>]));
    sound("two messages through one slot", &setup::<1, 2>(&[TWO, receives::<1>]));
    sound("three messages through two slots", &setup::<2, 3>(&[sends::<2, 3>, receives::<2>]));
    let wraps = setup::<2, 1>(&[sends::<2, 1>, receives::<2>]);
    sound("positions wrap", &wrapping(wraps, 2));
    walked("five messages", &setup::<2, 5>(&[sends::<2, 5>, receives::<2>]), 300);
}

#[test]
fn without_fences() {
    let plain = setup::<2, 3>(&[sends::<2, 3>, receives::<2>]);
    let other =
        Setup { registered: [false; 3], fences: [false; 3], brief: Duration::ZERO, ..plain };
    sound("no process registered or able to fence", &other);
    // Of such processes, not even the first sleep misses its wake.
    let lost = Setup { registered: [true; 3], ..other };
    caught("registered, but not able to fence", &lost);
}

#[test]
fn with_weak_order() {
    let weak = |setup| Setup { order: Order::Weak, ..setup };
    sound("copies in any order", &weak(setup::<1, 2>(&[TWO, receives::<1>])));
    sound("two slots", &weak(setup::<2, 3>(&[sends::<2, 3>, receives::<2>])));
}

#[test]
fn with_deaths() {
    let killed = |setup| Setup { kills: 1, ..setup };
    sound("one is killed", &killed(setup::<1, 2>(&[TWO, receives::<1>])));
    let replaced = |setup| Setup { kills: 2, newcomers: 2, ..setup };
    sound("two are killed and replaced", &replaced(setup::<1, 2>(&[TWO, receives::<1>])));
    sound("two slots", &replaced(setup::<2, 2>(&[sends::<2, 2>, receives::<2>])));
    walked("killed and replaced", &replaced(setup::<2, 5>(&[sends::<2, 5>, receives::<2>])), 300);
}

#[test]
fn one_end_at_a_time() {
    let two = Setup { last: |_| Ok(()), ..setup::<2, 2>(&[BOTH, BOTH]) };
    sound("two claim the role", &two);
    let killed = Setup { kills: 2, newcomers: 2, lanes: Lanes::Pooled, ..two };
    sound("two claim the role, and are replaced", &killed);
    let third =
        Setup { programs: vec![BOTH, BOTH, receives::<2>], kills: 2, newcomers: 1, ..killed };
    walked("two claim the role, one is replaced, one receives", &third, 300);
}

#[test]
fn planted_faults_are_found() {
    let one = |fault| Setup { fault, ..setup::<1, 2>(&[TWO, receives::<1>]) };
    caught("the tail is not stored", &one(Fault::DropStore(WORDS + TAIL)));
    caught("the head is not stored", &one(Fault::DropStore(WORDS + HEAD)));
    caught("the tail before the message", &one(Fault::SwapStores(SLOTS, WORDS + TAIL)));
    caught("the message is not stored", &one(Fault::DropStore(SLOTS)));
    caught("the receiver is not woken", &one(Fault::NoWake(WORDS + MESSAGES)));
    caught("the sender is not woken", &one(Fault::NoWake(WORDS + ROOM)));
    caught("the receiver does not register", &one(Fault::NoRegistration(WORDS + MESSAGES)));
    let three = setup::<2, 3>(&[sends::<2, 3>, receives::<2>]);
    caught("no fence before the second sleep", &Setup { fault: Fault::NoFence, ..three });
    let roles = |fault| Setup { fault, last: |_| Ok(()), ..setup::<2, 2>(&[BOTH, BOTH]) };
    caught(
        "the role is claimed by a load and a store",
        &roles(Fault::Torn(ring::sender(WORDS).at)),
    );
    let replaced = |fault| Setup {
        kills: 1,
        newcomers: 1,
        lanes: Lanes::Pooled,
        fault,
        ..setup::<1, 2>(&[TWO, receives::<1>])
    };
    caught("roles are not recovered", &replaced(Fault::NoRecovery));
}
