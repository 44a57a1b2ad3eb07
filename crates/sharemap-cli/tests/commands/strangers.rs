//! Tests how long another user can make commands wait, and how much work an object can cause.

use crate::run::Files;
#[cfg(target_os = "linux")]
use crate::shared::Name;
use sharemap::inspect::Inspection;
use sharemap::{Location, MappingMut, Mutex, SharedOptions};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The processes of a test, which are killed and reaped when this value is dropped.
struct Running(Vec<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An object claims the maximum number of participants, each in another pid namespace. Many processes run,
/// and the command must not inspect each process once for each participant.
#[test]
fn the_most_participants_are_listed_in_linear_time() {
    need_locks!();
    const PARTICIPANTS: u32 = 65_535;
    let sleeping = || Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn();
    let running = Running((0..100).map_while(|_| sleeping().ok()).collect());
    println!("{} more processes", running.0.len());
    let files = Files::new();
    let path = files.path("crowded");
    let options = SharedOptions::new().participants(PARTICIPANTS).lanes(1);
    drop(options.create_new(Location::file(&path), || Mutex::new(1_u64)).unwrap());
    assert_eq!(
        Inspection::open(Location::file(&path)).unwrap().facts().unwrap().participants,
        PARTICIPANTS
    );
    let map = MappingMut::open(&path).unwrap();
    // Records in use, with a process id and a namespace (FORMAT.md).
    for number in 0..PARTICIPANTS as usize {
        let record = map.view_at::<u32>(512 + 64 * number, 8).unwrap();
        record.set(0, 1).unwrap();
        record.set(1, 7).unwrap();
        record.set(6, 12_345).unwrap();
    }
    drop(map);
    for command in ["who", "locks"] {
        let begun = Instant::now();
        let ran = run!(command, &path, "--json").with_code(0);
        let took = begun.elapsed();
        println!("{command}: {took:?}, {} bytes", ran.stdout.len());
        if running.0.is_empty() {
            println!(
                "skipped: the time: there is no program to start whose processes are inspected"
            );
        } else {
            assert!(took < Duration::from_secs(10), "{command} took {took:?}");
        }
    }
}

/// Any user may create many names in shared memory.
#[test]
#[cfg(target_os = "linux")]
fn many_names_are_listed_in_linear_time() {
    need_locks!();
    const FEW: u32 = 1_000;
    const MANY: u32 = 20_000;
    let name = Name::new("");
    let folder = std::path::PathBuf::from(format!("/dev/shm/{}", name.0));
    std::fs::create_dir(&folder).unwrap();
    let mut times = Vec::new();
    for (from, to) in [(0, FEW), (FEW, MANY)] {
        for number in from..to {
            std::fs::write(folder.join(number.to_string()), b"").unwrap();
        }
        let begun = Instant::now();
        let ran = run!("ls", &name.0).with_code(0);
        times.push(begun.elapsed());
        assert!(ran.text().contains(&format!("{to} objects")), "{} names", to);
    }
    std::fs::remove_dir_all(&folder).unwrap();
    println!("{times:?}");
    // Twenty times as many names must not take four hundred times as long.
    assert!(times[1] < times[0].max(Duration::from_millis(50)) * 100, "{times:?}");
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "a child that becomes another user and holds a lease")]
mod leases {
    use super::Running;
    use crate::run::Files;
    use crate::shared::Name;
    use sharemap::{Mutex, SharedOptions};
    use std::ffi::{CString, OsStr};
    use std::os::unix::fs::chown;
    use std::os::unix::process::CommandExt;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    const STRANGER: u32 = 61_235;
    /// The time that a command takes on a busy machine if it does not wait.
    const SOON: Duration = Duration::from_secs(8);

    /// Starts a process of another user that holds leases on these files and never releases them. Returns
    /// `None`, and prints the reason, if that is not possible.
    fn hold(paths: &[PathBuf]) -> Option<Running> {
        let paths: Vec<CString> =
            paths.iter().map(|path| CString::new(path.to_str().unwrap()).unwrap()).collect();
        let mut command = Command::new("sleep");
        command.arg("1000").stdout(Stdio::null());
        let lease = move || {
            // SAFETY: the system calls take plain numbers and terminated names, and are allowed between
            // fork and exec. Ignored signals stay ignored, and the descriptors, without CLOEXEC, stay open.
            unsafe {
                let failed = || Err(std::io::Error::last_os_error());
                if libc::setresuid(STRANGER, STRANGER, STRANGER) != 0 {
                    return failed();
                }
                libc::signal(libc::SIGIO, libc::SIG_IGN);
                for path in &paths {
                    let file = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_NONBLOCK);
                    let mut tries = 0;
                    // Children of other tests may have inherited the file briefly.
                    while libc::fcntl(file, libc::F_SETLEASE, libc::F_WRLCK) != 0 {
                        tries += 1;
                        if tries > 1_000_000 {
                            return failed();
                        }
                    }
                }
            }
            Ok(())
        };
        // SAFETY: the closure makes system calls only.
        unsafe { command.pre_exec(lease) };
        match command.spawn() {
            Ok(child) => Some(Running(vec![child])),
            Err(error) => {
                println!("skipped: no leases of another user here: {error}");
                None
            }
        }
    }

    /// Creates objects of another user that every user may use.
    fn objects<const N: usize>() -> Option<[Name; N]> {
        let names = std::array::from_fn(|_| Name::new(""));
        for name in &names {
            let options = SharedOptions::new().mode(0o666);
            drop(options.create_new(&*name.0, || Mutex::new(0_u64)).unwrap());
            if let Err(error) = chown(path(name), Some(STRANGER), None) {
                println!("skipped: only root makes objects of another user: {error}");
                return None;
            }
        }
        Some(names)
    }

    fn path(name: &Name) -> PathBuf {
        PathBuf::from(format!("/dev/shm/{}", name.0))
    }

    #[test]
    fn commands_that_look_do_not_wait_for_them() {
        need_locks!();
        let Some(names) = objects::<3>() else { return };
        let paths: Vec<PathBuf> = names.iter().map(path).collect();
        let Some(_stranger) = hold(&paths) else { return };
        let begun = Instant::now();
        let ran = run!("ls", "sharemap-cli", "--json").with_code(0).json();
        assert!(begun.elapsed() < SOON, "ls took {:?}", begun.elapsed());
        let listed = ran["objects"].as_array().unwrap();
        for name in &names {
            let found = listed.iter().find(|object| object["name"] == *name.0).unwrap();
            assert_eq!(found["kind"], "unknown", "{found:#}");
            assert_eq!(found["state"], "hidden by a lease", "{found:#}");
            assert_eq!(found["attached"], serde_json::Value::Null, "{found:#}");
        }
        for command in ["who", "locks"] {
            let begun = Instant::now();
            let ran = run!(command, &names[0].0).with_code(5);
            assert!(begun.elapsed() < SOON, "{command} took {:?}", begun.elapsed());
            assert!(ran.stderr.contains("cannot be seen at the moment"), "{ran:?}");
            assert!(ran.stderr.contains(&names[0].0), "{ran:?}");
        }
        let mut words: Vec<&OsStr> = vec!["gc".as_ref(), "--json".as_ref()];
        words.extend(names.iter().map(|name| OsStr::new(&name.0)));
        let begun = Instant::now();
        let ran = crate::run::run(&words).with_code(0).json();
        assert!(begun.elapsed() < SOON, "gc took {:?}", begun.elapsed());
        assert_eq!(ran["kept"], 3, "{ran:#}");
    }

    #[test]
    fn lock_waits_for_its_timeout_and_no_longer() {
        need_locks!();
        let files = Files::new();
        let marker = files.path("ran");
        let Some([name]) = objects::<1>() else { return };
        let Some(_stranger) = hold(&[path(&name)]) else { return };
        let object = path(&name);
        for how in [&["--timeout", "1s"][..], &["--try"]] {
            let mut words: Vec<&OsStr> =
                vec!["lock".as_ref(), "--allow-any-owner".as_ref(), object.as_ref()];
            words.extend(how.iter().map(|word| OsStr::new(*word)));
            words.extend([OsStr::new("--"), "touch".as_ref(), marker.as_ref()]);
            let begun = Instant::now();
            let ran = crate::run::run(&words);
            assert!(begun.elapsed() < SOON, "{how:?} took {:?}: {ran:?}", begun.elapsed());
            let ran = ran.with_code(5);
            assert!(ran.stderr.contains("lease"), "{ran:?}");
            assert!(!marker.exists(), "the command was run");
        }
    }
}
