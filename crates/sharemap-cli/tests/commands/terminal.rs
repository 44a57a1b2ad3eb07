//! Tests that untrusted names and texts do not act on a terminal, for every command.

use crate::run::{Files, Ran, command};
use sharemap::SharedMemory;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A forged row, a colour, a title, a C1 control sequence, DEL, and right-to-left text.
const HOSTILE: &str =
    "\n1 forged\r\u{1b}[31m\u{1b}]0;title\u{7}\t\u{7f}\u{9b}1m\u{202e}\u{2066}\u{61c}";

/// Returns a hostile name that no object has, with invalid UTF-8 if requested.
fn hostile(beginning: &str, more: &[u8]) -> OsString {
    let own = format!("{beginning}-{}-{HOSTILE}", std::process::id());
    OsString::from_vec([own.as_bytes(), more].concat())
}

/// A file in /dev/shm, which is removed when this value is dropped.
struct Object(PathBuf);

impl Object {
    fn new(name: &OsStr) -> Self {
        let path = PathBuf::from("/dev/shm").join(name);
        std::fs::write(&path, b"raw memory").expect("a file in /dev/shm");
        Self(path)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A process that holds a file open, and has given itself a hostile program name.
struct Holder(Child);

impl Holder {
    fn new(file: &OsStr) -> Self {
        use std::io::{BufRead, BufReader};
        let script = r#"printf 'w\n\033[31m\233\302\233\177' > /proc/self/comm; exec 9< "$0"; echo ready; read line"#;
        let mut child = Command::new("sh")
            .args([OsStr::new("-c"), OsStr::new(script), file])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns `true` if `c` acts on a terminal. A line feed, which ends a line, is not counted.
fn is_active(c: char) -> bool {
    let marks = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'];
    (c.is_control() && c != '\n')
        || marks.contains(&c)
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

#[track_caller]
fn is_inert(text: &str, ran: &Ran) {
    assert!(!text.contains(is_active), "{ran:?}");
    assert!(!text.lines().any(|line| line.starts_with("1 forged")), "{ran:?}");
    assert!(!text.contains('\u{fffd}'), "bytes are lost: {ran:?}");
}

/// Runs a command with plain text, coloured text and JSON, and checks all its output. Returns the plain
/// text: standard output, then standard error.
#[track_caller]
fn inert(args: &[&OsStr]) -> String {
    let with = |options: &[&str]| {
        let mut words: Vec<&OsStr> = options.iter().map(OsStr::new).collect();
        words.extend(args);
        crate::run::run(&words)
    };
    let ran = with(&[]);
    is_inert(ran.text(), &ran);
    is_inert(&ran.stderr, &ran);
    // Without the styles of the command, the coloured text equals the plain text.
    let styled = with(&["--color", "always"]);
    let styled_text = without_styles(styled.text());
    is_inert(&styled_text, &styled);
    is_inert(&styled.stderr, &styled);
    let json = with(&["--json"]);
    is_inert(json.text(), &json);
    is_inert(&json.stderr, &json);
    assert_eq!(json.text().lines().count(), 1, "{json:?}");
    json.json();
    format!("{}{}", ran.text(), ran.stderr)
}

/// Removes the styles that this command uses, none of which is in the hostile name.
fn without_styles(text: &str) -> String {
    let styles = ["0", "1", "2", "32", "33", "34"];
    styles.iter().fold(text.to_owned(), |text, style| text.replace(&format!("\x1b[{style}m"), ""))
}

const SHOWN: &str = r"\n1 forged\r\x1b[31m\x1b]0;title\x07\t\x7f\u{9b}1m\u{202e}\u{2066}\u{61c}";

#[test]
fn names_of_shared_memory_are_escaped() {
    let part = format!("terminal-{}", std::process::id());
    let object = Object::new(&hostile("terminal", b"\xff\x9b"));
    let text = inert(&["ls".as_ref(), part.as_ref()]);
    assert!(text.contains(&format!("{SHOWN}\\xff\\x9b ")), "{text}");
    let text = inert(&["gc".as_ref()]);
    assert!(text.contains(&format!("{SHOWN}\\xff\\x9b ")), "{text}");
    drop(object);
    // Arguments of the command line must be UTF-8.
    let object = Object::new(&hostile("terminal", b""));
    let name = object.0.file_name().unwrap().to_owned();
    let _holder = Holder::new(object.0.as_os_str());
    for words in [
        &["ls"][..],
        &["who"],
        &["locks"],
        &["gc"],
        &["gc", "--foreign"],
        &["rm"],
        &["who", "--no-such-option"],
    ] {
        let mut args: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        args.push(&name);
        if words.len() == 2 && words[1] == "--no-such-option" {
            let ran = crate::run::run(&args);
            is_inert(&ran.stderr, &ran);
            continue;
        }
        let text = inert(&args);
        assert!(text.contains(SHOWN), "{words:?}: {text}");
        // The output also names the process that holds the object.
        if words[0] != "locks" && words != ["gc"] {
            assert!(text.contains(r"w\n\x1b[31m\x9b\u{9b}\x7f"), "{words:?}: {text}");
        }
    }
    assert!(object.0.exists(), "a live process holds it");
}

#[test]
fn missing_names_are_escaped() {
    for words in [&["who"][..], &["locks"], &["gc"], &["rm"], &["tour"]] {
        for slash in ["", "missing/"] {
            let name = OsString::from(format!("{slash}{HOSTILE}"));
            let mut args: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
            args.push(&name);
            if words == ["tour"] {
                let ran = crate::run::run(&args).with_code(2);
                is_inert(&ran.stderr, &ran);
                continue;
            }
            let text = inert(&args);
            assert!(text.contains(r"\x1b[31m"), "{words:?}: {text}");
        }
    }
    for name in [HOSTILE, &format!("missing/{HOSTILE}")] {
        let words = ["lock", name, "--", "no-such-program"].map(OsStr::new);
        let ran = crate::run::run(&words);
        is_inert(&ran.stderr, &ran);
        let words = ["lock", "terminal-lock", "--", name].map(OsStr::new);
        let ran = crate::run::run(&words);
        is_inert(&ran.stderr, &ran);
    }
    let _ = SharedMemory::unlink("terminal-lock");
    // Usage errors that clap prints.
    for words in [
        &["hex", "x", "--type", HOSTILE][..],
        &["cat", "x", "--offset", HOSTILE],
        &[HOSTILE],
        &["ls", "--json", "a", HOSTILE],
        &["map", "x", "--output", HOSTILE],
    ] {
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        let ran = crate::run::run(&words).with_code(2);
        is_inert(&ran.stderr, &ran);
    }
}

#[test]
fn paths_are_escaped() {
    let files = Files::new();
    let name = hostile("file", b"\xff\x9b");
    let path = files.dir().join(&name);
    std::fs::write(&path, [7; 10_000]).unwrap();
    for words in [&["stat"][..], &["map"], &["touch"], &["evict"], &["write", "--at", "0"]] {
        let mut args: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        args.push(path.as_os_str());
        let text = inert(&args);
        assert!(text.contains(&format!("{SHOWN}\\xff\\x9b")), "{words:?}: {text}");
    }
    // Names in an SVG picture, which is text, too.
    let picture = files.path("picture.svg");
    run!("map", &path, "--output", &picture).with_code(0);
    let svg = String::from_utf8(std::fs::read(&picture).unwrap()).unwrap();
    assert!(!svg.contains(is_active) && svg.contains(r"\x1b[31m"), "{svg}");
    // Errors: a missing file, a directory, a file that is not an object, a range past the end.
    let missing = files.dir().join("missing").join(&name);
    let folder = files.dir().join(hostile("folder", b"\xff"));
    std::fs::create_dir(&folder).unwrap();
    for path in [&missing, &folder] {
        for words in [
            &["stat"][..],
            &["map"],
            &["cat"],
            &["hex"],
            &["touch"],
            &["evict"],
            &["write", "--at", "0"],
        ] {
            let mut args: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
            args.push(path.as_os_str());
            let text = inert(&args);
            assert!(text.contains(&format!("{SHOWN}\\xff")), "{words:?}: {text}");
        }
    }
    for words in [["cat", "--offset=10001"], ["hex", "--offset=10001"]] {
        let text = inert(&[words[0].as_ref(), words[1].as_ref(), path.as_os_str()]);
        assert!(text.contains(&format!("{SHOWN}\\xff\\x9b")), "{words:?}: {text}");
    }
}

/// The bytes of a file, and the output of a command that runs under a lock, are not escaped.
#[test]
fn data_stays_as_it_is() {
    need_locks!();
    let files = Files::new();
    let path = files.file("data", HOSTILE.as_bytes());
    assert_eq!(run!("cat", &path).with_code(0).stdout, HOSTILE.as_bytes());
    let lock = files.path("lock");
    let output =
        command(&["lock".as_ref(), lock.as_ref(), "--".as_ref(), "cat".as_ref(), path.as_ref()])
            .output()
            .unwrap();
    assert_eq!(output.stdout, HOSTILE.as_bytes());
}

/// The owner of a lock has a hostile program name, which comes from its file.
#[test]
fn names_of_processes_are_escaped() {
    need_locks!();
    let files = Files::new();
    let program = files.dir().join(OsStr::from_bytes(b"x\n\x1b[31m\x9b\xc2\x9b\x7f"));
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sharemap"), &program).unwrap();
    let name = format!("terminal-owner-{}", std::process::id());
    let mut child = Command::new(&program)
        .args(["lock", &name, "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let shown = r"x\n\x1b[31m\x9b\u{9b}\x7f";
    let begun = std::time::Instant::now();
    // Waits until the process owns the lock.
    loop {
        let ran = run!("locks", &name);
        if ran.code == Some(0) && ran.text().contains("owner") {
            break;
        }
        assert!(begun.elapsed().as_secs() < 30, "{ran:?}");
    }
    for words in [["locks", &name], ["who", &name], ["ls", &name], ["gc", &name], ["rm", &name]] {
        let text = inert(&words.map(OsStr::new));
        assert!(text.contains(shown), "{words:?}: {text}");
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let ran = Ran::from(Command::new(&program).arg("--no-such-option").output().unwrap());
    is_inert(&ran.stderr, &ran);
    let _ = SharedMemory::unlink(&*name);
}
