//! The measured files, in memory and on disk, with incompressible contents.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Deref;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};

use crate::reason::{Reason, why};

/// Pseudo-random numbers (xorshift), the same in every run.
#[derive(Clone, Copy)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    #[inline(always)]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Creates a file in memory (`memfd_create`) and fills it.
pub fn in_memory(len: usize) -> Result<File, Reason> {
    let mut file = memory_object(c"bench", 0)?;
    fill(&mut file, len)?;
    Ok(file)
}

/// Creates a file in memory and fills it with lines of English words, of 3 to 17 words each.
pub fn text_in_memory(len: usize) -> Result<File, Reason> {
    const WORDS: &str = "the of and to in a that was he it with for his as on had at but from they which \
        not were this have her one an be she all there their him been has when more would who said \
        could some into other than then its time only new up over harbour morning light between \
        question number system record station children history";
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut random = Random::new(len as u64);
    let mut file = memory_object(c"text", 0)?;
    let mut piece = Vec::with_capacity(1 << 20);
    let mut left = len;
    while left > 0 {
        piece.clear();
        while piece.len() < left.min(1 << 20) {
            for _ in 0..3 + random.below(15) {
                // Words early in the list are more frequent.
                let bound = 1 + random.below(words.len() as u64);
                piece.extend_from_slice(words[random.below(bound) as usize].as_bytes());
                piece.push(b' ');
            }
            *piece.last_mut().expect("a line has words") = b'\n';
        }
        let now = left.min(piece.len());
        file.write_all(&piece[..now]).map_err(why)?;
        left -= now;
    }
    Ok(file)
}

/// Creates an empty memory object with the given `MFD_` flags.
pub fn memory_object(name: &CStr, flags: libc::c_uint) -> Result<File, Reason> {
    // SAFETY: the name is terminated.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), flags | libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(format!("memfd_create: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: the descriptor is new and has no other owner.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// A file that is removed when the value is dropped.
pub struct OnDisk {
    path: PathBuf,
    file: File,
}

impl OnDisk {
    /// Creates a file of `len` bytes, filled and written to the device.
    pub fn new(dir: &Path, len: usize) -> Result<Self, Reason> {
        let path = dir.join(format!("sharemap-bench-{}-{len}", std::process::id()));
        let open = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = open.map_err(|error| format!("{}: {error}", path.display()))?;
        let mut new = Self { path, file };
        fill(&mut new.file, len)?;
        new.file.sync_all().map_err(why)?;
        Ok(new)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Drops the cached pages that no process has mapped.
    pub fn evict(&self) -> Result<(), Reason> {
        // SAFETY: takes no pointers.
        let code =
            unsafe { libc::posix_fadvise(self.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        if code == 0 { Ok(()) } else { Err(why(std::io::Error::from_raw_os_error(code))) }
    }

    /// Returns an error if the file is in memory, where no page is cold and no write durable.
    pub fn require_device(&self) -> Result<(), Reason> {
        // SAFETY: plain integers, for which zeros are values.
        let mut status: libc::statfs = unsafe { std::mem::zeroed() };
        // SAFETY: the status is a local variable.
        if unsafe { libc::fstatfs(self.file.as_raw_fd(), &mut status) } != 0 {
            return Err(why(std::io::Error::last_os_error()));
        }
        const RAMFS: libc::c_long = 0x8584_58f6;
        if [libc::TMPFS_MAGIC, RAMFS].contains(&(status.f_type as libc::c_long)) {
            return Err("the directory is in memory; give one on a disk with --dir".into());
        }
        Ok(())
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The path of a file or a directory that is removed, if it exists then, when the value is dropped.
pub struct TemporaryPath(PathBuf);

impl TemporaryPath {
    /// Returns a path in memory.
    pub fn in_memory(name: &str) -> Self {
        Self::in_dir(Path::new("/dev/shm"), name)
    }

    pub fn in_dir(dir: &Path, name: &str) -> Self {
        Self(dir.join(format!("sharemap-bench-{}-{name}", std::process::id())))
    }
}

impl Deref for TemporaryPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TemporaryPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn fill(file: &mut File, len: usize) -> Result<(), Reason> {
    const PIECE: usize = 1 << 20;
    let mut random = Random::new(len as u64);
    let mut piece: Vec<u8> = (0..PIECE / 8).flat_map(|_| random.next().to_le_bytes()).collect();
    let mut left = len;
    while left > 0 {
        // All pieces differ.
        piece[..8].copy_from_slice(&random.next().to_le_bytes());
        let now = left.min(PIECE);
        file.write_all(&piece[..now]).map_err(why)?;
        left -= now;
    }
    Ok(())
}
