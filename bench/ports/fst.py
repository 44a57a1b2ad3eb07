#!/usr/bin/env python3
"""Ports the command of fst to owned guarded slices, and tries it beside the original."""

import random
import subprocess

from port import Port
from sources import Crate
from trials import Task

#: The data of an automaton in the command.
CHECKED = r"""
/// The bytes of an automaton. They are checked when the automaton is dropped, after its last use.
pub struct Checked(sharemap::GuardedSlice<u8>);

static LOST: std::sync::OnceLock<sharemap::Error> = std::sync::OnceLock::new();

impl AsRef<[u8]> for Checked {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        if let Err(error) = self.0.check() {
            let _ = LOST.set(error);
        }
    }
}

/// Maps a file.
///
/// # Safety
/// No thread or process writes to the file while the value lives. It may be cut short: the library has no
/// unsafe code, so it stays in bounds whatever it reads.
unsafe fn map<P: AsRef<Path>>(path: P) -> sharemap::Result<Checked> {
    let mapping = sharemap::Mapping::open(path)?;
    // SAFETY: as for this function.
    unsafe { mapping.bytes().guarded_slice() }.map(Checked)
}

/// Runs a command. Fails if a file that it read was cut short or changed, whatever it returned.
///
/// A command may also panic because bytes are lost.
pub fn run(command: fn() -> Result<(), Error>) -> Result<(), Error> {
    let done = std::panic::catch_unwind(command);
    match LOST.get() {
        Some(error) => Err(anyhow::anyhow!("{error}")),
        None => done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}
"""

#: Moves the data of the library's tests into files.
IN_A_FILE = r"""
/// Writes bytes to a file without a name, and returns a guarded slice of it.
#[cfg(test)]
fn in_a_file(bytes: Vec<u8>) -> sharemap::GuardedSlice<u8> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("fst-{}-{}-{}", module_path!(), std::process::id(), next).replace(':', "-");
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).unwrap();
    let mapping = sharemap::Mapping::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // SAFETY: no other process knows the file.
    unsafe { mapping.bytes().guarded_slice() }.unwrap()
}
"""


class FstCommand(Port):
    crates = [
        Crate("fst-bin", "0.4.3", "b3bc3f5b1becb288856c43673d440ab680d4c4d7221360247dd97cca00b5a20e"),
        Crate("fst", "0.4.7", "7ab85b9b05e3978cc9a9cf8fea7f01b494e1a09ed3037e16ba39edc7a29eb61a", apart=True),
    ]
    binary = "fst"
    # The command has no tests of its own.
    tests = {"fst": ["--features", "levenshtein"]}

    def edit(self, side):
        side.depend("fst-bin", "memmap2")
        util, main = "fst-bin/src/util.rs", "fst-bin/src/main.rs"
        side.edit(util, r"^use memmap2::Mmap;\n", "")
        side.edit(util, r"Fst<Mmap>", "Fst<Checked>")
        side.edit(util, r"\bMmap::map\(&File::open\(path\)\?\)", "map(path)")
        side.append(util, CHECKED)
        side.edit(main, r"^fn main\(\)(.*) \{", r"fn main()\1 { util::run(command) }\n\nfn command()\1 {")

    def edit_tests(self, side):
        side.depend_in_tests("fst")
        slice = "sharemap::GuardedSlice<u8>"
        for tests, automata in [("fst/src/raw/tests.rs", 2), ("fst/tests/test.rs", 1)]:
            side.edit(tests, r"(-> Fst)<Vec<u8>>", rf"\1<{slice}>", automata)
            side.edit(tests, r"\.into_fst\(\)", r"\g<0>.map_data(in_a_file).unwrap()", automata)
            side.append(tests, IN_A_FILE)
        side.edit("fst/tests/test.rs", r"(-> Set)<Vec<u8>>", rf"\1<{slice}>")
        side.edit("fst/tests/test.rs", r"WORDS\.lines\(\)\)\.unwrap\(\)", r"\g<0>.map_data(in_a_file).unwrap()")

    def prepare(self, scratch, programs):
        chance = random.Random(1)
        keys = sorted({f"{chance.getrandbits(64):016x}\n" for _ in range(1_500_000)})
        words = scratch / "keys.txt"
        words.write_text("".join(keys))
        self.automaton, self.victim = scratch / "keys.fst", scratch / "cut.fst"
        for path in (self.automaton, self.victim):
            path.unlink(missing_ok=True)
            subprocess.run([programs["memmap2"], "set", "--sorted", words, path], check=True)

    def comparisons(self):
        yield Task("All keys of an automaton", ["range", self.automaton])
        yield Task("Keys that match a pattern", ["grep", self.automaton, "[0-9]*[a-f]{4}[0-9]*"])
        yield Task("Checksum of an automaton", ["verify", self.automaton])

    def cuts(self):
        yield Task("All keys", ["range", self.victim]), self.victim, True
        yield Task("Checksum", ["verify", self.victim]), self.victim, False


if __name__ == "__main__":
    FstCommand().main()
