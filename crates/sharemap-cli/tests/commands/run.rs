//! Runs the program.

use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The exit code and the output of a run.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ran {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("the output should be UTF-8")
    }

    /// Returns the JSON object on standard output, after checking the common members.
    #[track_caller]
    pub fn json(&self) -> Value {
        let value: Value = serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {self:?}"));
        assert_eq!(value["version"], 2, "{self:?}");
        assert!(value["command"].is_string(), "{self:?}");
        value
    }

    /// Asserts that the program ended with this code, and printed an error only if the code is not 0.
    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stderr.is_empty(), code == 0, "{self:?}");
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Returns a command like [`command`], with the default action for signals that end a process. A shell
/// that runs the tests in the background may ignore some of them, and children inherit that.
#[cfg(unix)]
#[allow(unsafe_code, reason = "signals of a child, before it becomes the command")]
pub fn command_with_signals(args: &[&OsStr]) -> Command {
    use std::os::unix::process::CommandExt;

    let mut command = command(args);
    // SAFETY: the calls are allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
    command
}

pub fn command(args: &[&OsStr]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sharemap"));
    command
        .args(args)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub fn run(args: &[&OsStr]) -> Ran {
    command(args).output().expect("the program should start").into()
}

pub fn run_with_input(args: &[&OsStr], input: &[u8]) -> Ran {
    let mut child = command(args).stdin(Stdio::piped()).spawn().expect("the program should start");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        // In a thread, because the program may wait for its output to be read. A program that refuses
        // its input closes the pipe early.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("the program should end").into()
    })
}

/// Runs a script in a mount namespace of its own. `$0` is the command and `$1` the folder.
#[cfg(target_os = "linux")]
pub fn in_own_mounts(script: &str, folder: &std::path::Path) -> Ran {
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_sharemap")])
        .arg(folder)
        .output()
        .unwrap();
    Ran::from(output)
}

/// Runs the program with these arguments, which may be strings and paths.
macro_rules! run {
    ($($arg:expr),+ $(,)?) => { $crate::run::run(&[$($arg.as_ref()),+]) };
}

/// Returns from the test, with a message, if locks in shared memory are not supported.
macro_rules! need_locks {
    () => {
        if sharemap::guard::recovery() != sharemap::guard::Recovery::InPlace {
            println!("skipped: no locks in shared memory where accesses are system calls");
            return;
        }
    };
}

/// Returns `true` if an emulator (qemu's user mode) runs this program. The emulator accepts advice that does
/// not exist.
#[cfg(unix)]
#[allow(unsafe_code, reason = "advice about no memory")]
pub fn is_emulated() -> bool {
    // SAFETY: the length is zero, so no page is affected.
    cfg!(target_os = "linux")
        && unsafe { libc::madvise(std::ptr::null_mut(), 0, libc::c_int::MAX) == 0 }
}

#[cfg(not(unix))]
pub fn is_emulated() -> bool {
    false
}

/// Returns `true` if mapped files can be truncated here. Prints a message if not.
pub fn truncation_works() -> bool {
    if cfg!(windows) {
        println!("skipped: Windows refuses to truncate a file that is mapped (error 1224)");
        return false;
    }
    true
}

/// A directory for files, which is removed when this value is dropped.
pub struct Files(tempfile::TempDir);

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub fn dir(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn file(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).expect("a new file");
        path
    }
}

/// Returns bytes of which no row of a listing equals the row before.
pub fn varied(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}
