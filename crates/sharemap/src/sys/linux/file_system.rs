//! The file systems that contain files, and the peculiarities of some.

use std::fs::File;

use rustix::io::{Errno, retry_on_intr};

use crate::error::Result;
use crate::sys::posix::errno;

// Magic numbers of file systems, as `statfs` reports them.
const HUGETLBFS: u64 = 0x9584_58f6;
const OVERLAYFS: u64 = 0x794c_7630;
const PROC: u64 = 0x9fa0;
const BCACHEFS: u64 = 0xca45_1a4e;
const FUSE: u64 = 0x6573_5546;
const NFS: u64 = 0x6969;
const CIFS: u64 = 0xff53_4d42;
const SMB2: u64 = 0xfe53_4d42;
const NINEP: u64 = 0x0102_1997;
const CEPH: u64 = 0x00c3_6400;

/// File systems that report no length for their regular files. A trial read could have an effect or block:
/// procfs, tracefs, debugfs, securityfs, cgroups of both versions.
const WITHOUT_SIZES: [u64; 6] =
    [PROC, 0x7472_6163, 0x6462_6720, 0x7363_6673, 0x0027_e0eb, 0x6367_7270];

/// Returns the name of the file system that contains the file.
pub(crate) fn file_system(file: &File) -> Result<String> {
    kind_of_system(file).map(FileSystem::name)
}

/// Returns the kind of the file system that contains the file.
pub(crate) fn kind_of_system(file: &File) -> Result<FileSystem> {
    magic(file).map(FileSystem).map_err(|errno| errno::error("identify the file system of", errno))
}

/// The kind of a file system: its magic number, which has 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem(u64);

impl FileSystem {
    /// Returns the magic number.
    pub(super) fn magic(self) -> u64 {
        self.0
    }

    /// Returns `true` if two files never have one identity. On bcachefs, a file and its snapshots have.
    pub(crate) fn tells_files_apart(self) -> bool {
        self.0 != BCACHEFS
    }

    /// Returns `true` if a read-only descriptor may show another file than a later one of the same identity: on
    /// overlayfs, after a copy-up.
    pub(crate) fn copies_up(self) -> bool {
        self.0 == OVERLAYFS
    }

    /// Returns `true` for file systems that other machines may use, too.
    pub(super) fn is_shared(self) -> bool {
        matches!(self.0, NFS | CIFS | SMB2 | NINEP | CEPH | FUSE)
    }

    /// Returns `true` for file systems that cannot carry liveness locks.
    pub(super) fn needs_companion(self) -> bool {
        // Overlayfs releases the locks of a mapped file when it is closed. On hugetlbfs, a page of
        // the usual size cannot be mapped.
        matches!(self.0, OVERLAYFS | HUGETLBFS)
    }

    /// Returns the name.
    pub(super) fn name(self) -> String {
        let magic = self.0;
        let name = match magic {
            0xef53 => "ext4",
            0x5846_5342 => "xfs",
            0x9123_683e => "btrfs",
            0x0102_1994 => "tmpfs",
            HUGETLBFS => "hugetlbfs",
            0x8584_58f6 => "ramfs",
            OVERLAYFS => "overlayfs",
            0xf2f5_2010 => "f2fs",
            0x2fc1_2fc1 => "zfs",
            BCACHEFS => "bcachefs",
            0xe0f5_e1e2 => "erofs",
            0x7371_7368 => "squashfs",
            0x9660 => "iso9660",
            0x4d44 => "vfat",
            0x2011_bab0 => "exfat",
            0x7366_746e => "ntfs3",
            FUSE => "fuse",
            NFS => "nfs",
            CIFS | SMB2 => "cifs",
            NINEP => "9p",
            CEPH => "ceph",
            PROC => "proc",
            0x6265_6572 => "sysfs",
            _ => return format!("unknown ({magic:#x})"),
        };
        name.to_owned()
    }
}

/// Returns the magic number of the file's file system, which has 32 bits.
// The field's type differs between architectures.
#[allow(clippy::unnecessary_cast)]
fn magic(file: &File) -> std::result::Result<u64, Errno> {
    retry_on_intr(|| rustix::fs::fstatfs(file)).map(|stat| stat.f_type as u64 & 0xffff_ffff)
}

/// Returns `true` if the file consists of huge pages.
pub(super) fn is_on_hugetlbfs(file: &File) -> bool {
    magic(file) == Ok(HUGETLBFS)
}

/// Returns `true` if the file is on an overlay file system.
pub(super) fn is_overlayfs(file: &File) -> bool {
    magic(file) == Ok(OVERLAYFS)
}

/// Returns `true` if the file system reports no length for its regular files.
pub(super) fn is_without_sizes(file: &File) -> bool {
    magic(file).is_ok_and(|magic| WITHOUT_SIZES.contains(&magic))
}

/// Returns `true` if no two files of the file's file system have the same inode number.
pub(super) fn numbers_are_unique(file: &File) -> bool {
    const UNIQUE: [&str; 11] = [
        "ext4",
        "xfs",
        "btrfs",
        "tmpfs",
        "hugetlbfs",
        "ramfs",
        "overlayfs",
        "f2fs",
        "zfs",
        "erofs",
        "squashfs",
    ];
    file_system(file).is_ok_and(|name| UNIQUE.contains(&name.as_str()))
}
