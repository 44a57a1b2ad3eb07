//! Waiting for the other side of a channel: for a message, or for room for one.

use std::time::Duration;

use super::ring;
use crate::channel::role::{Role, RoleWord};
use crate::error::Result;
use crate::peer::Machine;
use crate::sync::core::waiter::{Change, IDLE, Waiter};

/// What one side waits for, and how it is told.
#[derive(Clone, Copy, Debug)]
pub(in crate::channel) struct Wait {
    /// A verb phrase for errors.
    pub(in crate::channel) operation: &'static str,
    /// The offset of the number of waits in which this side has slept.
    pub(in crate::channel) count: u64,
    /// The role of the other side, whose gate this side sleeps at.
    pub(in crate::channel) other: Role,
    /// Returns `true` if the other side does nothing more.
    pub(in crate::channel) is_closed: fn(RoleWord) -> bool,
}

/// Returns how the sender of a channel, whose words lie at an offset, waits for room.
pub(in crate::channel) fn sender(at: u64) -> Wait {
    Wait {
        operation: "send to the channel",
        count: at + ring::SEND_WAITS,
        other: ring::receiver(at),
        is_closed: RoleWord::has_left,
    }
}

/// Returns how the receiver waits for a message.
pub(in crate::channel) fn receiver(at: u64) -> Wait {
    Wait {
        operation: "receive from the channel",
        count: at + ring::RECEIVE_WAITS,
        other: ring::sender(at),
        is_closed: RoleWord::is_over,
    }
}

impl Wait {
    /// Waits until `is_ready` returns `true`, or until the moment `until`; `None`: no limit. Returns `false` if the other
    /// side has left, and `is_ready` returned `false` after that.
    ///
    /// Fails with `Timeout`, with `Cancelled` if the call had to block, or with the error of an access.
    pub(in crate::channel) fn run<M: Machine>(
        self,
        machine: &M,
        until: Option<Duration>,
        mut is_ready: impl FnMut() -> Result<bool>,
    ) -> Result<bool> {
        let Self { operation, count, other, is_closed } = self;
        let mut waiter =
            Waiter::new(operation, other.at, other.gate, Change::Frequent, IDLE, until);
        loop {
            if is_ready()? {
                return Ok(true);
            }
            let owner = other.load(machine)?;
            if is_closed(owner) {
                // Once more: what the other side did before it left is visible now.
                return is_ready();
            }
            if waiter.spin(machine) {
                continue;
            }
            match owner.owner() {
                Some(lane) if waiter.check_deadline_of(machine, lane)? => continue,
                Some(_) => {}
                None => waiter.check_deadline(machine)?,
            }
            waiter.register(machine)?;
            // After the registration: the other side stores first, and looks at the gate then.
            if is_ready()? {
                return Ok(true);
            }
            if is_closed(other.load(machine)?) {
                continue;
            }
            if !waiter.has_slept() {
                // Only this side changes it.
                machine.store_64(count, machine.load_64(count)?.wrapping_add(1))?;
            }
            waiter.sleep(machine)?;
            if is_ready()? {
                return Ok(true);
            }
            // A dead owner would never wake this side.
            if let Some(lane) = owner.owner() {
                machine.probe_liveness(lane)?;
            }
        }
    }
}
