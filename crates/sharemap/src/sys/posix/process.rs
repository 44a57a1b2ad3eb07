//! Limits that both systems know by the same names.

use rustix::process::{Resource, getrlimit};

pub(crate) fn open_files_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

pub(crate) fn locked_bytes_limit() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

pub(crate) fn address_space_limit() -> Option<u64> {
    getrlimit(Resource::As).current
}

pub(crate) fn file_size_limit() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}
