//! The operations on processes of `posix`, and those that only Linux has, refused, for tests.

pub(crate) use crate::sys::posix::testing::{
    Forked, execute, fork, go_on, kill, must_start_again, stop,
};
pub(crate) use crate::sys::testing::refused::{
    choose_id, clone_alone, close_all, leave_ids, share_memory,
};
pub(crate) use crate::sys::testing::untraced::{close, mark};
