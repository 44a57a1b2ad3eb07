//! Parses the files of Linux in `/proc`; `None` on systems without them.

use crate::text::lossless_bytes;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// The huge pages of one mapping of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct HugePageUse {
    /// The page size of the mapping in bytes, larger than the base page only on hugetlbfs.
    pub(crate) page_size: u64,
    /// The number of bytes mapped by huge pages.
    pub(crate) mapped: u64,
    /// Whether the kernel may use huge pages without being asked.
    pub(crate) eligible: bool,
}

/// Reads a file of the kernel. Bytes that are not UTF-8 are replaced, so that the rest stays
/// readable.
pub(crate) fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read(path).ok().map(|text| String::from_utf8_lossy(&text).into_owned())
}

/// Returns the largest amount of resident memory of this process so far, in bytes.
pub(crate) fn peak_resident() -> Option<u64> {
    kilobytes(&read("/proc/self/status")?, "VmHWM:")
}

/// Returns the name of a process's program, which the process itself may have chosen.
pub(crate) fn program(process: &Path) -> Option<String> {
    let name = fs::read(process.join("comm")).ok()?;
    let name = name.strip_suffix(b"\n").unwrap_or(&name);
    Some(lossless_bytes(name))
}

/// A mounted file system.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The device number that `stat` reports for its files.
    pub(crate) device: u64,
    /// The part of the file system that is mounted.
    pub(crate) root: String,
    pub(crate) point: PathBuf,
}

/// Returns the mounts in the mount namespace of this process.
pub(crate) fn mounts() -> Vec<Mount> {
    let text = read("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(mount).collect()
}

/// Parses a line of `mountinfo`: two numbers, `major:minor`, root, mount point, with `\\040` for a space.
fn mount(line: &str) -> Option<Mount> {
    let mut words = line.split_ascii_whitespace().skip(2);
    let (major, minor) = words.next()?.split_once(':')?;
    let device = device(major.parse().ok()?, minor.parse().ok()?);
    let (root, point) = (unescaped(words.next()?), unescaped(words.next()?));
    Some(Mount { device, root, point: point.into() })
}

/// Encodes a device number as `stat` does.
pub(super) fn device(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (major & 0xfff) << 8 | (major & !0xfff) << 32 | minor & 0xff | (minor & !0xff) << 12
}

fn unescaped(text: &str) -> String {
    let codes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    codes.iter().fold(text.to_owned(), |text, (code, character)| text.replace(code, character))
}

/// Returns the time at which the system started.
pub(crate) fn boot_time() -> Option<SystemTime> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Returns the pid namespace of this process.
pub(crate) fn own_pid_namespace() -> Option<u64> {
    static OWN: OnceLock<Option<u64>> = OnceLock::new();
    *OWN.get_or_init(|| pid_namespace("self"))
}

/// Returns `true` if `/proc` lists the processes of all pid namespaces and of all users.
pub(crate) fn lists_all() -> bool {
    /// The inode number of the initial pid namespace, which the kernel fixes.
    const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    pid_namespace("self") == Some(FIRST_PID_NAMESPACE) && !hides_processes(&mounts)
}

/// Returns `true` if the options of the last mount at `/proc` hide processes of other users.
fn hides_processes(mounts: &str) -> bool {
    let is_proc = |line: &&str| line.split_ascii_whitespace().nth(4) == Some("/proc");
    let options = mounts.lines().rfind(is_proc).and_then(|line| line.rsplit(' ').next());
    let mut options = options.unwrap_or_default().split(',');
    options.any(|option| {
        option.strip_prefix("hidepid=").is_some_and(|how| !matches!(how, "0" | "off"))
    })
}

/// Finds the process with the id `process` in the pid namespace `space` that started at `start_time` (0:
/// at any time). Returns its id in this namespace and the name of its program.
pub(crate) fn find_process(
    process: u32,
    space: u64,
    start_time: u64,
) -> Option<(u32, Option<String>)> {
    let is_it = |pid: u32| start_time == 0 || start_time_of(pid) == Some(start_time);
    let named = |pid: u32| (pid, program(Path::new(&format!("/proc/{pid}"))));
    if space == 0 || own_pid_namespace() == Some(space) {
        return is_it(process).then(|| named(process));
    }
    let pid = *foreign_processes().get(&(space, process))?;
    is_it(pid).then(|| named(pid))
}

/// Returns the processes of other pid namespaces, by namespace and id there. The table is built once,
/// because a malformed object may claim any number of participants in any namespace.
fn foreign_processes() -> &'static HashMap<(u64, u32), u32> {
    static FOUND: OnceLock<HashMap<(u64, u32), u32>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let foreign = entries.filter_map(|entry| {
            let name = entry.file_name();
            let pid = name.to_str()?.parse().ok()?;
            let space = pid_namespace(name.to_str()?).filter(|_| own_pid_namespace().is_some())?;
            (Some(space) != own_pid_namespace()).then_some(((space, innermost_pid(pid)?), pid))
        });
        foreign.collect()
    })
}

#[cfg(unix)]
fn pid_namespace(process: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(format!("/proc/{process}/ns/pid")).ok().map(|found| found.ino())
}

#[cfg(not(unix))]
fn pid_namespace(_: &str) -> Option<u64> {
    None
}

/// Returns the id of a process in its own pid namespace.
fn innermost_pid(pid: u32) -> Option<u32> {
    let status = read(format!("/proc/{pid}/status"))?;
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().last()?.parse().ok()
}

/// Returns the start time of a process, in clock ticks since the system started.
fn start_time_of(pid: u32) -> Option<u64> {
    let text = read(format!("/proc/{pid}/stat"))?;
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

/// Returns the bytes of address space in which this process maps files in or below `path`.
pub(crate) fn mapped_bytes(path: &Path) -> Option<u64> {
    let path = fs::canonicalize(path).ok()?;
    let maps = read("/proc/self/maps")?;
    Some(sum_mapped(&maps, path.to_str()?))
}

fn sum_mapped(maps: &str, path: &str) -> u64 {
    let length = |line: &str| {
        // start-end perms offset device inode path, where the path may contain spaces.
        let name = &line[line.find('/')?..];
        let name = name.strip_suffix(" (deleted)").unwrap_or(name);
        let rest = name.strip_prefix(path)?;
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let bound = |text| u64::from_str_radix(text, 16).ok();
        (rest.is_empty() || rest.starts_with('/')).then_some(bound(end)? - bound(start)?)
    };
    maps.lines().filter_map(length).sum()
}

/// Returns the huge pages of the mapping that contains `address`.
pub(crate) fn huge_pages(address: usize) -> Option<HugePageUse> {
    huge_pages_in(&read("/proc/self/smaps")?, address)
}

fn huge_pages_in(smaps: &str, address: usize) -> Option<HugePageUse> {
    let contains = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        Some((start..end).contains(&address))
    };
    let from = smaps.lines().position(|line| contains(line) == Some(true))?;
    let mut entry = smaps.lines().skip(from + 1).take_while(|line| contains(line).is_none());
    let mut found = HugePageUse::default();
    entry.try_for_each(|line| {
        let (name, _) = line.split_once(':')?;
        match name {
            "KernelPageSize" => found.page_size = kilobytes(line, "KernelPageSize:")?,
            "AnonHugePages" | "ShmemPmdMapped" | "FilePmdMapped" | "Private_Hugetlb"
            | "Shared_Hugetlb" => found.mapped += kilobytes(line, name).unwrap_or_default(),
            "THPeligible" => found.eligible = line.trim_end().ends_with('1'),
            _ => {}
        }
        Some(())
    });
    Some(found)
}

/// Returns the value of the line that begins with `name`, converted to bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number = line.trim_start_matches(':').trim().strip_suffix("kB")?.trim();
    number.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn processes_are_found_by_their_own_ids() {
        let own = std::process::id();
        let space = pid_namespace("self").unwrap();
        let start = start_time_of(own).unwrap();
        assert_eq!(find_process(own, space, start).unwrap().0, own);
        assert_eq!(find_process(own, space, start + 1), None);
        assert_eq!(find_process(own, space ^ 1, start), None);
        assert_eq!(innermost_pid(own), Some(own));
    }

    #[test]
    fn mounts_are_parsed() {
        let line = r"68 65 0:41 / /a\040b rw,relatime shared:1 - overlay overlay rw,lowerdir=l";
        let (root, point) = ("/".to_owned(), PathBuf::from("/a b"));
        assert_eq!(mount(line), Some(Mount { device: 41, root, point }));
        assert_eq!(mount("nonsense"), None);
    }

    #[test]
    fn mount_options_that_hide_processes_are_recognized() {
        let plain = "22 27 0:21 / /proc rw,relatime shared:5 - proc proc rw";
        let other = "23 27 0:22 / /other rw - proc proc rw,hidepid=invisible";
        assert!(!hides_processes(&format!("{plain}\n{other}\n")));
        assert!(!hides_processes(&format!("{plain},hidepid=off")));
        assert!(!hides_processes(&format!("{plain},hidepid=0,gid=4")));
        for how in ["1", "2", "4", "noaccess", "invisible", "ptraceable"] {
            assert!(hides_processes(&format!("{plain}\n{plain},gid=4,hidepid={how}\n{other}")));
        }
    }

    #[test]
    fn mapped_bytes_are_summed_by_path() {
        let maps = "\
00400000-00401000 r--p 00000000 fe:00 11 /data/a
00402000-00405000 r--p 00000000 fe:00 11 /data/a (deleted)
00500000-00501000 r--p 00000000 fe:00 12 /data/ab
00600000-00700000 rw-p 00000000 00:00 0
00700000-00701000 rw-p 00000000 00:00 0 [stack]
";
        assert_eq!(sum_mapped(maps, "/data/a"), 0x4000);
        assert_eq!(sum_mapped(maps, "/data"), 0x5000);
        assert_eq!(sum_mapped(maps, "/dat"), 0);
    }

    #[test]
    fn huge_pages_are_found_by_address() {
        let smaps = "\
00400000-00600000 r--s 00000000 fe:00 11 /data/a
Size:               2048 kB
KernelPageSize:        4 kB
FilePmdMapped:      2048 kB
THPeligible:           1
VmFlags: rd sh
00700000-00701000 rw-p 00000000 00:00 0
KernelPageSize:        4 kB
THPeligible:           0
";
        let found = huge_pages_in(smaps, 0x5f_ffff);
        let page_size = 4096;
        let mapped = 2 << 20;
        assert_eq!(found, Some(HugePageUse { page_size, mapped, eligible: true }));
        let found = huge_pages_in(smaps, 0x70_0000);
        assert_eq!(found, Some(HugePageUse { page_size, mapped: 0, eligible: false }));
        assert_eq!(huge_pages_in(smaps, 0x60_0000), None);
    }

    #[test]
    fn device_numbers_are_encoded_as_by_stat() {
        assert_eq!(device(8, 1), 0x801);
        assert_eq!(device(0, 0x12345), 0x1230_0045);
        assert_eq!(device(0x1001, 0), 0x1000_0000_0100);
    }
}
