//! The operations on processes that only Linux has, refused, and those of `posix`, for tests.

use crate::sys::testing::Can;

pub(crate) use crate::sys::posix::testing::{
    Forked, execute, fork, go_on, kill, must_start_again, stop,
};
pub(crate) use crate::sys::testing::untraced::{close, mark};

const CLONES: &str = "only Linux can clone processes";
const IDS: &str = "only Linux has pid namespaces";

pub(crate) fn close_all() -> bool {
    false
}

pub(crate) fn clone_alone() -> Can<i32> {
    Err(CLONES.to_owned())
}

pub(crate) fn share_memory() -> Can<()> {
    Err(CLONES.to_owned())
}

pub(crate) fn leave_ids() -> Can<()> {
    Err(IDS.to_owned())
}

pub(crate) fn choose_id(_: i32) -> Can<()> {
    Err(IDS.to_owned())
}
