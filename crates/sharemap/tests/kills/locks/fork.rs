//! A child forked from an attached process with a lane becomes a participant of its own. Its parent
//! makes progress after the child is killed.

use std::cell::RefCell;
use std::path::Path;

use sharemap::{Mutex, Shared};

use super::{FIRST, mutex, open};
use crate::closure::{Closure, Kills, Scenario};
use crate::open::Order;
use crate::tracee::mark;

/// Calls `judge` with the scenario, in which this process is the parent.
fn scenario<R>(at_most: usize, judge: impl FnOnce(&Scenario<'_>, &dyn Fn(&Path)) -> R) -> R {
    let parent: RefCell<Option<Shared<Mutex<mutex::Value>>>> = RefCell::new(None);
    let prepare = |path: &Path| {
        parent.take();
        mutex::prepare(path);
        let shared = open::<Mutex<mutex::Value>>(path);
        assert_eq!(*shared.lock().unwrap(), [FIRST; 2]);
        parent.replace(Some(shared));
    };
    let operate = |_: &Path| {
        mark();
        mutex::add(parent.borrow().as_ref().unwrap());
        mark();
    };
    let goes_on = |_: &Path| mutex::add(parent.borrow().as_ref().unwrap());
    let survive = mutex::survive;
    let (mask, beside, plant) = (mutex::MUTEX.mask, None, None);
    let scenario = Scenario {
        prepare: &prepare,
        beside,
        operate: &operate,
        survive: &survive,
        mask,
        plant,
        at_most,
        order: Order::Oldest,
    };
    judge(&scenario, &goes_on)
}

pub fn close(at_most: usize) -> Closure {
    scenario(at_most, |scenario, _| scenario.close())
}

/// Kills the child and returns the number of kills.
///
/// # Errors
///
/// The stop of the kill.
pub fn kill(kills: Kills) -> Result<usize, String> {
    scenario(0, |scenario, goes_on| scenario.kill(kills, goes_on))
}
