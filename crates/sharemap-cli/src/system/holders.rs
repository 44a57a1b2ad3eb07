//! Who has a file mapped or open, as the kernel tells it in /proc.

use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;

/// A process that has a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    /// The program's name, as the kernel keeps it: at most 15 bytes.
    pub(crate) program: Option<String>,
    /// It has it in its address space.
    pub(crate) mapped: bool,
    /// It has a descriptor of it.
    pub(crate) open: bool,
}

/// Who has which file, by device and inode.
pub(crate) struct Holders {
    by_file: HashMap<(u64, u64), BTreeMap<u32, Holder>>,
    /// Processes that could not be looked into: as a rule others' users.
    pub(crate) hidden: u64,
    /// Those that could.
    pub(crate) seen: u64,
    /// Whether the list is of all processes there are.
    pub(crate) lists_all: bool,
}

impl Holders {
    /// Looks through all processes; `None` where the system has no list of what they hold.
    pub(crate) fn look() -> Option<Self> {
        let own = std::process::id();
        fs::metadata("/proc/self/maps").ok()?;
        let mut holders = Self {
            by_file: HashMap::new(),
            hidden: 0,
            seen: 0,
            lists_all: super::procfs::lists_all(),
        };
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            if let Some(pid) = pid.filter(|&pid| pid != own) {
                holders.look_into(pid, &entry.path());
            }
        }
        Some(holders)
    }

    /// The processes that have this file.
    pub(crate) fn of(&self, file: (u64, u64)) -> Vec<Holder> {
        self.by_file.get(&file).map(|found| found.values().cloned().collect()).unwrap_or_default()
    }

    fn look_into(&mut self, pid: u32, process: &Path) {
        let maps = maps(process);
        let descriptors = fs::read_dir(process.join("fd"));
        match maps.as_ref().err().or(descriptors.as_ref().err()) {
            None => self.seen += 1,
            // A process that ends meanwhile holds nothing.
            Some(error) if has_ended(error) => {}
            Some(_) => self.hidden += 1,
        }
        let mut program = None;
        let mut hold = |file, note: fn(&mut Holder)| {
            let program = program.get_or_insert_with(|| super::procfs::program(process));
            let found = self.by_file.entry(file).or_default().entry(pid).or_insert_with(|| {
                Holder { pid, program: program.clone(), mapped: false, open: false }
            });
            note(found);
        };
        for file in maps.iter().flat_map(|maps| maps.lines()).filter_map(mapped_file) {
            hold(file, |holder| holder.mapped = true);
        }
        for entry in descriptors.into_iter().flatten().flatten() {
            if let Some(file) = opened_file(&entry.path()) {
                hold(file, |holder| holder.open = true);
            }
        }
    }
}

/// What a process has mapped, a line each. Paths may be no UTF-8.
fn maps(process: &Path) -> io::Result<String> {
    let mut maps = match fs::read(process.join("maps")) {
        Err(error) if error.raw_os_error() == Some(ESRCH) => Vec::new(),
        maps => maps?,
    };
    // Of a process whose first thread has ended the others tell.
    if maps.is_empty() {
        for thread in fs::read_dir(process.join("task"))?.flatten() {
            match fs::read(thread.path().join("maps")) {
                Ok(more) => maps.extend(more),
                Err(error) if has_ended(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(String::from_utf8_lossy(&maps).into_owned())
}

const ESRCH: i32 = 3;

fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// Device and inode of a line of `maps`: addresses, permissions, offset, `major:minor`, inode, path.
fn mapped_file(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace().skip(3);
    let (major, minor) = words.next()?.split_once(':')?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    let inode: u64 = words.next()?.parse().ok()?;
    (inode != 0).then_some((device(number(major)?, number(minor)?), inode))
}

/// As `stat` has it.
pub(super) fn device(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (major & 0xfff) << 8 | (major & !0xfff) << 32 | minor & 0xff | (minor & !0xff) << 12
}

#[cfg(unix)]
fn opened_file(link: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(link).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn opened_file(_: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_are_read() {
        let line = "7f1000-7f2000 rw-s 00000000 00:1a 4242                       /dev/shm/a b";
        assert_eq!(mapped_file(line), Some((0x1a, 4242)));
        assert_eq!(mapped_file("7f1000-7f2000 rw-p 00000000 00:00 0"), None);
        assert_eq!(mapped_file("7f1000-7f2000 r--p 0 103:02 7 /x"), Some((0x10302, 7)));
        assert_eq!(mapped_file("nonsense"), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_looked_into() {
        let folder = tempfile::tempdir().unwrap();
        let process = |name: &str| {
            let process = folder.path().join(name);
            fs::create_dir_all(process.join("fd")).unwrap();
            process
        };
        let line = b"7f1000-7f2000 rw-s 00000000 00:1a 4242   /dev/shm/\xff\n";
        let readable = process("1");
        fs::write(readable.join("maps"), line).unwrap();
        // It is not denied, and yet it is not to be read.
        let odd = process("2");
        fs::create_dir(odd.join("maps")).unwrap();
        let ended = folder.path().join("3");
        let led_by_a_dead_thread = process("4");
        fs::write(led_by_a_dead_thread.join("maps"), "").unwrap();
        fs::create_dir_all(led_by_a_dead_thread.join("task/5")).unwrap();
        fs::write(led_by_a_dead_thread.join("task/5/maps"), line).unwrap();

        let mut holders = Holders { by_file: HashMap::new(), hidden: 0, seen: 0, lists_all: true };
        for (pid, process) in (1..).zip([readable, odd, ended, led_by_a_dead_thread]) {
            holders.look_into(pid, &process);
        }
        assert_eq!((holders.seen, holders.hidden), (2, 1));
        let pids: Vec<_> = holders.of((0x1a, 4242)).iter().map(|holder| holder.pid).collect();
        assert_eq!(pids, [1, 4]);
    }

    #[test]
    fn devices_are_numbered_as_by_the_kernel() {
        assert_eq!(device(8, 1), 0x801);
        assert_eq!(device(0, 0x12345), 0x1230_0045);
        assert_eq!(device(0x1001, 0), 0x1000_0000_0100);
    }
}
