//! The ends of a storm, each of which runs in a process of its own until it is killed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use sharemap::channel::{Spsc, SpscReceiver, SpscSender};
use sharemap::{Error, ErrorKind, Result};

use crate::common::role;
use crate::ledger::{Ledger, Word};
use crate::peer::tell;
use crate::random::Random;
use crate::{CAPACITY, Taking, location};

pub const SENDS: &str = "ends::sends_without_end";
pub const BORROWS: &str = "ends::borrows_without_end";
pub const RECEIVES: &str = "ends::receives_without_end";

/// The most messages that one call is asked for.
const MOST: u64 = 12;

/// Three numbers that belong together, so that a message of two halves is noticed.
pub type Message = [u64; 3];

/// Returns the message of a position.
pub fn message(position: u64) -> Message {
    [position, !position, position.wrapping_mul(0x9e37_79b9_7f4a_7c15)]
}

/// What an end has.
struct End {
    channel: Spsc<Message>,
    ledger: Ledger,
    random: Random,
}

/// Runs `work` with what the argument of a child role names. It ends by a kill only.
fn run(test: &str, work: fn(&mut End)) {
    let Some(argument) = role(test) else { return };
    let (name, ledger) = argument.to_str().unwrap().rsplit_once(' ').unwrap();
    let (ledger, channel) = (Ledger::open(ledger), Spsc::open(location(name)).unwrap());
    let random = Random::new(1000 + u64::from(std::process::id()));
    let mut end = End { channel, ledger, random };
    tell("claims");
    let ended = catch_unwind(AssertUnwindSafe(|| work(&mut end)));
    end.ledger.fail();
    eprintln!("{test} ended: {}; {:?}", ended.is_ok(), end.ledger);
    std::process::exit(9);
}

/// Child role: the sender.
#[test]
fn sends_without_end() {
    run(SENDS, |end| {
        loop {
            end.send();
        }
    });
}

/// Child role: a receiver that borrows.
#[test]
fn borrows_without_end() {
    run(BORROWS, |end| {
        loop {
            end.receive(Taking::Borrowed, End::borrow);
        }
    });
}

/// Child role: a receiver that takes.
#[test]
fn receives_without_end() {
    run(RECEIVES, |end| {
        loop {
            end.receive(Taking::Received, End::take);
        }
    });
}

/// Claims an end that another process may have.
fn claim<T>(mut claim: impl FnMut() -> Result<T>) -> T {
    loop {
        match claim() {
            Err(error) if error.kind() == ErrorKind::Busy => {}
            result => return result.unwrap(),
        }
    }
}

/// Returns a number of messages; `None` if the other end was dropped or died. It comes again.
fn count_of(result: Result<u64>) -> Option<u64> {
    match result {
        Ok(count) => Some(count),
        Err(error) if error.kind() == ErrorKind::Closed => {
            thread::yield_now();
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Checks the sender's position after a death.
pub fn check_sent(ledger: &Ledger, sent: u64) {
    let (published, begun) = (ledger.get(Word::Published), ledger.get(Word::Begun));
    assert!((published..=begun).contains(&sent), "{sent} were sent: {ledger:?}");
}

/// Checks the receiver's position after a death.
pub fn check_received(ledger: &Ledger, received: u64, taking: Taking) {
    let (recorded, released) = (ledger.get(Word::Recorded), ledger.get(Word::Released));
    match taking {
        Taking::Borrowed => {
            assert!((released..=recorded).contains(&received), "{received}: {ledger:?}");
            assert!(recorded - received <= CAPACITY, "{received}: {ledger:?}");
        }
        Taking::Received => {
            assert!((recorded..=recorded + MOST).contains(&received), "{received}: {ledger:?}");
        }
    }
}

impl End {
    /// Lets other processes run in the middle of what this one does, now and then, so that kills come there.
    fn linger(&mut self) {
        if self.random.one_in(8) {
            thread::yield_now();
        }
    }

    /// Sends until it drops its end.
    fn send(&mut self) {
        let mut sender = claim(|| self.channel.sender());
        // Only this end changes it.
        let mut next = self.channel.stats().unwrap().sent;
        check_sent(&self.ledger, next);
        self.ledger.add(Word::Unnoticed, next - self.ledger.get(Word::Published));
        self.ledger.set(Word::Published, next);
        while self.random.below(500) > 0 {
            let values: Vec<Message> =
                (next..next + 1 + self.random.below(MOST)).map(message).collect();
            self.ledger.set(Word::Begun, next + values.len() as u64);
            let sent = self.send_some(&mut sender, &values);
            self.linger();
            next += count_of(sent).unwrap_or(0);
            self.ledger.set(Word::Published, next);
        }
    }

    fn send_some(&mut self, sender: &mut SpscSender<Message>, values: &[Message]) -> Result<u64> {
        match self.random.below(5) {
            0 => sender.send(&values[0]).map(|()| 1),
            1 => sender.try_send(&values[0]).map(u64::from),
            2 => sender.try_send_many(values).map(|count| count as u64),
            3 => {
                let completed = |error: Error| match error.completed() {
                    Some(count) if error.kind() == ErrorKind::Closed => Ok(count as u64),
                    _ => Err(error),
                };
                sender.send_many(values).map(|()| values.len() as u64).or_else(completed)
            }
            _ => {
                let loan = sender.reserve(values.len())?;
                let count = loan.len();
                loan.view().write_at(0, &values[..count])?;
                self.linger();
                if self.random.one_in(4) {
                    return Ok(0);
                }
                let part = 1 + self.random.below(count as u64);
                loan.publish_first(part as usize).map(|()| part)
            }
        }
    }

    /// Receives until it drops its end, by `some`, which takes messages from a position on, and returns their number.
    fn receive(
        &mut self,
        taking: Taking,
        some: fn(&mut Self, &mut SpscReceiver<Message>, u64) -> Result<u64>,
    ) {
        let mut receiver = claim(|| self.channel.receiver());
        let mut next = self.channel.stats().unwrap().received;
        check_received(&self.ledger, next, taking);
        if taking == Taking::Received {
            self.ledger.add(Word::Unrecorded, next - self.ledger.get(Word::Recorded));
            self.ledger.set(Word::Recorded, next);
        } else if self.ledger.get(Word::Left) == 0 {
            self.ledger.add(Word::Again, self.ledger.get(Word::Recorded) - next);
        }
        self.ledger.set(Word::Left, 0);
        while self.random.below(500) > 0 {
            next += count_of(some(self, &mut receiver, next)).unwrap_or(0);
        }
        self.ledger.set(Word::Left, 1);
    }

    /// Records messages before it releases them.
    fn borrow(&mut self, receiver: &mut SpscReceiver<Message>, next: u64) -> Result<u64> {
        let borrow = receiver.borrow(1 + self.random.below(MOST) as usize)?;
        for (position, found) in (next..).zip(borrow.view().to_vec()?) {
            assert_eq!(found, message(position), "at {position}");
            let recorded = self.ledger.get(Word::Recorded);
            assert!(position <= recorded, "{position} came after {recorded}");
            assert!(
                position >= self.ledger.get(Word::Released),
                "{position} came after its release"
            );
            self.ledger.set(Word::Recorded, recorded.max(position + 1));
        }
        self.linger();
        let part = match self.random.below(4) {
            // The receiver gets them again.
            0 => return Ok(0),
            1 => 1 + self.random.below(borrow.len() as u64),
            _ => borrow.len() as u64,
        };
        borrow.release_first(part as usize)?;
        self.linger();
        self.ledger.set(Word::Released, next + part);
        Ok(part)
    }

    /// Records messages after they were received.
    fn take(&mut self, receiver: &mut SpscReceiver<Message>, next: u64) -> Result<u64> {
        let mut into = [[0; 3]; MOST as usize];
        let count = match self.random.below(4) {
            0 => receiver.recv().map(|found| into[0] = found).map(|()| 1)?,
            1 => match receiver.try_recv()? {
                Some(found) => {
                    into[0] = found;
                    1
                }
                None => 0,
            },
            2 => receiver.try_recv_many(&mut into)?,
            _ => receiver.recv_many(&mut into)?,
        };
        for (position, found) in (next..).zip(&into[..count]) {
            assert_eq!(*found, message(position), "at {position}");
        }
        assert_eq!(self.ledger.get(Word::Recorded), next, "after what was recorded");
        self.linger();
        self.ledger.set(Word::Recorded, next + count as u64);
        Ok(count as u64)
    }
}
