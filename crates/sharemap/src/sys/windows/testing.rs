//! The operations on processes that only Unix has, refused, for tests.

use std::convert::Infallible;
use std::process::ExitStatus;

use crate::sys::testing::Can;

pub(crate) use crate::sys::testing::refused::{
    choose_id, clone_alone, close_all, leave_ids, share_memory,
};
pub(crate) use crate::sys::testing::untraced::{close, mark};

/// Returns `true` if the process ended because a library of it was not loaded: under Wine, this occurs
/// occasionally while another process is being killed.
pub(crate) fn must_start_again(ended: ExitStatus) -> bool {
    const STATUS_DLL_NOT_FOUND: i32 = 0xc000_0135_u32 as i32;
    ended.code() == Some(STATUS_DLL_NOT_FOUND)
}

/// A forked child. No process is forked on Windows.
#[derive(Debug)]
#[allow(dead_code, reason = "the system has no forks")]
pub(crate) struct Forked(());

pub(crate) fn fork(_: impl FnOnce()) -> Option<Forked> {
    None
}

impl Forked {
    pub(crate) fn id(&self) -> i32 {
        unreachable!("no process is forked here")
    }

    pub(crate) fn kill(self) {
        unreachable!("no process is forked here")
    }

    pub(crate) fn passed(self) -> bool {
        unreachable!("no process is forked here")
    }
}

pub(crate) fn kill(_: i32) {
    unreachable!("no process but a child is known by its id here")
}

pub(crate) fn stop(_: u32) -> bool {
    false
}

pub(crate) fn go_on(_: u32) {}

pub(crate) fn execute(_: &str) -> Can<Infallible> {
    Err("this system cannot replace the program of a process".to_owned())
}
