//! Shared helpers of the tests: temporary directories, child processes, explicit skips.

#![allow(dead_code, unused_macros, unused_imports, reason = "each test file uses a part of it")]
#![allow(unsafe_code, reason = "asks the system who runs the test")]

#[cfg(target_os = "linux")]
mod loop_device;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

#[cfg(target_os = "linux")]
pub use loop_device::LoopDevice;
use sharemap::{Error, ErrorKind};

/// Prints to standard error why the test is skipped, and returns from it.
macro_rules! skip {
    ($($reason:tt)*) => {{
        eprintln!("skipped: {}", format_args!($($reason)*));
        return;
    }};
}
pub(crate) use skip;

/// Skips the test where accesses are system calls, since processes then share no atomics.
macro_rules! need_atomics {
    () => {
        if sharemap::guard::recovery() != sharemap::guard::Recovery::InPlace {
            $crate::common::skip!("no locks in shared memory where accesses are system calls");
        }
    };
}
pub(crate) use need_atomics;

/// Sets a resource limit of this process, irrevocably. A macro, because the type of the resource's
/// number differs between C libraries.
#[cfg(target_os = "linux")]
macro_rules! limit {
    ($resource:ident, $value:expr) => {{
        let value = $value as libc::rlim_t;
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: reads the limit.
        let result = unsafe { libc::setrlimit(libc::$resource, &raw const limit) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    }};
}
#[cfg(target_os = "linux")]
pub(crate) use limit;

/// Asserts that `error` has `kind` and names `object`, and that its message contains all `words`.
pub fn check(error: impl Into<Error>, kind: ErrorKind, object: &Path, words: &[&str]) {
    let error = error.into();
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.path(), Some(object), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("cannot "), "{text}");
    for word in words.iter().copied().chain(object.to_str()) {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

/// A temporary directory that is removed when the value is dropped.
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

    /// Returns the path of `name` in the directory.
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Creates a file with `contents` in the directory and returns its path.
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

/// Returns `len` bytes in which all pages differ.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

const ROLE: &str = "SHAREMAP_TEST_ROLE";
const ARGUMENT: &str = "SHAREMAP_TEST_ARGUMENT";

/// Returns how often a storm or a race is repeated: fewer times under an emulator, which is many times slower.
#[allow(dead_code, reason = "not every test repeats something")]
pub fn repeated(long: u64, short: u64) -> u64 {
    let is_long = std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1");
    match (is_long, std::env::var_os("SHAREMAP_EMULATED").is_some()) {
        (true, _) => long,
        (false, true) => short / 8,
        (false, false) => short,
    }
}

/// Returns the argument if this process is a child that was started to run `test`.
pub fn role(test: &str) -> Option<PathBuf> {
    (std::env::var(ROLE).as_deref() == Ok(test))
        .then(|| std::env::var_os(ARGUMENT).unwrap_or_default().into())
}

/// Returns a command that runs this program again, with only `test`, for which [`role`] then
/// returns `argument`.
pub fn child(test: &str, argument: impl AsRef<Path>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command.env(ROLE, test).env(ARGUMENT, argument.as_ref());
    command
}

/// Runs `command` to its end and asserts success. Returns `false` where programs cannot start
/// themselves.
pub fn passes(mut command: Command) -> bool {
    let Output { status, stdout, stderr } = match command.output() {
        Ok(output) => output,
        // ENOEXEC: an emulator runs this program, but not its children.
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

/// Returns how many mappings of the file the system lists for this process, `None` if it has no
/// list.
#[cfg(windows)]
pub fn mappings_of(path: &Path) -> Option<usize> {
    use std::ffi::c_void;
    use windows_sys::Win32::System::Memory::{MEM_MAPPED, MEMORY_BASIC_INFORMATION, VirtualQuery};
    use windows_sys::Win32::System::ProcessStatus::K32GetMappedFileNameW;
    use windows_sys::Win32::System::Threading::GetCurrentProcess;

    // The system names devices instead of drives, so files are compared by directory and name.
    let name: PathBuf = [path.parent()?.file_name()?, path.file_name()?].iter().collect();
    let mut count = 0;
    let mut last = std::ptr::null_mut();
    let mut at = 0usize;
    loop {
        let mut region = MEMORY_BASIC_INFORMATION::default();
        let size = size_of::<MEMORY_BASIC_INFORMATION>();
        // SAFETY: any address may be queried, and the buffer has the stated size.
        if unsafe { VirtualQuery(at as *const c_void, &mut region, size) } == 0 {
            return Some(count);
        }
        at = region.BaseAddress as usize + region.RegionSize;
        if region.Type != MEM_MAPPED || region.AllocationBase == last {
            continue;
        }
        last = region.AllocationBase;
        let mut mapped = [0u16; 1024];
        // SAFETY: the buffer has the stated size.
        let len =
            unsafe { K32GetMappedFileNameW(GetCurrentProcess(), last, mapped.as_mut_ptr(), 1024) };
        let mapped = String::from_utf16_lossy(&mapped[..len as usize]);
        count += usize::from(Path::new(&mapped).ends_with(&name));
    }
}

/// Returns how many mappings of the file the system lists for this process, `None` if it has no
/// list.
#[cfg(not(windows))]
pub fn mappings_of(path: &Path) -> Option<usize> {
    let list = std::fs::read_to_string("/proc/self/maps").ok()?;
    let name = std::fs::canonicalize(path).ok()?;
    let name = name.to_str()?;
    Some(list.lines().filter(|line| line.ends_with(name)).count())
}

/// Asserts the number of mappings of a file, where the system has a list of mappings.
pub fn assert_mapped(path: &Path, expected: usize) {
    match mappings_of(path) {
        Some(count) => assert_eq!(count, expected, "mappings of {}", path.display()),
        None => eprintln!("skipped: this system has no list of mappings to count in"),
    }
}

#[cfg(unix)]
pub fn is_root() -> bool {
    // SAFETY: takes no arguments and changes nothing.
    unsafe { libc::geteuid() == 0 }
}

/// Returns `true` if the program runs under an emulator (qemu's user mode), which accepts advice
/// values that do not exist.
#[cfg(unix)]
pub fn emulated() -> bool {
    // SAFETY: the range is empty.
    cfg!(target_os = "linux")
        && unsafe { libc::madvise(std::ptr::null_mut(), 0, libc::c_int::MAX) == 0 }
}

#[cfg(not(unix))]
pub fn emulated() -> bool {
    false
}

/// Creates unnamed shared memory that allows seals.
#[cfg(target_os = "linux")]
pub fn memfd(name: &str) -> std::fs::File {
    use std::os::fd::FromRawFd;
    let name = std::ffi::CString::new(name).unwrap();
    // SAFETY: the name is terminated, and the new descriptor has no other owner.
    unsafe {
        let fd = libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        std::fs::File::from_raw_fd(fd)
    }
}

#[cfg(target_os = "linux")]
pub fn seal(file: &std::fs::File, seals: i32) {
    use std::os::fd::AsRawFd;
    // SAFETY: takes only numbers.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Mounts a tmpfs of `size` bytes at `path`, visible to this process only.
#[cfg(target_os = "linux")]
pub fn mount_tmpfs(path: &Path, size: u64) -> Result<(), String> {
    let fail = |what: &str| Err(format!("{what}: {}", std::io::Error::last_os_error()));
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let options = std::ffi::CString::new(format!("size={size}")).unwrap();
    let none = std::ptr::null();
    // SAFETY: terminated strings; after `unshare` only this process sees the mounts.
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
