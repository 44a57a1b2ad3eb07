//! `sharemap lock`

#[cfg(unix)]
use crate::run::command_with_signals;
use crate::run::{Files, command};
use crate::shared::Name;
use serde_json::Value;
use sharemap::{Location, Mutex, RwLock, Shared, SharedMemory, SharedOptions};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sharemap");

#[test]
fn the_exit_status_is_the_commands() {
    need_locks!();
    let name = Name::new("");
    let ran = run!("lock", &name.0, "--", PROGRAM, "--version").with_code(0);
    assert!(ran.text().starts_with("sharemap "), "its output is the command's: {ran:?}");
    let ran = run!("lock", &name.0, "--", PROGRAM, "cat", "missing.bin").with_code(3);
    assert!(ran.stderr.contains("missing.bin"), "{ran:?}");
    run!("lock", &name.0, "--timeout", "5s", "--", PROGRAM, "no-such-command").with_code(2);
    let ran = run!("lock", &name.0, "--", "no-such-program-anywhere").with_code(3);
    assert!(ran.stderr.contains("no-such-program-anywhere"), "{ran:?}");
    let lock = Shared::<Mutex<u64>>::open(&*name.0).unwrap();
    assert_eq!(*lock.try_lock().unwrap(), 0, "the lock is free and consistent");
    run!("lock", &name.0).with_code(2);
    run!("lock", &name.0, "--try", "--timeout", "1s", "--", PROGRAM).with_code(2);
}

#[test]
fn a_held_lock_is_code_5_and_the_error_names_its_owner() {
    need_locks!();
    let name = Name::new("");
    let lock = Shared::create_new(&*name.0, || Mutex::new(7_u64)).unwrap();
    let held = lock.lock().unwrap();
    for how in [&["--try"][..], &["--timeout", "20ms"]] {
        let mut words: Vec<&OsStr> = vec!["lock".as_ref(), name.0.as_ref()];
        words.extend(how.iter().map(|word| OsStr::new(*word)));
        words.extend(["--", PROGRAM, "--version"].map(OsStr::new));
        let ran = crate::run::run(&words).with_code(5);
        assert!(ran.stderr.contains(&std::process::id().to_string()), "{ran:?}");
        assert!(ran.stdout.is_empty(), "the command was not run: {ran:?}");
    }
    drop(held);
    run!("lock", &name.0, "--try", "--", PROGRAM, "--version").with_code(0);
    assert_eq!(*lock.lock().unwrap(), 7, "the value is unchanged");
}

/// Starts `sharemap lock` `count` times, half of them without a timeout. Each must print the version.
fn crowd(name: &str, count: usize) -> Vec<Child> {
    let start = |number: usize| {
        let limit = ["--timeout", "120s"].into_iter().take(number % 2 * 2);
        let words = ["lock", name].into_iter().chain(limit).chain(["--", PROGRAM, "--version"]);
        command(&words.map(OsStr::new).collect::<Vec<_>>()).spawn().unwrap()
    };
    (0..count).map(start).collect()
}

/// If more processes wait than a lock has room for, each runs its command eventually.
#[test]
fn a_crowd_waits() {
    need_locks!();
    // Wine fails to start more processes at once, and an emulator takes minutes.
    let count = if cfg!(windows) || crate::run::is_emulated() { 12 } else { 80 };
    let (narrow, few_lanes, own) = (Name::new(""), Name::new(""), Name::new(""));
    let options = SharedOptions::new();
    let options = [options.clone().participants(4).lanes(4), options.participants(64).lanes(4)];
    let make = || Mutex::new(0_u64);
    drop(options[0].create_new(&*narrow.0, make).unwrap());
    drop(options[1].create_new(&*few_lanes.0, make).unwrap());
    run!("lock", &own.0, "--", PROGRAM, "--version").with_code(0);
    for name in [&narrow.0, &few_lanes.0, &own.0] {
        let lock = Shared::<Mutex<u64>>::open(name).unwrap();
        let held = lock.lock().unwrap();
        let mut crowd = crowd(name, count);
        // The lock is full for a while: as many processes as possible wait for it, the others for room.
        let look = sharemap::inspect::Inspection::open(name).unwrap();
        let facts = look.facts().unwrap();
        let most = (count + 1).min(facts.participants as usize);
        let lanes = most.min(facts.lanes as usize) as u32;
        let mut full = None::<Instant>;
        while full.is_none_or(|since| since.elapsed() < Duration::from_millis(300)) {
            let is_full =
                look.participants().unwrap().len() == most && look.lanes().unwrap() == lanes;
            full = full.or_else(|| is_full.then(Instant::now));
            for waiter in &mut crowd {
                let ended = waiter.try_wait().unwrap();
                assert!(ended.is_none(), "the process did not wait: {ended:?}");
            }
            std::thread::yield_now();
        }
        drop(held);
        drop(lock);
        for waiter in crowd {
            let ran = crate::run::Ran::from(waiter.wait_with_output().unwrap()).with_code(0);
            assert!(ran.text().starts_with("sharemap "), "{ran:?}");
        }
    }
}

/// A lock without room within the timeout is exit code 5, with a remedy.
#[test]
fn a_lock_without_room_is_code_5_and_the_error_has_a_remedy() {
    need_locks!();
    let (narrow, few_lanes) = (Name::new(""), Name::new(""));
    let options = SharedOptions::new();
    let options = [options.clone().participants(1), options.lanes(1)];
    let make = || Mutex::new(0_u64);
    let locks = [
        options[0].create_new(&*narrow.0, make).unwrap(),
        options[1].create_new(&*few_lanes.0, make).unwrap(),
    ];
    let held = locks[1].lock().unwrap();
    for (name, what) in [(&narrow.0, "all 1 places"), (&few_lanes.0, "all 1 lanes")] {
        for how in [&["--try"][..], &["--timeout", "300ms"]] {
            let mut words: Vec<&OsStr> = vec!["lock".as_ref(), name.as_ref()];
            words.extend(how.iter().map(|word| OsStr::new(*word)));
            words.extend(["--", PROGRAM, "--version"].map(OsStr::new));
            let begun = Instant::now();
            let ran = crate::run::run(&words).with_code(5);
            assert!(how.len() == 1 || begun.elapsed() >= Duration::from_millis(300), "{ran:?}");
            let told = [what, &std::process::id().to_string(), "wait longer", "remove", "1024"];
            assert!(told.iter().all(|words| ran.stderr.contains(words)), "{ran:?}");
            assert!(ran.stdout.is_empty(), "the command was not run: {ran:?}");
        }
    }
    drop(held);
    drop(locks);
    for name in [&narrow.0, &few_lanes.0] {
        run!("lock", name, "--try", "--", PROGRAM, "--version").with_code(0);
    }
    // The remedy works.
    unlink(&narrow.0);
    run!("lock", &narrow.0, "--", PROGRAM, "--version").with_code(0);
    let look = sharemap::inspect::Inspection::open(&*narrow.0).unwrap();
    let facts = look.facts().unwrap();
    assert_eq!((facts.participants, facts.lanes), (1024, 1024));
}

/// The option that the error names works.
#[test]
#[cfg(target_os = "linux")]
fn another_users_lock_takes_an_option() {
    need_locks!();
    const OTHER: u32 = 65_534;
    let name = Name::new("");
    let lock = Shared::create_new(&*name.0, || Mutex::new(7_u64)).unwrap();
    let object = std::path::Path::new("/dev/shm").join(&*name.0);
    if let Err(error) = std::os::unix::fs::chown(&object, Some(OTHER), None) {
        eprintln!("skipped: only root can create an object of another user: {error}");
        return;
    }
    let ran = run!("lock", &name.0, "--", PROGRAM, "--version").with_code(5);
    assert!(ran.stderr.contains("--allow-any-owner"), "{ran:?}");
    run!("lock", &name.0, "--allow-any-owner", "--", PROGRAM, "--version").with_code(0);
    assert_eq!(*lock.lock().unwrap(), 7);
}

#[test]
fn any_mutex_of_an_integer_serves_and_nothing_else() {
    need_locks!();
    let files = Files::new();
    let path = files.path("lock");
    drop(Shared::create_new(Location::file(&path), || Mutex::new(true)).unwrap());
    run!("lock", &path, "--", PROGRAM, "--version").with_code(0);
    std::fs::remove_file(&path).unwrap();
    drop(Shared::create_new(Location::file(&path), || Mutex::new(1_u128)).unwrap());
    run!("lock", &path, "--", PROGRAM, "--version").with_code(0);
    std::fs::remove_file(&path).unwrap();
    drop(Shared::create_new(Location::file(&path), || RwLock::new(1_u64)).unwrap());
    let ran = run!("lock", &path, "--", PROGRAM, "--version").with_code(1);
    assert!(ran.stderr.contains("not a mutex of an integer"), "{ran:?}");
    let text = files.file("letters.txt", &[b'x'; 1000]);
    run!("lock", &text, "--", PROGRAM, "--version").with_code(1);
    assert_eq!(std::fs::read(&text).unwrap(), [b'x'; 1000]);
    let raw = Name::new("");
    let memory = SharedMemory::create_new(&*raw.0, 1000).unwrap();
    run!("lock", &raw.0, "--", PROGRAM, "--version").with_code(1);
    memory.bytes().set(7, 7).unwrap();
    let same = SharedMemory::open(&*raw.0).unwrap();
    assert_eq!(same.bytes().get(7).unwrap(), 7, "the name still refers to the memory");
}

#[test]
fn json_reports_the_command_and_the_lock() {
    need_locks!();
    let name = Name::new("");
    let ran = run!("lock", &name.0, "--json", "--", PROGRAM, "--version");
    assert!(
        ran.stderr.starts_with("sharemap "),
        "the command's output is on standard error: {ran:?}"
    );
    let json = ran.json();
    assert_eq!((&json["name"], &json["exit_code"]), (&(*name.0).into(), &0.into()));
    assert_eq!((&json["owner_died"], &json["signal"]), (&false.into(), &Value::Null));
    assert!(json["held_seconds"].as_f64() > Some(0.0));
    let ran = run!("lock", &name.0, "--json", "--", PROGRAM, "cat", "missing.bin");
    assert_eq!((ran.code, &ran.json()["exit_code"]), (Some(3), &3.into()));
}

/// Starts `sharemap lock` with a command that waits for the end of its input.
fn holder(name: &str, files: &Files) -> Child {
    let file = files.file("turns.bin", &[0; 16]);
    let args = ["lock", name, "--", PROGRAM, "tour-peer", "hold-lock"];
    let mut child = command(&args.map(OsStr::new)).arg(file).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    child
}

#[test]
fn the_next_owner_is_notified_if_the_last_one_died() {
    need_locks!();
    let (name, files) = (Name::new(""), Files::new());
    let mut holder = holder(&name.0, &files);
    run!("lock", &name.0, "--try", "--", PROGRAM, "--version").with_code(5);
    // The lock is released with the death of `sharemap lock`, though the command still runs.
    holder.kill().unwrap();
    let command_input = holder.stdin.take();
    holder.wait().unwrap();
    let failing = run!("lock", &name.0, "--timeout", "20s", "--", PROGRAM, "cat", "missing.bin");
    assert_eq!(failing.code, Some(3));
    assert!(failing.stderr.contains("died while holding it"), "{failing:?}");
    let repairing = run!("lock", &name.0, "--json", "--", PROGRAM, "--version");
    assert_eq!(
        repairing.json()["owner_died"],
        true,
        "a command that fails does not mark the lock consistent"
    );
    assert_eq!(repairing.code, Some(0));
    drop(command_input);
    run!("lock", &name.0, "--", PROGRAM, "--version").with_code(0);
}

#[cfg(unix)]
#[test]
fn the_environment_notifies_the_command() {
    need_locks!();
    let (name, files) = (Name::new(""), Files::new());
    let mut holder = holder(&name.0, &files);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let script = "echo died=$SHAREMAP_LOCK_OWNER_DIED";
    let ran = run!("lock", &name.0, "--", "sh", "-c", script);
    assert_eq!((ran.code, ran.text()), (Some(0), "died=1\n"));
    assert_eq!(run!("lock", &name.0, "--", "sh", "-c", script).with_code(0).text(), "died=\n");
}

#[cfg(unix)]
#[test]
fn signals_go_to_the_command() {
    need_locks!();
    let name = Name::new("");
    let script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done";
    for (script, signal, code) in [
        (script, "TERM", 9),
        ("trap '' HUP; echo ready; exec sleep 100", "TERM", 143),
        ("echo ready; exec sleep 100", "HUP", 129),
    ] {
        let args = ["lock", &name.0, "--", "sh", "-c", script];
        let args = args.map(OsStr::new);
        let mut child = command_with_signals(&args).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut String::new()).unwrap();
        let kill = format!("kill -{signal} {}", child.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let ran = crate::run::Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(code), "{signal}: {ran:?}");
        let lock = Shared::<Mutex<u64>>::open(&*name.0).unwrap();
        assert!(lock.try_lock().is_ok(), "it was released in order");
    }
}

/// A signal during the wait ends `sharemap lock`, because there is no command yet.
#[cfg(unix)]
#[test]
fn signals_before_the_command_end_the_wait() {
    use std::os::unix::process::ExitStatusExt;
    need_locks!();
    let name = Name::new("");
    let lock = Shared::create_new(&*name.0, || Mutex::new(7_u64)).unwrap();
    let held = lock.lock().unwrap();
    let args = ["lock", &name.0, "--", PROGRAM, "--version"];
    let mut child = command_with_signals(&args.map(OsStr::new)).spawn().unwrap();
    let look = sharemap::inspect::Inspection::open(&*name.0).unwrap();
    while look.locks().unwrap()[0].waiters.is_empty() {
        std::thread::yield_now();
    }
    let kill = format!("kill -TERM {}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    drop(held);
    assert!(lock.lock().is_ok(), "a dead waiter held nothing");
}

/// The thread that forwards signals is started before the command runs, so that its failure does not
/// release the lock under the command.
#[cfg(unix)]
#[test]
fn nothing_runs_if_signals_cannot_be_forwarded() {
    need_locks!();
    let name = Name::new("");
    let args = ["lock", &name.0, "--", "echo", "it runs"];
    // No thread can have a stack of this size. The output ends when all processes that hold it have ended.
    let stack = (usize::MAX / 4 * 3).to_string();
    let mut command = command(&args.map(OsStr::new));
    let ran = crate::run::Ran::from(command.env("RUST_MIN_STACK", stack).output().unwrap());
    assert_eq!(ran.text(), "", "{ran:?}");
    ran.with_code(1);
    let lock = Shared::<Mutex<u64>>::open(&*name.0).unwrap();
    assert!(lock.try_lock().is_ok(), "it was released in order");
}

/// A process that ignores SIGCHLD passes that on to its children.
#[cfg(target_os = "linux")]
#[test]
#[allow(unsafe_code, reason = "a signal of a child, before it becomes the command")]
fn the_exit_status_is_known_where_ends_of_children_are_ignored() {
    use std::os::unix::process::CommandExt;
    need_locks!();
    let name = Name::new("");
    for (words, code) in [(&["sh", "-c", "exit 9"][..], 9), (&["cat", "/proc/self/status"], 0)] {
        let mut all = vec!["lock", &name.0, "--"];
        all.extend(words);
        let all: Vec<&OsStr> = all.into_iter().map(OsStr::new).collect();
        let mut command = command(&all);
        // SAFETY: the call is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                Ok(())
            });
        }
        let ran = crate::run::Ran::from(command.output().unwrap());
        assert_eq!(ran.code, Some(code), "{ran:?}");
        if code == 0 {
            let ignored = ran.text().lines().find_map(|line| line.strip_prefix("SigIgn:"));
            let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
            assert_ne!(
                ignored & 1 << (libc::SIGCHLD - 1),
                0,
                "the command inherits the ignored signal"
            );
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_command_inherits_nothing_of_the_lock() {
    need_locks!();
    let name = Name::new("");
    let script = "ls -l /proc/self/fd; cat /proc/self/maps";
    let ran = run!("lock", &name.0, "--", "sh", "-c", script).with_code(0);
    assert!(ran.text().contains("libc"), "{ran:?}");
    assert!(!ran.text().contains(&*name.0), "{ran:?}");
}

/// Unlinks a lock's name, even if the lock is held.
fn unlink(name: &str) {
    match name.contains(std::path::is_separator) {
        true => std::fs::remove_file(name).unwrap(),
        false => SharedMemory::unlink(name).unwrap(),
    }
}

fn location_of(name: &str) -> Location {
    match name.contains(std::path::is_separator) {
        true => Location::file(name),
        false => Location::name(name),
    }
}

/// Waits until a process waits for the lock of this name.
fn await_waiter(name: &str, waiter: &mut Child) {
    let look = sharemap::inspect::Inspection::open(location_of(name)).unwrap();
    while look.locks().unwrap().iter().all(|lock| lock.waiters.is_empty()) {
        let ended = waiter.try_wait().unwrap();
        assert!(ended.is_none(), "it did not wait: {ended:?}");
        std::thread::yield_now();
    }
}

/// The name is unlinked while a process waits, and then refers to another lock, which a third process
/// holds. The waiter acquires the old lock, and must not run its command at the same time as the third.
#[test]
fn a_waiter_runs_nothing_under_a_lock_whose_name_is_gone() {
    need_locks!();
    if cfg!(windows) {
        println!("skipped: mapped files cannot be removed here");
        return;
    }
    let (files, others) = (Files::new(), Files::new());
    let named = Name::new("");
    let in_file = files.path("lock");
    for name in [&*named.0, in_file.to_str().unwrap()] {
        let mut first = holder(name, &files);
        let args = ["lock", name, "--timeout", "60s", "--", PROGRAM, "--version"];
        let mut waiter = command(&args.map(OsStr::new)).spawn().unwrap();
        await_waiter(name, &mut waiter);
        unlink(name);
        let mut second = holder(name, &others);
        drop(first.stdin.take());
        first.wait().unwrap();
        // The waiter has found the new lock and waits for it; its command has not run.
        await_waiter(name, &mut waiter);
        drop(second.stdin.take());
        second.wait().unwrap();
        let ran = crate::run::Ran::from(waiter.wait_with_output().unwrap()).with_code(0);
        assert!(ran.text().starts_with("sharemap "), "{ran:?}");
        let lock = Shared::<Mutex<u64>>::open(location_of(name)).unwrap();
        assert!(lock.try_lock().is_ok(), "it was released in order");
    }
}
