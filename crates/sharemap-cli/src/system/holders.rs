//! Finds the processes that have a file mapped or open, from `/proc`.

use super::procfs;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

/// A process that has a file mapped or open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    /// The name of the program. The kernel keeps at most 15 bytes of it.
    pub(crate) program: Option<String>,
    /// Whether the process has the file mapped.
    pub(crate) mapped: bool,
    /// Whether the process has a descriptor of the file.
    pub(crate) open: bool,
}

/// The holders of all files, by device and inode number.
pub(crate) struct Holders {
    by_file: HashMap<(u64, u64), BTreeMap<u32, Holder>>,
    /// The number of processes that could not be inspected: mostly those of other users.
    pub(crate) hidden: u64,
    /// The number of processes that were inspected.
    pub(crate) seen: u64,
    /// Whether `/proc` lists the processes of all users and pid namespaces.
    pub(crate) lists_all: bool,
}

impl Holders {
    /// Inspects all other processes. `None` if the system does not list the files of processes.
    pub(crate) fn look() -> Option<Self> {
        let own = std::process::id();
        fs::metadata("/proc/self/maps").ok()?;
        let entries = fs::read_dir("/proc").ok()?.flatten();
        let processes = entries.filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse::<u32>().ok()?;
            (pid != own).then(|| (pid, entry.path()))
        });
        Some(Self::look_through(processes, procfs::lists_all()))
    }

    /// Inspects each process from a second thread. Reading `/proc` of a process can block for as long as
    /// that process, perhaps of another user, makes it. A process that does not answer in
    /// time counts as hidden; after [`MOST_STUCK`] of them, so do all the rest.
    fn look_through(processes: impl Iterator<Item = (u32, PathBuf)>, lists_all: bool) -> Self {
        let mut holders = Self { by_file: HashMap::new(), hidden: 0, seen: 0, lists_all };
        let mut looker = Looker::start();
        let mut stuck = 0;
        for (pid, process) in processes {
            let looked = looker.as_ref().ok_or(Stuck).and_then(|looker| looker.look_into(process));
            match looked {
                Ok(Looked::Held(held)) => {
                    holders.seen += 1;
                    holders.add(pid, held);
                }
                Ok(Looked::Partly(held)) => {
                    holders.hidden += 1;
                    holders.add(pid, held);
                }
                Ok(Looked::Ended) => {}
                Err(Stuck) => {
                    holders.hidden += 1;
                    stuck += 1;
                    looker = if stuck < MOST_STUCK { Looker::start() } else { None };
                }
            }
        }
        holders
    }

    /// Returns the processes that have this file mapped or open.
    pub(crate) fn of(&self, file: (u64, u64)) -> Vec<Holder> {
        self.by_file.get(&file).map(|found| found.values().cloned().collect()).unwrap_or_default()
    }

    fn add(&mut self, pid: u32, held: Held) {
        let program = held.program;
        for (file, (mapped, open)) in held.files {
            let holder = Holder { pid, program: program.clone(), mapped, open };
            self.by_file.entry(file).or_default().insert(pid, holder);
        }
    }
}

/// The time limit for reading `/proc` of one process.
const LIMIT: Duration = Duration::from_secs(1);
/// The number of processes without an answer after which the search ends.
const MOST_STUCK: u32 = 4;

/// A thread that inspects one process at a time.
struct Looker {
    processes: Sender<PathBuf>,
    looked: Receiver<Looked>,
}

/// The kernel did not answer in time. The blocked thread is abandoned.
struct Stuck;

impl Looker {
    /// Starts the thread. `None` if no thread can be created.
    fn start() -> Option<Self> {
        let (processes, asked) = mpsc::channel::<PathBuf>();
        let (answers, looked) = mpsc::channel();
        let look = move || {
            for process in asked {
                if answers.send(look_into(&process)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("holders".into()).spawn(look).ok()?;
        Some(Self { processes, looked })
    }

    fn look_into(&self, process: PathBuf) -> Result<Looked, Stuck> {
        self.processes.send(process).map_err(|_| Stuck)?;
        self.looked.recv_timeout(LIMIT).map_err(|_| Stuck)
    }
}

/// The result of inspecting a process.
enum Looked {
    Held(Held),
    /// A part of the process could not be inspected.
    Partly(Held),
    /// The process ended, and holds nothing.
    Ended,
}

/// The files that a process holds.
#[derive(Default)]
struct Held {
    program: Option<String>,
    /// By device and inode number: whether the file is mapped, and whether it is open.
    files: HashMap<(u64, u64), (bool, bool)>,
}

fn look_into(process: &Path) -> Looked {
    let mut held = Held::default();
    let mapped = for_mapped(process, &mut |file| held.files.entry(file).or_default().0 = true);
    let descriptors = fs::read_dir(process.join("fd"));
    let failed = mapped.err().or(descriptors.as_ref().err().map(has_ended));
    for entry in descriptors.into_iter().flatten().flatten() {
        if let Some(file) = super::identity_behind(&entry.path()) {
            held.files.entry(file).or_default().1 = true;
        }
    }
    if !held.files.is_empty() {
        held.program = procfs::program(process);
    }
    match failed {
        None => Looked::Held(held),
        Some(true) => Looked::Ended,
        Some(false) => Looked::Partly(held),
    }
}

/// Calls `found` with each file that the process has mapped. The error is `true` if the process has
/// ended.
fn for_mapped(process: &Path, found: &mut dyn FnMut((u64, u64))) -> Result<(), bool> {
    match lines(&process.join("maps"), found) {
        Err(error) if error.raw_os_error() == Some(ESRCH) => {}
        Err(error) => return Err(has_ended(&error)),
        Ok(0) => {}
        Ok(_) => return Ok(()),
    }
    // The first thread may have ended; then its `maps` are empty, and those of the other threads are read.
    let threads = fs::read_dir(process.join("task")).map_err(|error| has_ended(&error))?;
    for thread in threads.flatten() {
        match lines(&thread.path().join("maps"), found) {
            Err(error) if !has_ended(&error) => return Err(false),
            _ => {}
        }
    }
    Ok(())
}

/// Calls `found` with the file of each line of a `maps` file. Returns the number of lines. Paths
/// may be invalid UTF-8, and together too long to keep in memory.
fn lines(maps: &Path, found: &mut dyn FnMut((u64, u64))) -> io::Result<usize> {
    let (mut reader, mut line, mut count) = (BufReader::new(File::open(maps)?), Vec::new(), 0);
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(count);
        }
        count += 1;
        if let Some(file) = mapped_file(&String::from_utf8_lossy(&line)) {
            found(file);
        }
    }
}

const ESRCH: i32 = 3;

fn has_ended(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// Returns the device and inode number in a line of `maps`: addresses, permissions, offset,
/// `major:minor`, inode, path.
fn mapped_file(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_ascii_whitespace().skip(3);
    let (major, minor) = words.next()?.split_once(':')?;
    let number = |text| u32::from_str_radix(text, 16).ok();
    let inode: u64 = words.next()?.parse().ok()?;
    (inode != 0).then_some((procfs::device(number(major)?, number(minor)?), inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps_are_parsed() {
        let line = "7f1000-7f2000 rw-s 00000000 00:1a 4242                       /dev/shm/a b";
        assert_eq!(mapped_file(line), Some((0x1a, 4242)));
        assert_eq!(mapped_file("7f1000-7f2000 rw-p 00000000 00:00 0"), None);
        assert_eq!(mapped_file("7f1000-7f2000 r--p 0 103:02 7 /x"), Some((0x10302, 7)));
        assert_eq!(mapped_file("nonsense"), None);
    }

    #[test]
    fn processes_that_cannot_be_read_are_hidden() {
        let folder = tempfile::tempdir().unwrap();
        let process = |name: &str| {
            let process = folder.path().join(name);
            fs::create_dir_all(process.join("fd")).unwrap();
            process
        };
        let line = b"7f1000-7f2000 rw-s 00000000 00:1a 4242   /dev/shm/\xff\n";
        let readable = process("1");
        fs::write(readable.join("maps"), line).unwrap();
        // Reading a directory fails, though not for lack of permission.
        let odd = process("2");
        fs::create_dir(odd.join("maps")).unwrap();
        let ended = folder.path().join("3");
        let led_by_a_dead_thread = process("4");
        fs::write(led_by_a_dead_thread.join("maps"), "").unwrap();
        fs::create_dir_all(led_by_a_dead_thread.join("task/5")).unwrap();
        fs::write(led_by_a_dead_thread.join("task/5/maps"), line).unwrap();

        let processes = (1..).zip([readable, odd, ended, led_by_a_dead_thread]);
        let holders = Holders::look_through(processes, true);
        assert_eq!((holders.seen, holders.hidden), (2, 1));
        let pids: Vec<_> = holders.of((0x1a, 4242)).iter().map(|holder| holder.pid).collect();
        assert_eq!(pids, [1, 4]);
    }

    /// Opening a FIFO blocks until its other end is opened, as reading `/proc` of another user's
    /// process may.
    #[test]
    #[cfg(unix)]
    fn processes_that_block_are_hidden_in_bounded_time() {
        let folder = tempfile::tempdir().unwrap();
        let mut processes = Vec::new();
        for number in 0..50 {
            let process = folder.path().join(number.to_string());
            fs::create_dir_all(process.join("fd")).unwrap();
            let maps = process.join("maps");
            if number == 0 {
                fs::write(&maps, "7f1000-7f2000 rw-s 0 00:1a 42 /x\n").unwrap();
            } else {
                assert!(
                    std::process::Command::new("mkfifo").arg(&maps).status().unwrap().success()
                );
            }
            processes.push((number, process));
        }
        let begun = std::time::Instant::now();
        let holders = Holders::look_through(processes.into_iter(), true);
        assert!(begun.elapsed() < LIMIT * (MOST_STUCK + 2), "{:?}", begun.elapsed());
        assert_eq!((holders.seen, holders.hidden), (1, 49));
        assert_eq!(holders.of((0x1a, 42)).len(), 1);
    }
}
