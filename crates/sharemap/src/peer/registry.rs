//! The sessions of this process: one for each object and attachment mode, shared by all openings of
//! the object.
//!
//! The key of an object is the identity that the kernel gives its file. A session keeps its file
//! open, so no other file gets that identity while the session is registered. Objects without an
//! identity (sections on Windows, objects of `shm_open` on macOS) have the id in their header as
//! key. On Windows, files have that id and their number as key, because Wine forgets the volume of an
//! open file that is renamed.
//!
//! One thread at a time attaches to an object. Other threads wait, without holding the lock, until the
//! session is attached, or until a session that is being detached is gone.
//!
//! # Forks
//! The kernel copies a process piece by piece, first its descriptors, then one range of memory after
//! another, while the other threads run. A copy of a list that changes meanwhile could have a new link
//! and an old node. A `fork` therefore waits until the lock is released, and acquiring the lock waits
//! until a `fork` is done. A raw `clone` does not wait: its child must not open objects if another
//! thread of the parent did so at that moment.
//!
//! These two waits are bounded, because a fork handler of the C library may itself fork or open an
//! object. If one is abandoned, the child still finds usable lists:
//!
//! - The lock word holds the number of the process that acquired it. A child finds its parent's
//!   number there, and acquires the lock all the same.
//! - A list is changed by one store: to its head, a link or a state. The other fields of a node are
//!   constant. The child finds the list as it was before or after that store.
//! - A transient state (attaching, leaving) names the process of the thread that will end it. A
//!   child removes nodes in a transient state of another process.
//! - A node that was not yet linked, or already unlinked, is leaked in the child. Openings that
//!   other threads of the parent held are never closed in the child: once the child has used such a
//!   session, it stays attached until the child ends.

#![allow(unsafe_code, reason = "lists that a forked child may read at any moment")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::memory::Attachment;
use crate::peer::opening::Opening;
use crate::peer::polling::{Limit, Polling};
use crate::peer::session::Session;
use crate::sys::{fork, pass};

/// The key that openings must have in common to share a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    identity: [u64; 2],
    /// The id in the header; zeros where the identity tells objects apart.
    id: [u8; 16],
    attachment: Attachment,
}

impl Key {
    /// Returns the key of an object in a file with this identity. `None` if the identity does not
    /// tell objects apart.
    pub(super) fn of_file(identity: [u64; 2], attachment: Attachment) -> Option<Self> {
        (pass::IDENTITY_OUTLIVES_NAME && is_file(identity)).then_some(Self {
            identity,
            id: [0; 16],
            attachment,
        })
    }

    /// Returns the key of an object that the file identity does not distinguish: the id in its header, and
    /// the number of its file if it has one.
    pub(super) fn of_object(identity: [u64; 2], id: [u8; 16], attachment: Attachment) -> Self {
        let number = if is_file(identity) { identity[1] } else { 0 };
        Self { identity: [0, number], id, attachment }
    }

    /// Returns the list that contains the nodes with this key.
    fn list(&self) -> &'static AtomicPtr<Node> {
        let [one, two] = self.identity;
        let id = u128::from_ne_bytes(self.id) as u64;
        let mixed = (one ^ two.rotate_left(32) ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &LISTS[(mixed >> 56) as usize]
    }
}

/// Returns `true` if the identity is that of a file, and `false` for a section on Windows or an object of
/// `shm_open` on macOS.
fn is_file(identity: [u64; 2]) -> bool {
    const NONE: u64 = 1 << 63;
    identity[0] & NONE == 0
}

/// The result of [`enter`].
pub(super) enum Entry {
    /// The session that this process has.
    Session(Arc<Opening>),
    /// The process has no session, and this thread received the right to attach.
    Turn(Turn),
}

/// The right to attach to an object. Only one thread of the process has it at a time.
pub(super) struct Turn(Key);

/// Returns an opening of this process's session, or the right to attach.
///
/// Blocks until `limit` at most while another thread of this process attaches or detaches, and then
/// fails with `Busy`.
pub(super) fn enter(key: Key, limit: impl Into<Limit>) -> Result<Entry> {
    let mut polling = Polling::new(limit);
    loop {
        if let Some(entry) = try_enter(key) {
            return Ok(entry);
        }
        if !polling.nap() {
            return Err(Error::new(ErrorKind::Busy, "open").with_detail(
                "another thread of this process is attaching to it or detaching from it; try again, \
                 or wait longer",
            ));
        }
    }
}

/// Returns `None` if another thread of this process is attaching or detaching.
fn try_enter(key: Key) -> Option<Entry> {
    let (lists, own) = (lock(), fork::process());
    while let Some(node) = lists.find(key.list(), |node| node.key == key) {
        let is_usable = key.attachment == Attachment::Participant || node.maker == own;
        // A child does not inherit the lock on the readers' slot.
        let session = if is_usable { node.session.upgrade() } else { None };
        match (node.state(), session) {
            (State::Used(openings), Some(session)) => {
                node.set(State::Used(openings.saturating_add(1)));
                return Some(Entry::Session(Opening::of(session)));
            }
            // The last opening has ended, but its reference still exists: the session can be used again.
            (State::Leaving(_), Some(session)) => {
                node.set(State::Used(1));
                return Some(Entry::Session(Opening::of(session)));
            }
            // The thread that set this state will replace or remove the node.
            (State::Attaching(process) | State::Leaving(process), None) if process == own => {
                return None;
            }
            // The thread that would finish the change exists only in the parent, or this process cannot use
            // the session.
            _ => lists.remove(key.list(), node),
        }
    }
    lists.push(key.list(), Node::new(key, State::Attaching(own), Weak::new(), 0));
    Some(Entry::Turn(Turn(key)))
}

impl Turn {
    /// Makes the session available to other openings. Returns the first opening.
    pub(super) fn publish(self, session: Arc<Session>) -> Arc<Opening> {
        let node = Node::new(self.0, State::Used(1), Arc::downgrade(&session), session.key);
        // The node must be linked before the turn ends: a child then finds the session, or only a
        // turn of another process.
        lock().push(self.0.list(), node);
        Opening::of(session)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (lists, own) = (lock(), fork::process());
        let is_turn = |node: &Node| node.key == self.0 && node.state() == State::Attaching(own);
        if let Some(node) = lists.find(self.0.list(), is_turn) {
            lists.remove(self.0.list(), node);
        }
    }
}

/// Ends one opening of the session. After the last, new openings use the session again while it has a
/// reference, and then wait until it is detached.
pub(super) fn leave(session: &Session) {
    let Some(key) = session.registered else { return };
    let lists = lock();
    let Some(node) = lists.find(key.list(), |node| node.number == session.key) else { return };
    if let State::Used(openings) = node.state() {
        node.set(match openings {
            0 | 1 => State::Leaving(fork::process()),
            more => State::Used(more - 1),
        });
    }
}

/// Removes a detached session. Threads that wait to open the object can attach from now on.
pub(super) fn remove(session: &Session) {
    let Some(key) = session.registered else { return };
    let lists = lock();
    if let Some(node) = lists.find(key.list(), |node| node.number == session.key) {
        lists.remove(key.list(), node);
    }
}

/// The state of a node, stored in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A thread of the process with this number attaches.
    Attaching(u32),
    /// A session with this number of openings.
    Used(u32),
    /// A session without openings. A thread of the process with this number detaches it.
    Leaving(u32),
}

struct Node {
    key: Key,
    /// The number of the process that created the node.
    maker: u32,
    state: AtomicU64,
    /// A reference that never upgrades while a thread attaches.
    session: Weak<Session>,
    /// The session's key; 0 if there is no session.
    number: u64,
    next: AtomicPtr<Node>,
}

impl Node {
    fn new(key: Key, state: State, session: Weak<Session>, number: u64) -> Box<Self> {
        let next = AtomicPtr::new(ptr::null_mut());
        let (maker, state_word) = (fork::process(), AtomicU64::new(0));
        let node = Self { key, maker, state: state_word, session, number, next };
        node.set(state);
        Box::new(node)
    }

    fn state(&self) -> State {
        let word = self.state.load(Ordering::Relaxed);
        let number = word as u32;
        match word >> 32 {
            0 => State::Attaching(number),
            1 => State::Used(number),
            _ => State::Leaving(number),
        }
    }

    fn set(&self, state: State) {
        let (kind, number) = match state {
            State::Attaching(process) => (0, process),
            State::Used(openings) => (1, openings),
            State::Leaving(process) => (2, process),
        };
        self.state.store(kind << 32 | u64::from(number), Ordering::Relaxed);
    }
}

const LIST_COUNT: usize = 256;
static LISTS: [AtomicPtr<Node>; LIST_COUNT] =
    [const { AtomicPtr::new(ptr::null_mut()) }; LIST_COUNT];

/// The lock word: the process number of the thread that holds the lock; 0 if it is free.
static LOCK: AtomicU32 = AtomicU32::new(0);

/// A guard of the lock, which permits reading and changing the lists. A thread that holds it must
/// not block or drop a session.
struct Lists {
    /// Keeps forks away.
    held_off: Option<fork::HeldOff>,
}

fn lock() -> Lists {
    // Long enough for a holder with a lower priority to run.
    const NAP: Duration = Duration::from_micros(50);
    // Before the lock, so that a fork, which waits for this value, finds the lock free.
    let held_off = Some(fork::hold_off());
    let own = fork::process();
    let mut turn = 0u32;
    // A word with another process's number was copied from the parent. Its holder does not exist in this
    // process, so the lock is free.
    while LOCK.swap(own, Ordering::Acquire) == own {
        turn = turn.wrapping_add(1);
        if turn % 64 == 0 {
            std::thread::sleep(NAP);
        } else {
            std::thread::yield_now();
        }
    }
    Lists { held_off }
}

impl Drop for Lists {
    fn drop(&mut self) {
        LOCK.store(0, Ordering::Release);
        drop(self.held_off.take());
    }
}

impl Lists {
    /// Returns the newest node for which `is_it` returns `true`.
    fn find(&self, list: &AtomicPtr<Node>, is_it: impl Fn(&Node) -> bool) -> Option<&Node> {
        let mut next = list.load(Ordering::Acquire);
        // SAFETY: a linked node came from a box. Only `remove` frees it, after unlinking it and
        // while holding the lock. This thread holds the lock, as `self` proves.
        while let Some(node) = unsafe { next.as_ref() } {
            if is_it(node) {
                return Some(node);
            }
            next = node.next.load(Ordering::Acquire);
        }
        None
    }

    fn push(&self, list: &AtomicPtr<Node>, node: Box<Node>) {
        node.next.store(list.load(Ordering::Relaxed), Ordering::Relaxed);
        list.store(Box::into_raw(node), Ordering::Release);
    }

    /// Unlinks a node from the list and frees it, which ends all references to it. The address is
    /// only compared; the pointer that is freed is the list's own.
    fn remove(&self, list: &AtomicPtr<Node>, node: *const Node) {
        let mut link = list;
        loop {
            let next = link.load(Ordering::Acquire);
            // SAFETY: as in `find`.
            let Some(found) = (unsafe { next.as_ref() }) else { return };
            if ptr::eq(next, node) {
                link.store(found.next.load(Ordering::Relaxed), Ordering::Release);
                // SAFETY: the node came from a box and is no longer linked. No other thread reads
                // nodes while this one holds the lock. Callers do not use a reference to it again.
                // The drop releases only a weak reference.
                drop(unsafe { Box::from_raw(next) });
                return;
            }
            link = &found.next;
        }
    }
}

/// Runs `body` while this thread holds the lock, with one node in the attaching and one in the
/// leaving state for `key`.
#[cfg(test)]
pub(super) fn in_the_middle<T>(key: Key, body: impl FnOnce() -> T) -> T {
    let (mut lists, own) = (lock(), fork::process());
    drop(lists.held_off.take());
    for state in [State::Attaching(own), State::Leaving(own)] {
        lists.push(key.list(), Node::new(key, state, Weak::new(), 0));
    }
    let result = body();
    while let Some(node) = lists.find(key.list(), |node| node.key == key) {
        lists.remove(key.list(), node);
    }
    result
}
