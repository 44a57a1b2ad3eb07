//! Searches one file system for files by their inode numbers.

#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "companions exist on Linux only"))]

use std::path::{Path, PathBuf};
use std::time::Instant;

/// The files to search for, and the deadline.
pub(crate) struct Wanted<'a> {
    /// The mount point of the file system.
    pub(crate) point: &'a Path,
    /// The device, as `stat` reports it.
    pub(crate) device: u64,
    /// The inode numbers of the files.
    pub(crate) numbers: &'a [u64],
    pub(crate) deadline: Instant,
}

/// A file that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) number: u64,
    /// The path at which the file was found, for messages.
    pub(crate) path: PathBuf,
    #[cfg(target_os = "linux")]
    file: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
pub(crate) use linux::files;

/// Companions exist on Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) fn files(_: &Wanted<'_>, _: &mut dyn FnMut()) -> (Vec<Found>, Result<(), String>) {
    (Vec::new(), Err("this system has no inode numbers to search for".into()))
}

#[cfg(not(target_os = "linux"))]
impl Found {
    pub(crate) fn open(&self) -> std::io::Result<std::fs::File> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Found, Wanted};
    use crate::text::lossless;
    use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, StatxAttributes, StatxFlags};
    use rustix::io::Errno;
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::ffi::OsStrExt;
    use std::time::Instant;

    /// The largest number of open directories; deeper directories are not searched.
    const DEPTH: usize = 100;
    /// The number of entries between two checks of the deadline.
    const PIECE: usize = 64;

    /// Walks a file system once, by descriptors. No link is followed, and no other file system is
    /// entered. Calls `between` every few entries. Returns the files found, and the reason if the
    /// walk is incomplete.
    pub(crate) fn files(
        wanted: &Wanted<'_>,
        between: &mut dyn FnMut(),
    ) -> (Vec<Found>, Result<(), String>) {
        let mut walk = Walk { wanted, found: Vec::new(), seen: 0, missed: None };
        let ended = walk.run(between);
        let ended = match walk.missed {
            Some(missed) => ended.and(Err(missed)),
            None => ended,
        };
        (walk.found, ended)
    }

    struct Walk<'a> {
        wanted: &'a Wanted<'a>,
        found: Vec<Found>,
        seen: usize,
        /// The first directory that was left out.
        missed: Option<String>,
    }

    impl Walk<'_> {
        fn run(&mut self, between: &mut dyn FnMut()) -> Result<(), String> {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let point = self.wanted.point;
            let top = rustix::fs::open(point, flags, Mode::empty()).and_then(Dir::new);
            let top =
                top.map_err(|errno| format!("{} cannot be searched: {errno}", lossless(point)))?;
            let mut open = vec![(top, point.to_path_buf())];
            while let Some((directory, place)) = open.last_mut() {
                if self.found.len() == self.wanted.numbers.len() {
                    return Ok(());
                }
                if self.seen.is_multiple_of(PIECE) {
                    between();
                    if Instant::now() >= self.wanted.deadline {
                        return Err(
                            "the search did not end in time; use --timeout to allow more".into()
                        );
                    }
                }
                self.seen += 1;
                let entry = match directory.read() {
                    Some(Ok(entry)) => entry,
                    Some(Err(errno)) => {
                        self.miss(place, errno);
                        open.pop();
                        continue;
                    }
                    None => {
                        open.pop();
                        continue;
                    }
                };
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                let path = place.join(OsStr::from_bytes(name.to_bytes()));
                let descriptor = match directory.fd() {
                    Ok(descriptor) => descriptor,
                    Err(errno) => {
                        self.miss(&path, errno);
                        continue;
                    }
                };
                let Some(kind) = self.look(descriptor, name, &path) else { continue };
                if kind != FileType::Directory {
                    continue;
                }
                let next = rustix::fs::openat(descriptor, name, flags, Mode::empty());
                match next.and_then(Dir::new) {
                    _ if open.len() >= DEPTH => self.miss(&path, Errno::NAMETOOLONG),
                    Ok(next) => open.push((next, path)),
                    // The entry is gone, or refers to another file now.
                    Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => {}
                    Err(errno) => self.miss(&path, errno),
                }
            }
            Ok(())
        }

        /// Records a wanted file. Returns the entry's type if it is on this file system.
        fn look(
            &mut self,
            directory: impl AsFd + Copy,
            name: &std::ffi::CStr,
            path: &std::path::Path,
        ) -> Option<FileType> {
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
            let stat =
                rustix::fs::statx(directory, name, flags, StatxFlags::TYPE | StatxFlags::INO)
                    .ok()?;
            let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
            if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
                || device != self.wanted.device
            {
                return None;
            }
            let kind = FileType::from_raw_mode(stat.stx_mode.into());
            let number = stat.stx_ino;
            if kind != FileType::RegularFile || !self.wanted.numbers.contains(&number) {
                return Some(kind);
            }
            // Opening the file itself would count as a use.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(directory, name, flags, Mode::empty()).ok()?;
            let same = rustix::fs::fstat(&file)
                .is_ok_and(|found| (found.st_dev, found.st_ino) == (device, number));
            if same && self.found.iter().all(|found| found.number != number) {
                self.found.push(Found { number, path: path.to_path_buf(), file });
            }
            Some(kind)
        }

        /// Records a directory that cannot be searched; the first one is reported.
        fn miss(&mut self, path: &std::path::Path, errno: Errno) {
            let why = || format!("{} cannot be searched: {errno}", lossless(path));
            self.missed.get_or_insert_with(why);
        }
    }

    impl Found {
        /// Opens the file as it is now; on an overlay, its newest copy. Fails with `WouldBlock` if
        /// another process holds a lease on it.
        pub(crate) fn open(&self) -> std::io::Result<File> {
            // The link in /proc refers to this file itself, whatever its name refers to now.
            let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let opened = rustix::fs::open(link.as_str(), flags, Mode::empty());
            opened.map(File::from).map_err(std::io::Error::from)
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    fn search(point: &Path, numbers: &[u64], time: Duration) -> (Vec<u64>, Result<(), String>) {
        let device = point.metadata().unwrap().dev();
        let deadline = Instant::now() + time;
        let (found, ended) = files(&Wanted { point, device, numbers, deadline }, &mut || {});
        let mut found: Vec<u64> = found
            .iter()
            .map(|found| {
                assert_eq!(found.open().unwrap().metadata().unwrap().ino(), found.number);
                found.number
            })
            .collect();
        found.sort_unstable();
        (found, ended)
    }

    #[test]
    fn one_walk_finds_all_files_and_follows_no_links() {
        const TIME: Duration = Duration::from_secs(60);
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let number = |path: &Path| path.metadata().unwrap().ino();
        let mut numbers = Vec::new();
        for way in ["", "a", "a/b", "c"] {
            let place = folder.path().join(way);
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join("file"), "").unwrap();
            numbers.push(number(&place.join("file")));
        }
        let outside = elsewhere.path().join("file");
        std::fs::write(&outside, "").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink(&outside, folder.path().join("link-of-file")).unwrap();
        numbers.sort_unstable();
        let point = folder.path();
        assert_eq!(search(point, &numbers, TIME), (numbers.clone(), Ok(())));
        assert_eq!(search(point, &[number(&outside)], TIME), (Vec::new(), Ok(())));
        // Only regular files are found.
        assert_eq!(search(point, &[number(&point.join("a"))], TIME), (Vec::new(), Ok(())));
        let (found, ended) = search(point, &numbers, Duration::ZERO);
        assert!(found.is_empty() && ended.unwrap_err().contains("--timeout"));
    }

    /// A process may hold a lease for up to a minute after another process opens the file.
    #[test]
    fn opening_a_found_file_does_not_wait_for_a_lease() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let (point, metadata) = (folder.path(), path.metadata().unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        let wanted = Wanted { point, device: metadata.dev(), numbers: &[metadata.ino()], deadline };
        let (found, _) = files(&wanted, &mut || {});
        let lease = loop {
            match sharemap::inspect::ExclusiveClaim::of(sharemap::Location::file(&path)) {
                // A child that another test has forked but not yet executed may hold it briefly.
                Ok(None) => {}
                Ok(Some(unused)) => break unused,
                Err(error) => {
                    println!("skipped: {error}");
                    return;
                }
            }
        };
        let begun = Instant::now();
        assert_eq!(found[0].open().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        assert!(begun.elapsed() < Duration::from_secs(20), "it waited");
        drop(lease);
        found[0].open().unwrap();
    }

    #[test]
    fn a_walk_that_leaves_out_deep_directories_is_incomplete() {
        let folder = tempfile::tempdir().unwrap();
        let mut deep = folder.path().to_path_buf();
        for _ in 0..120 {
            deep.push("d");
        }
        std::fs::create_dir_all(&deep).unwrap();
        let (found, ended) = search(folder.path(), &[u64::MAX], Duration::from_secs(60));
        assert!(found.is_empty() && ended.unwrap_err().contains("cannot be searched"));
    }
}
