//! Checks of Linux, read from files such as those in `/proc`. On other systems every check is left out.

use super::Check;
use crate::system::{self, procfs};
use crate::units;
use std::fs;
use std::path::Path;

const MIB: u64 = 1 << 20;

pub(super) fn checks() -> Vec<Check> {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    [
        shared_memory(),
        companions(),
        locked_memory(&limits),
        mappings(),
        open_files(&limits),
        address_space(&limits),
        file_size(&limits),
        core_dumps(&limits),
        overcommit(),
        transparent_huge_pages(),
        reserved_huge_pages(),
        remove_ipc(),
        container(),
        membarrier(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn read(path: &str) -> Option<String> {
    procfs::read(path).map(|text| text.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

/// Returns the soft limit in the line `name` of /proc/self/limits; `Some(None)` if it is unlimited.
fn limit(limits: &str, name: &str) -> Option<Option<u64>> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

fn bytes(limit: Option<u64>) -> String {
    limit.map_or("unlimited".into(), units::size)
}

fn shared_memory() -> Option<Check> {
    const NAME: &str = "shared memory";
    const DIR: &str = "/dev/shm";
    const LITTLE: u64 = 64 * MIB;
    const FEW: u64 = 64;
    let mounts = read("/proc/self/mounts")?;
    let dir = Path::new(DIR);
    if !dir.is_dir() {
        return Some(Check::ok(NAME, format!("{DIR} is missing")).problem(
            "named shared memory is stored there: no object can be created or opened by name",
            "mkdir /dev/shm && mount -t tmpfs -o size=1G,mode=1777 tmpfs /dev/shm",
        ));
    }
    // The list includes mounts that a later mount hides, so the devices are compared as well.
    let device = |path| system::identity(path).map(|(device, _)| device);
    let is_mounted = device(dir) != device(Path::new("/dev"));
    let Some(options) = mount_options(&mounts, DIR).filter(|_| is_mounted) else {
        return Some(Check::ok(NAME, format!("{DIR} is not a file system of its own")).problem(
            "named shared memory is stored there: on a disk, or on the root file system of a container",
            "mount a tmpfs there: mount -t tmpfs -o size=1G,mode=1777 tmpfs /dev/shm",
        ));
    };
    if options.split(',').any(|option| option == "ro") {
        return Some(Check::ok(NAME, format!("{DIR} is mounted read-only")).problem(
            "no shared memory can be created, opened for writing or unlinked there",
            "mount -o remount,rw /dev/shm, or mount a tmpfs over it: mount -t tmpfs -o \
             size=1G,mode=1777 tmpfs /dev/shm",
        ));
    }
    let mode = system::mode(dir).filter(|mode| mode & 0o1777 != 0o1777);
    if let Some(mode) = mode {
        let why = match mode & 0o777 {
            0o777 => "without the sticky bit, every user may unlink the objects of all others",
            _ => "only some users may create shared memory there; others are denied",
        };
        return Some(
            Check::ok(NAME, format!("{DIR} has mode {mode:04o}, not 1777"))
                .problem(why, "chmod 1777 /dev/shm, or mount it with mode=1777"),
        );
    }
    if let Some(files) = system::free_files(dir).filter(|&files| files <= FEW) {
        let found = format!("room for {} in {DIR}", units::count(files, "more file"));
        return Some(Check::ok(NAME, found).problem(
            "each object takes an inode; without one, creating an object fails even if space is free",
            "mount -o remount,nr_inodes=… /dev/shm; unlink unused objects (sharemap gc)",
        ));
    }
    let Some(free) = system::free_space(dir) else {
        return Some(Check::ok(NAME, format!("{DIR} has no limit of its own")));
    };
    let check = Check::ok(NAME, format!("{} free in {DIR}", units::size(free)));
    Some(if free <= LITTLE {
        check.problem(
            "the space of an object is reserved there when it is created, and creating a larger \
             one fails; containers get 64 MiB by default",
            "mount -o remount,size=… /dev/shm, or --shm-size=… for the container; unlink unused \
             objects (sharemap gc)",
        )
    } else {
        check
    })
}

/// Checks the companion directories, which hold the liveness locks of objects whose own file system
/// cannot. The number in a directory's name must be that of its owner, but any user can create a
/// directory under any name.
fn companions() -> Option<Check> {
    let mut squatted = Vec::new();
    for entry in fs::read_dir("/dev/shm").ok()?.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(".sharemap-")?.parse().ok());
        let Some(owner) = owner else { continue };
        let path = format!("/dev/shm/.sharemap-{owner}");
        // A number in another spelling (leading zeros) is not a companion directory.
        if entry.path() == Path::new(&path) {
            squatted.extend(flaw(Path::new(&path), owner).map(|flaw| (path, flaw)));
        }
    }
    let (first, _) = squatted.first()?;
    let paths: Vec<_> = squatted.iter().map(|(path, _)| path.as_str()).collect();
    let found: Vec<_> = squatted.iter().map(|(path, flaw)| format!("{path} {flaw}")).collect();
    let all_writable = squatted.iter().all(|(_, flaw)| *flaw == WRITABLE);
    let (until, remedy) = match all_writable {
        true => ("its mode is 0700".into(), format!("chmod 700 {}", paths.join(" "))),
        false => (
            format!("root removes {first}, or attaches to one, which renames it"),
            format!("remove them as root: rm -r {}", paths.join(" ")),
        ),
    };
    Some(Check::ok("companions", found.join("; ")).problem(
        format!(
            "the liveness locks of objects on overlayfs and hugetlbfs are in such a directory, and \
             only the user in its name may be able to write to it; that user cannot attach to \
             these objects until {until}"
        ),
        &remedy,
    ))
}

const WRITABLE: &str = "is writable by other users";

/// Returns the reason why no process uses `path` as the companion directory of `owner`.
fn flaw(path: &Path, owner: u32) -> Option<String> {
    let (user, mode) = system::permissions(path)?;
    if user != owner {
        return Some(format!("belongs to user {user}"));
    }
    if !fs::symlink_metadata(path).ok()?.is_dir() {
        return Some("is not a directory".into());
    }
    (mode & 0o022 != 0).then(|| WRITABLE.into())
}

/// Returns the options of the last mount at a point, from /proc/self/mounts.
fn mount_options<'a>(mounts: &'a str, point: &str) -> Option<&'a str> {
    let line = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(point))?;
    line.split(' ').nth(3)
}

fn locked_memory(limits: &str) -> Option<Check> {
    let most = limit(limits, "Max locked memory")?;
    let check = Check::ok("locked memory", bytes(most));
    Some(match most {
        Some(most) if most < MIB => check.note(
            "processes without privileges cannot lock() more than that",
            "raise RLIMIT_MEMLOCK (ulimit -l, limits.conf, LimitMEMLOCK=)",
        ),
        _ => check,
    })
}

fn mappings() -> Option<Check> {
    const USUAL: u64 = 65_530;
    let most = number("/proc/sys/vm/max_map_count")?;
    let check = Check::ok("mappings", format!("{most} for each process (vm.max_map_count)"));
    let remedy = "sysctl vm.max_map_count=1048576";
    Some(if most < USUAL {
        check.problem("that is less than the usual 65530, which programs rely on", remedy)
    } else if most == USUAL {
        check.note("programs that map many files reach this limit", remedy)
    } else {
        check
    })
}

fn open_files(limits: &str) -> Option<Check> {
    let most = limit(limits, "Max open files")?;
    let check = Check::ok("open files", most.map_or("unlimited".into(), |most| most.to_string()));
    let remedy = "raise RLIMIT_NOFILE (ulimit -n)";
    Some(match most {
        Some(most) if most < 256 => {
            check.problem("every mapping of a file keeps it open, and locks open it again", remedy)
        }
        Some(most) if most <= 1024 => check.note("every mapping of a file keeps it open", remedy),
        _ => check,
    })
}

fn address_space(limits: &str) -> Option<Check> {
    let most = limit(limits, "Max address space")?;
    let check = Check::ok("address space", bytes(most));
    Some(match most {
        Some(_) => check.problem(
            "mappings that can grow reserve address space in advance, which counts towards this limit",
            "raise RLIMIT_AS (ulimit -v unlimited), and limit memory by cgroups",
        ),
        None => check,
    })
}

fn file_size(limits: &str) -> Option<Check> {
    let most = limit(limits, "Max file size")?;
    let check = Check::ok("file size", bytes(most));
    Some(match most {
        Some(_) => check.problem(
            "files and shared memory cannot grow beyond this limit",
            "raise RLIMIT_FSIZE (ulimit -f unlimited)",
        ),
        None => check,
    })
}

fn core_dumps(limits: &str) -> Option<Check> {
    let most = limit(limits, "Max core file size")?;
    let check = Check::ok("core dumps", bytes(most));
    let piped = read("/proc/sys/kernel/core_pattern").is_some_and(|to| to.starts_with('|'));
    Some(if most != Some(0) || piped {
        check.note(
            "a process that crashes holds its locks until its core is written, which takes seconds \
             for a large process",
            "ulimit -c 0 where that matters",
        )
    } else {
        check
    })
}

fn overcommit() -> Option<Check> {
    let mode = number("/proc/sys/vm/overcommit_memory")?;
    let check = Check::ok("overcommit", format!("vm.overcommit_memory = {mode}"));
    Some(if mode == 2 {
        check.note("private memory is charged when it is mapped, even if it is only reserved", "")
    } else {
        check
    })
}

fn transparent_huge_pages() -> Option<Check> {
    let chosen = |file: &str| {
        let text = read(&format!("/sys/kernel/mm/transparent_hugepage/{file}"))?;
        let (_, rest) = text.split_once('[')?;
        rest.split_once(']').map(|(word, _)| word.to_owned())
    };
    let (memory, shared) = (chosen("enabled")?, chosen("shmem_enabled")?);
    let found = format!("memory: {memory}, shared memory: {shared}");
    let check = Check::ok("huge pages", found);
    Some(if ["always", "within_size", "force"].contains(&shared.as_str()) {
        check.note(
            "if shared memory is truncated, the bytes past its end may briefly read as zeros \
             before they fault",
            "",
        )
    } else if memory == "never" {
        check.note("transparent huge pages are off: large mappings cost more page faults", "")
    } else {
        check
    })
}

fn reserved_huge_pages() -> Option<Check> {
    let text = read("/proc/meminfo")?;
    let of = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let (total, free) = (of("HugePages_Total:")?, of("HugePages_Free:")?);
    let size = of("Hugepagesize:")? << 10;
    let found = format!("{free} of {total} free, of {} each", units::size(size));
    Some(Check::ok("reserved pages", found))
}

/// Checks RemoveIPC: by default, systemd removes the files of a user in /dev/shm at the last logout.
fn remove_ipc() -> Option<Check> {
    const NAME: &str = "logout";
    if !Path::new("/run/systemd/system").exists() {
        return None;
    }
    // The last value counts, so the folders are in the order in which systemd reads them.
    let mut kept = false;
    let mut read_one = |path: &Path| {
        for line in fs::read_to_string(path).unwrap_or_default().lines() {
            if let Some(value) = line.trim().strip_prefix("RemoveIPC=") {
                kept = ["no", "false", "0", "off"].contains(&value.trim());
            }
        }
    };
    read_one(Path::new("/etc/systemd/logind.conf"));
    for folder in ["/usr/lib", "/run", "/etc"] {
        let folder = format!("{folder}/systemd/logind.conf.d");
        let mut files: Vec<_> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path()).collect();
        files.sort();
        files.iter().for_each(|file| read_one(file));
    }
    if kept {
        return Some(Check::ok(NAME, "leaves shared memory alone (RemoveIPC=no)"));
    }
    Some(Check::ok(NAME, "removes a user's shared memory (RemoveIPC)").note(
        "named objects of a user are removed at the last logout; those of system users (ids below \
         1000) are kept",
        "RemoveIPC=no in /etc/systemd/logind.conf, loginctl enable-linger USER, or a system user",
    ))
}

fn container() -> Option<Check> {
    let kind = if Path::new("/.dockerenv").exists() {
        "docker".to_owned()
    } else if Path::new("/run/.containerenv").exists() {
        "podman".to_owned()
    } else {
        read("/run/systemd/container").filter(|kind| !kind.is_empty())?
    };
    let most = number("/sys/fs/cgroup/memory.max");
    let memory = most.map(|most| format!(", {} of memory", units::size(most))).unwrap_or_default();
    Some(Check::ok("container", format!("{kind}{memory}")).note(
        "other containers see shared memory only if they share its /dev/shm \
         (--ipc=container:…, or a common volume); it counts as memory of this container",
        "",
    ))
}

fn membarrier() -> Option<Check> {
    const NAME: &str = "membarrier";
    Some(if system::asymmetric_fence()? {
        Check::ok(NAME, "expedited, between processes")
    } else {
        Check::ok(NAME, "unavailable").note(
            "releasing a lock in shared memory takes one more atomic instruction; the kernel is old, \
             or a sandbox forbids the call",
            "",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mount_counts() {
        let mounts = "tmpfs /dev/shm tmpfs rw 0 0\ntmpfs /dev/shm tmpfs ro,nosuid 0 0\n";
        assert_eq!(mount_options(mounts, "/dev/shm"), Some("ro,nosuid"));
        assert_eq!(mount_options(mounts, "/dev"), None);
    }

    #[test]
    fn limits_are_parsed() {
        let limits = "\
Limit                     Soft Limit           Hard Limit           Units
Max file size             unlimited            unlimited            bytes
Max open files            1024                 4096                 files
";
        assert_eq!(limit(limits, "Max file size"), Some(None));
        assert_eq!(limit(limits, "Max open files"), Some(Some(1024)));
        assert_eq!(limit(limits, "Max stack size"), None);
        assert_eq!(open_files(limits).unwrap().verdict, super::super::Verdict::Note);
        assert_eq!(file_size(limits).unwrap().verdict, super::super::Verdict::Ok);
        assert!(address_space(limits).is_none());
    }
}
