//! The sessions of this process, one for each object and way of attaching to it: what openings of the
//! same object share.
//!
//! An object is known by the identity that the kernel gives its file. A session keeps its file in use,
//! so that no other file gets that identity while the session is in the registry. What has no such
//! identity (sections on Windows, objects of `shm_open` on macOS) is known by the id in its header.
//!
//! One thread at a time attaches to an object; others wait for it, and for a session that is being
//! detached, outside the lock.
//!
//! # Forks
//! A process may be forked at any moment, by a thread that is not in here. The child has a copy of all,
//! without the threads that were at work in it:
//!
//! - The lock holds the number of the process that acquired it, so that a child recognizes a copy of
//!   its parent's and acquires it all the same.
//! - A list is changed by one store: of its head, of a link, or of a state. What a node is does not
//!   change. The child finds the list as it was before that store or after it.
//! - A state that a thread is to change (attaching, leaving) names the process of that thread. A child
//!   removes nodes with the number of another.
//! - A node that was not yet linked, or no longer, is lost in the child; so are counts of openings that
//!   belonged to other threads of the parent, whose session therefore stays attached, once the child
//!   has used it, until the child ends.

#![allow(unsafe_code, reason = "lists whose links a forked child may read at any moment")]

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};
use crate::peer::memory::Attachment;
use crate::peer::opening::Opening;
use crate::peer::session::Session;
use crate::sys::fork;

/// What openings have to have in common to share a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    identity: [u64; 2],
    /// The header's; zeros where the identity tells objects apart.
    id: [u8; 16],
    attachment: Attachment,
}

impl Key {
    /// The key of an object in a file of this identity. `None` if that does not tell objects apart.
    pub(super) fn of_file(identity: [u64; 2], attachment: Attachment) -> Option<Self> {
        const NONE: u64 = 1 << 63;
        (identity[0] & NONE == 0).then_some(Self { identity, id: [0; 16], attachment })
    }

    /// The key of another object, with this id in its header.
    pub(super) fn of_object(id: [u8; 16], attachment: Attachment) -> Self {
        Self { identity: [0; 2], id, attachment }
    }

    fn list(&self) -> &'static AtomicPtr<Node> {
        let [one, two] = self.identity;
        let id = u128::from_ne_bytes(self.id) as u64;
        let mixed = (one ^ two.rotate_left(32) ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &LISTS[(mixed >> 56) as usize]
    }
}

/// What [`enter`] finds.
pub(super) enum Entry {
    /// The session that this process has.
    Session(Arc<Opening>),
    /// None: this thread is to attach.
    Turn(Turn),
}

/// The right to attach to an object, which no other thread of this process has.
pub(super) struct Turn(Key);

/// Finds the session of this process, or the right to make it, within `patience`.
pub(super) fn enter(key: Key, patience: Duration) -> Result<Entry> {
    const NAP: Duration = Duration::from_micros(200);
    let start = Instant::now();
    loop {
        if let Some(entry) = try_enter(key) {
            return Ok(entry);
        }
        if start.elapsed() >= patience {
            return Err(Error::new(ErrorKind::Busy, "open").with_detail(
                "another thread of this process is attaching to it or detaching from it; try again, \
                 or wait longer",
            ));
        }
        std::thread::sleep(NAP);
    }
}

fn try_enter(key: Key) -> Option<Entry> {
    let (lists, own) = (lock(), fork::process());
    while let Some(node) = lists.find(key.list(), |node| node.key == key) {
        let is_usable = key.attachment == Attachment::Participant || node.maker == own;
        // The slot of readers, a child does not have.
        let session = if is_usable { node.session.upgrade() } else { None };
        match (node.state(), session) {
            (State::Used(openings), Some(session)) => {
                node.set(State::Used(openings.saturating_add(1)));
                return Some(Entry::Session(Opening::of(session)));
            }
            // Its last opening is gone, but it has not been detached yet.
            (State::Leaving(_), Some(session)) => {
                node.set(State::Used(1));
                return Some(Entry::Session(Opening::of(session)));
            }
            (State::Attaching(process) | State::Leaving(process), None) if process == own => {
                return None;
            }
            // A parent's thread was at it, or a parent's session is of no use here.
            _ => lists.remove(key.list(), node),
        }
    }
    lists.push(key.list(), Node::new(key, State::Attaching(own), Weak::new(), 0));
    Some(Entry::Turn(Turn(key)))
}

impl Turn {
    /// Offers the session to other openings. Returns its first.
    pub(super) fn publish(self, session: Arc<Session>) -> Arc<Opening> {
        let node = Node::new(self.0, State::Used(1), Arc::downgrade(&session), session.key);
        // Before this thread's turn ends: a child finds it, or a turn that is none.
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

/// One opening of the session ends. What is done after the last, others wait for.
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

/// The session is detached.
pub(super) fn remove(session: &Session) {
    let Some(key) = session.registered else { return };
    let lists = lock();
    if let Some(node) = lists.find(key.list(), |node| node.number == session.key) {
        lists.remove(key.list(), node);
    }
}

/// What a node stands for, as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A thread of this process attaches.
    Attaching(u32),
    /// A session with so many openings.
    Used(u32),
    /// A session without openings, which a thread of this process detaches.
    Leaving(u32),
}

struct Node {
    key: Key,
    /// The number of the process that made it.
    maker: u32,
    state: AtomicU64,
    /// None while a thread attaches.
    session: Weak<Session>,
    /// The session's key; 0: none.
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

/// The number of the process whose thread has the lock; 0: none.
static LOCK: AtomicU32 = AtomicU32::new(0);

/// The right to read and change the lists. No thread waits while it has it, or drops a session.
struct Lists(());

fn lock() -> Lists {
    // Long enough for a thread of another priority to go on.
    const NAP: Duration = Duration::from_micros(50);
    let own = fork::process();
    let mut turn = 0u32;
    // Another number is a copy of a parent's, of which no thread is here.
    while LOCK.swap(own, Ordering::Acquire) == own {
        turn = turn.wrapping_add(1);
        if turn % 64 == 0 {
            std::thread::sleep(NAP);
        } else {
            std::thread::yield_now();
        }
    }
    Lists(())
}

impl Drop for Lists {
    fn drop(&mut self) {
        LOCK.store(0, Ordering::Release);
    }
}

impl Lists {
    /// The newest node of which this is so.
    fn find(&self, list: &AtomicPtr<Node>, is_it: impl Fn(&Node) -> bool) -> Option<&Node> {
        let mut next = list.load(Ordering::Acquire);
        // SAFETY: what is linked was made of a box and is freed only by `remove`, after it was unlinked
        // and by the thread that has the lock, as `self` says that this one does.
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

    /// Unlinks a node of the list and frees it, which ends all references to it. The address is only
    /// compared: what is freed is what the list has.
    fn remove(&self, list: &AtomicPtr<Node>, node: *const Node) {
        let mut link = list;
        loop {
            let next = link.load(Ordering::Acquire);
            // SAFETY: as in `find`.
            let Some(found) = (unsafe { next.as_ref() }) else { return };
            if ptr::eq(next, node) {
                link.store(found.next.load(Ordering::Relaxed), Ordering::Release);
                // SAFETY: it came from a box, is linked no more, and no other thread looks at nodes;
                // no caller uses a reference to it again. What is dropped with it is a weak reference.
                drop(unsafe { Box::from_raw(next) });
                return;
            }
            link = &found.next;
        }
    }
}

/// Runs `body` while this thread has the lock and the object of this key has one thread that attaches,
/// and one that detaches a session of which nothing is left.
#[cfg(test)]
pub(super) fn in_the_middle<T>(key: Key, body: impl FnOnce() -> T) -> T {
    let (lists, own) = (lock(), fork::process());
    for state in [State::Attaching(own), State::Leaving(own)] {
        lists.push(key.list(), Node::new(key, state, Weak::new(), 0));
    }
    let result = body();
    while let Some(node) = lists.find(key.list(), |node| node.key == key) {
        lists.remove(key.list(), node);
    }
    result
}
