//! Channels: messages between processes, through shared memory or a file.
//!
//! | Kind | Senders | Receivers | Order |
//! |---|---|---|---|
//! | [`Spsc`] | one | one | that of sending |
//!
//! A channel is an object of its own, with a name, a file, or a descriptor that is passed on (see
//! [`Location`](crate::Location)). It outlives the processes that use it, and so do the messages in it. Sending and
//! receiving are a few loads and stores; only a side that has to wait for the other makes a system call, and the side that
//! wakes it.
//!
//! # Ends
//!
//! Processes send and receive by the *ends* of a channel: [`SpscSender`], [`SpscReceiver`]. An end is a value that may move
//! to another thread, and has a [lane](crate::SharedOptions::lanes) of the object while it exists. A child that is forked
//! has no part in the ends that its parent had: their copies fail with
//! [`Unsupported`](crate::ErrorKind::Unsupported).
//!
//! # Death and departure
//!
//! Any process may be killed at any instruction. What it sent before stays in the channel, in order, whole, and once. A
//! message is *released* when its receiver is done with it: by `recv`, before it returns, and otherwise by an explicit
//! call. What was not released when a receiver died is delivered to the next one; what was released never is. The kernel
//! tells that an end's process is dead, and another end may then take its place. A stopped process is alive, and keeps its
//! place.
//!
//! | | `recv`, once no message is left | `send` |
//! |---|---|---|
//! | no other end yet | blocks | blocks when the channel is full |
//! | all other ends were dropped | [`Closed`](crate::ErrorKind::Closed) | `Closed`, once the channel is full |
//! | the last other end died | `Closed` | blocks when the channel is full, until the next receiver |
//!
//! A new end opens the channel again. An end that is not dropped when its process ends, by `exit` for instance, counts as
//! dead.

mod inspect;
mod object;
mod role;
mod spsc;
mod stats;
#[cfg(test)]
mod tests;

pub use object::Channel;
pub use spsc::{Spsc, SpscBorrow, SpscIter, SpscLoan, SpscReceiver, SpscSender};
pub use stats::ChannelStats;
