//! What the tests share: temporary directories, child processes, and skipping aloud.

#![allow(dead_code, unused_macros, unused_imports, reason = "each test file uses a part of it")]
#![allow(unsafe_code, reason = "asks the system who runs the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

/// Says on standard error why a test shows nothing here.
macro_rules! skip {
    ($($reason:tt)*) => {{
        eprintln!("skipped: {}", format_args!($($reason)*));
        return;
    }};
}
pub(crate) use skip;

/// Skips aloud where every access is a system call, and processes have no atomics to agree by.
macro_rules! need_atomics {
    () => {
        if sharemap::guard::recovery() != sharemap::guard::Recovery::InPlace {
            $crate::common::skip!("no locks in shared memory where accesses are system calls");
        }
    };
}
pub(crate) use need_atomics;

/// A directory that goes with its value.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("sharemap-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file with these contents.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes of which no two pages are alike.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

const ROLE: &str = "SHAREMAP_TEST_ROLE";
const ARGUMENT: &str = "SHAREMAP_TEST_ARGUMENT";

/// The argument, in a child process that was started for this test.
pub fn role(test: &str) -> Option<PathBuf> {
    (std::env::var(ROLE).as_deref() == Ok(test))
        .then(|| std::env::var_os(ARGUMENT).unwrap_or_default().into())
}

/// This test's program again, to run only `test`, where [`role`] gives it `argument`.
pub fn child(test: &str, argument: impl AsRef<Path>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(ROLE, test).env(ARGUMENT, argument.as_ref());
    command
}

/// Runs it to its end, which is to be a good one; `false` where programs cannot start themselves.
pub fn passes(mut command: Command) -> bool {
    let Output { status, stdout, stderr } = match command.output() {
        Ok(output) => output,
        // ENOEXEC: what runs this program (an emulator) does not run its children.
        Err(error) if error.raw_os_error() == Some(8) => {
            eprintln!("skipped: this program cannot be started from itself: {error}");
            return false;
        }
        Err(error) => panic!("the child does not start: {error}"),
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert!(status.success(), "the child ended with {status}\n{stdout}\n{stderr}");
    eprint!("{stderr}");
    true
}

/// How many mappings of this file the system lists for this process; `None` where it has no list.
#[cfg(windows)]
pub fn mappings_of(path: &Path) -> Option<usize> {
    use std::ffi::c_void;
    use windows_sys::Win32::System::Memory::{MEM_MAPPED, MEMORY_BASIC_INFORMATION, VirtualQuery};
    use windows_sys::Win32::System::ProcessStatus::K32GetMappedFileNameW;
    use windows_sys::Win32::System::Threading::GetCurrentProcess;

    // The system names devices, not drives: what is below the directory tells files apart.
    let name: PathBuf = [path.parent()?.file_name()?, path.file_name()?].iter().collect();
    let mut count = 0;
    let mut last = std::ptr::null_mut();
    let mut at = 0usize;
    loop {
        let mut region = MEMORY_BASIC_INFORMATION::default();
        let size = size_of::<MEMORY_BASIC_INFORMATION>();
        // SAFETY: any address may be asked about; there is room for the answer.
        if unsafe { VirtualQuery(at as *const c_void, &mut region, size) } == 0 {
            return Some(count);
        }
        at = region.BaseAddress as usize + region.RegionSize;
        if region.Type != MEM_MAPPED || region.AllocationBase == last {
            continue;
        }
        last = region.AllocationBase;
        let mut mapped = [0u16; 1024];
        // SAFETY: there is as much room as stated.
        let len =
            unsafe { K32GetMappedFileNameW(GetCurrentProcess(), last, mapped.as_mut_ptr(), 1024) };
        let mapped = String::from_utf16_lossy(&mapped[..len as usize]);
        count += usize::from(Path::new(&mapped).ends_with(&name));
    }
}

/// How many mappings of this file the system lists for this process; `None` where it has no list.
#[cfg(not(windows))]
pub fn mappings_of(path: &Path) -> Option<usize> {
    let list = std::fs::read_to_string("/proc/self/maps").ok()?;
    let name = std::fs::canonicalize(path).ok()?;
    let name = name.to_str()?;
    Some(list.lines().filter(|line| line.ends_with(name)).count())
}

/// Asserts the number of mappings of a file where the system tells it.
pub fn assert_mapped(path: &Path, expected: usize) {
    match mappings_of(path) {
        Some(count) => assert_eq!(count, expected, "mappings of {}", path.display()),
        None => eprintln!("skipped: this system has no list of mappings to count in"),
    }
}

#[cfg(unix)]
pub fn is_root() -> bool {
    // SAFETY: takes and changes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// Whether an emulator (qemu's user mode) stands between this program and the kernel: it says yes to
/// advice that does not exist.
#[cfg(unix)]
pub fn emulated() -> bool {
    // SAFETY: no page is concerned.
    cfg!(target_os = "linux")
        && unsafe { libc::madvise(std::ptr::null_mut(), 0, libc::c_int::MAX) == 0 }
}

#[cfg(not(unix))]
pub fn emulated() -> bool {
    false
}

/// Shared memory without a name, which can be sealed.
#[cfg(target_os = "linux")]
pub fn memfd(name: &str) -> std::fs::File {
    use std::os::fd::FromRawFd;
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: a terminated name; the descriptor is new and nobody else's.
    unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        std::fs::File::from_raw_fd(fd)
    }
}

#[cfg(target_os = "linux")]
pub fn seal(file: &std::fs::File, seals: i32) {
    use std::os::fd::AsRawFd;
    // SAFETY: takes numbers only.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// A file system of `size` bytes at `path`, for this process alone.
#[cfg(target_os = "linux")]
pub fn mount_tmpfs(path: &Path, size: u64) -> Result<(), String> {
    let fail = |what: &str| Err(format!("{what}: {}", std::io::Error::last_os_error()));
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let options = std::ffi::CString::new(format!("size={size}")).unwrap();
    let none = std::ptr::null();
    // SAFETY: terminated strings; the mounts are this process's own after `unshare`.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNS) != 0 {
            return fail("a namespace for mounts");
        }
        if libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()) != 0
        {
            return fail("mounts of our own");
        }
        let kind = c"tmpfs".as_ptr();
        if libc::mount(kind, path.as_ptr(), kind, 0, options.as_ptr().cast()) != 0 {
            return fail("a small tmpfs");
        }
    }
    Ok(())
}
