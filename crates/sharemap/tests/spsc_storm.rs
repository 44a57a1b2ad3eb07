//! A sender and a receiver that are killed at random and replaced: what was published arrives, in order, and what was
//! released does not come again.
//!
//! Both are processes in saturated loops, with few slots between them. The message of each position has the position's
//! number. The ends write to a ledger what they are about to send, what was sent, what was received, and what was
//! released, so that the next end can tell what the dead one may have done. Its replacement starts before or after the
//! death, so that it often waits for the end to become free. Now and then an end is dropped and claimed again.
//!
//! `recv` releases a message before it returns, so a death may lose the record of what it returned. A receiver that
//! borrows records before it releases, so a death may repeat the record.
//!
//! The short form kills about 150 processes in each of two storms, the long form (`SHAREMAP_LONG=1`) 5,000.

mod common;
#[path = "spsc_storm/ends.rs"]
mod ends;
#[path = "spsc_storm/ledger.rs"]
mod ledger;
#[path = "segment/peer.rs"]
mod peer;
#[allow(dead_code, reason = "not every test needs all of it")]
#[path = "hostile/random.rs"]
mod random;

use std::thread;
use std::time::{Duration, Instant};

use common::{TempDir, need_atomics, repeated};
use ends::Message;
use ledger::{Ledger, Word};
use peer::Peer;
use random::Random;
use sharemap::channel::Spsc;
use sharemap::{ErrorKind, Location, SharedMemory, UnlinkOnDrop};

/// The time after which a storm without progress counts as stuck.
const STUCK: Duration = Duration::from_secs(60);
const CAPACITY: u64 = 8;

/// Returns where the channel is that an argument names.
fn location(name: &str) -> Location {
    match std::path::Path::new(name).is_absolute() {
        true => Location::file(name),
        false => Location::name(name),
    }
}

/// How a receiver takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taking {
    /// By `borrow`, recorded before they are released.
    Borrowed,
    /// By `recv`, recorded after they are released.
    Received,
}

/// What a storm did.
#[derive(Debug, Default)]
struct Storm {
    kills: u64,
    messages: u64,
    /// Messages that a dead receiver had recorded but not released, which came again.
    again: u64,
    /// Messages that a dead receiver had released but not recorded.
    unrecorded: u64,
    /// Messages that a dead sender had published but not recorded.
    unnoticed: u64,
}

/// Both ends, in processes of their own.
struct Ends {
    argument: String,
    receiving: &'static str,
    sender: Peer,
    receiver: Peer,
}

impl Ends {
    fn start(argument: String, taking: Taking) -> Self {
        let receiving = match taking {
            Taking::Borrowed => ends::BORROWS,
            Taking::Received => ends::RECEIVES,
        };
        let sender = Peer::start(ends::SENDS, &argument);
        let receiver = Peer::start(receiving, &argument);
        Self { argument, receiving, sender, receiver }
    }

    /// Kills an end, with a replacement that starts before or after.
    fn replace_one(&mut self, random: &mut Random) {
        let (role, end) = match random.one_in(2) {
            true => (ends::SENDS, &mut self.sender),
            false => (self.receiving, &mut self.receiver),
        };
        match random.one_in(2) {
            true => {
                let mut next = Peer::start(role, &self.argument);
                if random.one_in(2) {
                    assert_eq!(next.hear(), "claims");
                }
                end.kill();
                *end = next;
            }
            false => {
                end.kill();
                *end = Peer::start(role, &self.argument);
            }
        }
    }

    /// Kills both ends, in any order, and starts both again, in any order.
    fn replace_both(&mut self, random: &mut Random) {
        match random.one_in(2) {
            true => (self.sender.kill(), self.receiver.kill()),
            false => (self.receiver.kill(), self.sender.kill()),
        };
        if random.one_in(2) {
            self.sender = Peer::start(ends::SENDS, &self.argument);
            self.receiver = Peer::start(self.receiving, &self.argument);
        } else {
            self.receiver = Peer::start(self.receiving, &self.argument);
            self.sender = Peer::start(ends::SENDS, &self.argument);
        }
    }
}

/// Waits until some messages were received, and for a random time after that.
fn await_progress(ledger: &Ledger, random: &mut Random) {
    let (before, start) = (ledger.get(Word::Recorded), Instant::now());
    while ledger.get(Word::Recorded) < before + 20 {
        assert!(!ledger.has_failed(), "a process found something wrong, and said what");
        assert!(start.elapsed() < STUCK, "no message arrives: {ledger:?}");
        thread::yield_now();
    }
    let start = Instant::now();
    let pause = Duration::from_micros(random.below(1500));
    while start.elapsed() < pause {
        std::hint::spin_loop();
    }
}

fn storm(name: &str, taking: Taking, kills: u64) -> Storm {
    let given = std::env::var("SHAREMAP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SHAREMAP_SEED={seed}");
    let mut random = Random::new(seed);
    let ledger_name = format!("spsc-ledger-{}-{taking:?}", std::process::id());
    let _ = SharedMemory::unlink(&ledger_name);
    let _unlinked = UnlinkOnDrop::new(&ledger_name);
    let ledger = Ledger::create(&ledger_name);
    let channel = Spsc::<Message>::create_new(location(name), CAPACITY as usize).unwrap();
    let mut ends = Ends::start(format!("{name} {ledger_name}"), taking);
    let mut storm = Storm::default();
    while storm.kills < kills {
        await_progress(&ledger, &mut random);
        if random.below(3) == 0 {
            ends.replace_both(&mut random);
            storm.kills += 2;
        } else {
            ends.replace_one(&mut random);
            storm.kills += 1;
        }
    }
    // Nothing is stuck after the last kill either.
    await_progress(&ledger, &mut random);
    ends.sender.kill();
    ends.receiver.kill();
    assert!(!ledger.has_failed(), "a process found something wrong, and said what");
    let channels = [channel, Spsc::open(location(name)).unwrap()];
    settle(&channels, &ledger, taking);
    storm.messages = channels[0].stats().unwrap().sent;
    storm.again = ledger.get(Word::Again);
    storm.unrecorded = ledger.get(Word::Unrecorded);
    storm.unnoticed = ledger.get(Word::Unnoticed);
    storm
}

/// Receives what is left after both ends died, and uses the channel again.
fn settle(channels: &[Spsc<Message>; 2], ledger: &Ledger, taking: Taking) {
    let (mut sender, mut receiver) =
        (channels[0].sender().unwrap(), channels[1].receiver().unwrap());
    let stats = channels[0].stats().unwrap();
    ends::check_sent(ledger, stats.sent);
    ends::check_received(ledger, stats.received, taking);
    for position in stats.received..stats.sent {
        assert_eq!(receiver.try_recv().unwrap(), Some(ends::message(position)));
    }
    assert_eq!(receiver.try_recv().unwrap(), None);
    for position in stats.sent..stats.sent + 3 * CAPACITY {
        sender.send(&ends::message(position)).unwrap();
        assert_eq!(receiver.recv().unwrap(), ends::message(position));
    }
    drop(sender);
    assert_eq!(receiver.recv().unwrap_err().kind(), ErrorKind::Closed);
    let stats = channels[1].stats().unwrap();
    assert_eq!((stats.depth, stats.senders, stats.receivers), (0, 0, 1));
}

fn kills() -> u64 {
    repeated(5_000, 150)
}

#[test]
fn borrowed_messages_come_until_they_are_released() {
    need_atomics!();
    let name = format!("spsc-storm-{}", std::process::id());
    let _ = Spsc::<Message>::unlink(&name);
    let _unlinked = UnlinkOnDrop::new(&name);
    let storm = storm(&name, Taking::Borrowed, kills());
    println!("{storm:?}");
    // Emulators make too few kills for some to come between the record and the release.
    assert!(storm.again > 0 || storm.kills < 100, "{storm:?}");
}

#[test]
fn received_messages_come_once() {
    need_atomics!();
    let directory = TempDir::new();
    let path = directory.join("channel");
    let storm = storm(path.to_str().unwrap(), Taking::Received, kills());
    println!("{storm:?}");
    assert_eq!(storm.again, 0, "{storm:?}");
}
