//! This process's limits and counters.

use super::mach;
use crate::sys::Limits;
use crate::sys::posix::process::{locked_bytes_limit, open_files_limit};

/// There is no limit on the number of mappings.
pub(crate) fn limits() -> Limits {
    Limits { open_files: open_files_limit(), locked_bytes: locked_bytes_limit(), mappings: None }
}

pub(crate) fn mapping_count() -> Option<u64> {
    Some(mach::region_count())
}
