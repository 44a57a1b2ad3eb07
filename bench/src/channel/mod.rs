//! The figures of channels between two processes, one file per group. This library's side uses only its safe public
//! interface.

mod blocking;
mod pair;
mod streams;
mod trips;

use std::rc::Rc;

use sharemap::channel::{Spsc, SpscReceiver, SpscSender};
use sharemap::zerocopy::FromBytes;
use sharemap::{Element, Location, Shareable, UnlinkOnDrop};

use crate::figure::{Figure, Setup};
use crate::peers::ring::Ring;
use crate::peers::stream::{self, Streams};
use crate::reason::{Reason, why};
use pair::{Pair, Processors, Work};

/// Returns all figures in the order of the report.
pub fn figures() -> Vec<Figure> {
    [trips::FIGURES, streams::FIGURES, blocking::FIGURES].concat()
}

/// A message of some length, of which the first word is checked.
trait Message: Element + Shareable + FromBytes {
    fn numbered(number: u64) -> Box<Self>;
    fn set(&mut self, number: u64);
    fn number(&self) -> u64;
}

impl Message for u64 {
    fn numbered(number: u64) -> Box<Self> {
        Box::new(number)
    }

    fn set(&mut self, number: u64) {
        *self = number;
    }

    fn number(&self) -> u64 {
        *self
    }
}

impl<const N: usize> Message for [u64; N] {
    fn numbered(number: u64) -> Box<Self> {
        // Not on the stack: some are long.
        let Ok(words) = vec![number; N].into_boxed_slice().try_into() else { unreachable!() };
        words
    }

    fn set(&mut self, number: u64) {
        self[0] = number;
    }

    fn number(&self) -> u64 {
        self[0]
    }
}

/// Sends numbered messages, and receives each back.
fn asks<T: Message>(
    mut send: impl FnMut(&T) -> Result<(), Reason> + 'static,
    mut receive: impl FnMut(&mut T) -> Result<(), Reason> + 'static,
) -> Work {
    let (mut message, mut answer, mut number) = (T::numbered(0), T::numbered(0), 0);
    Box::new(move |count| {
        for _ in 0..count {
            number += 1;
            message.set(number);
            send(&message)?;
            receive(&mut answer)?;
            if answer.number() != number {
                return Err(format!("answer {} to message {number}", answer.number()));
            }
        }
        Ok(())
    })
}

/// Sends each message back.
fn answers<T: Message>(
    mut receive: impl FnMut(&mut T) -> Result<(), Reason> + 'static,
    mut send: impl FnMut(&T) -> Result<(), Reason> + 'static,
) -> Work {
    let mut message = T::numbered(0);
    Box::new(move |count| {
        for _ in 0..count {
            receive(&mut message)?;
            send(&message)?;
        }
        Ok(())
    })
}

/// Sends numbered messages.
fn sends<T: Message>(mut send: impl FnMut(&T) -> Result<(), Reason> + 'static) -> Work {
    let (mut message, mut number) = (T::numbered(0), 0);
    Box::new(move |count| {
        for _ in 0..count {
            number += 1;
            message.set(number);
            send(&message)?;
        }
        Ok(())
    })
}

/// Receives numbered messages.
fn receives<T: Message>(mut receive: impl FnMut(&mut T) -> Result<(), Reason> + 'static) -> Work {
    let (mut message, mut number) = (T::numbered(0), 0);
    Box::new(move |count| {
        for _ in 0..count {
            number += 1;
            receive(&mut message)?;
            if message.number() != number {
                return Err(format!("message {} in place of {number}", message.number()));
            }
        }
        Ok(())
    })
}

/// A channel of this library, and its name.
struct Named<T> {
    name: UnlinkOnDrop,
    _channel: Spsc<T>,
}

impl<T: Message> Named<T> {
    fn new(depth: usize) -> Result<Self, Reason> {
        let name = UnlinkOnDrop::new(Location::unique("sharemap-bench").map_err(why)?);
        let channel = Spsc::create_new(&name, depth).map_err(why)?;
        Ok(Self { name, _channel: channel })
    }

    fn open(&self) -> Result<Spsc<T>, Reason> {
        Spsc::open(&self.name).map_err(why)
    }

    fn sender(&self) -> Result<SpscSender<T>, Reason> {
        self.open()?.sender().map_err(why)
    }

    fn receiver(&self) -> Result<SpscReceiver<T>, Reason> {
        self.open()?.receiver().map_err(why)
    }
}

/// Starts a pair that exchanges messages by two bare rings, which pause so often between looks.
fn ring_trips<T: Message>(setup: &Setup, depth: usize, pauses: u32) -> Result<Pair, Reason> {
    let (there, back) = (Ring::<T>::memory(depth)?, Ring::<T>::memory(depth)?);
    let side = |memory: &Rc<_>| Ring::<T>::new(memory, depth, pauses);
    let near = || {
        let (mut there, mut back) = (side(&there), side(&back));
        Ok(asks::<T>(
            move |message| {
                there.send(message);
                Ok(())
            },
            move |message| {
                back.receive(message);
                Ok(())
            },
        ))
    };
    let far = || {
        let (mut there, mut back) = (side(&there), side(&back));
        Ok(answers::<T>(
            move |message| {
                there.receive(message);
                Ok(())
            },
            move |message| {
                back.send(message);
                Ok(())
            },
        ))
    };
    Pair::start(&setup.cpus, Processors::Different, &near, &far)
}

/// Starts a pair that sends messages one way by a bare ring.
fn ring_stream<T: Message>(setup: &Setup, depth: usize, pauses: u32) -> Result<Pair, Reason> {
    let memory = Ring::<T>::memory(depth)?;
    let near = || {
        let mut ring = Ring::<T>::new(&memory, depth, pauses);
        Ok(sends::<T>(move |message| {
            ring.send(message);
            Ok(())
        }))
    };
    let far = || {
        let mut ring = Ring::<T>::new(&memory, depth, pauses);
        Ok(receives::<T>(move |message| {
            ring.receive(message);
            Ok(())
        }))
    };
    Pair::start(&setup.cpus, Processors::Different, &near, &far)
}

/// Starts a pair that exchanges messages through the kernel.
fn kernel_trips<T: Message>(
    setup: &Setup,
    processors: Processors,
    streams: Streams,
) -> Result<Pair, Reason> {
    let streams = Rc::new(streams);
    let near = || {
        let (one, two) = (Rc::clone(&streams), Rc::clone(&streams));
        Ok(asks::<T>(
            move |message| stream::send(&one.near.1, message.as_bytes()),
            move |message| stream::receive(&two.near.0, message.as_mut_bytes()),
        ))
    };
    let far = || {
        let (one, two) = (Rc::clone(&streams), Rc::clone(&streams));
        Ok(answers::<T>(
            move |message| stream::receive(&one.far.0, message.as_mut_bytes()),
            move |message| stream::send(&two.far.1, message.as_bytes()),
        ))
    };
    Pair::start(&setup.cpus, processors, &near, &far)
}

/// Starts a pair that sends messages one way through the kernel.
fn kernel_stream<T: Message>(setup: &Setup, streams: Streams) -> Result<Pair, Reason> {
    let streams = Rc::new(streams);
    let near = || {
        let streams = Rc::clone(&streams);
        Ok(sends::<T>(move |message| stream::send(&streams.near.1, message.as_bytes())))
    };
    let far = || {
        let streams = Rc::clone(&streams);
        Ok(receives::<T>(move |message| stream::receive(&streams.far.0, message.as_mut_bytes())))
    };
    Pair::start(&setup.cpus, Processors::Different, &near, &far)
}
