#!/usr/bin/env python3
"""Ports ripgrep's searcher to guarded slices, and tries ripgrep with it beside the original."""

import random

from port import Port
from sources import Crate, write_input
from trials import Task

#: Maps files for the searcher, and decides whether the results of a search count.
GUARDED = r"""//! Searches of guarded slices. Results count only if the file was whole until the end.

use std::fs::File;

use grep_matcher::Matcher;
use sharemap::{GuardedSlice, Mapping};

use super::Searcher;
use crate::sink::{Sink, SinkContext, SinkError, SinkFinish, SinkMatch};

/// Maps a file.
///
/// # Safety
/// No thread or process writes to the file while the slice lives. It may be cut short: the searcher and
/// the matchers of ripgrep stay in bounds whatever they read.
pub(super) unsafe fn open(file: &File) -> sharemap::Result<GuardedSlice<u8>> {
    let mapping = Mapping::map(file)?;
    // SAFETY: as for this function.
    unsafe { mapping.bytes().guarded_slice() }
}

/// Searches a slice. Fails if the file was cut short or changed, whatever was found.
pub(super) fn search<M: Matcher, S: Sink>(
    searcher: &mut Searcher,
    matcher: M,
    slice: GuardedSlice<u8>,
    sink: S,
) -> Result<(), S::Error> {
    let checked = Checked { sink, slice: slice.clone() };
    let searched = searcher.search_slice(matcher, &slice, checked);
    slice.finish().map_err(|error| S::Error::error_io(error.into()))?;
    searched
}

/// A sink that hears of the end of a search, and so prints a total, only if the file was whole.
struct Checked<S> {
    sink: S,
    slice: GuardedSlice<u8>,
}

impl<S: Sink> Sink for Checked<S> {
    type Error = S::Error;

    fn matched(&mut self, searcher: &Searcher, found: &SinkMatch<'_>) -> Result<bool, S::Error> {
        self.sink.matched(searcher, found)
    }

    fn context(&mut self, searcher: &Searcher, line: &SinkContext<'_>) -> Result<bool, S::Error> {
        self.sink.context(searcher, line)
    }

    fn context_break(&mut self, searcher: &Searcher) -> Result<bool, S::Error> {
        self.sink.context_break(searcher)
    }

    fn binary_data(&mut self, searcher: &Searcher, offset: u64) -> Result<bool, S::Error> {
        self.sink.binary_data(searcher, offset)
    }

    fn begin(&mut self, searcher: &Searcher) -> Result<bool, S::Error> {
        self.sink.begin(searcher)
    }

    fn finish(&mut self, searcher: &Searcher, end: &SinkFinish) -> Result<(), S::Error> {
        self.slice.check().map_err(|error| S::Error::error_io(error.into()))?;
        self.sink.finish(searcher, end)
    }
}
"""


class Ripgrep(Port):
    crates = [
        Crate("ripgrep", "15.2.0", "a30750b6d0743bfdd2656ebbaf4555aa278c43144b84bc389bcbfa399485ec71"),
        Crate("grep", "0.4.1", "309217bc53e2c691c314389c7fa91f9cd1a998cda19e25544ea47d94103880c3"),
        Crate("grep-printer", "0.3.1", "fd76035e87871f51c1ee5b793e32122b3ccf9c692662d9622ef1686ff5321acb"),
        Crate("grep-searcher", "0.1.17", "72348823a0eafc4bc2e9051064f28b5b42cc100b571b3a35d67918d711efcbc6"),
    ]
    binary = "rg"
    # The tests of ripgrep search files that are named, and so by mappings.
    tests = {"grep-searcher": [], "ripgrep": []}
    # Something was found, nothing was found.
    quiet_statuses = (0, 1)

    def edit(self, side):
        side.depend("grep-searcher", "memmap")
        searcher = "grep-searcher/src/searcher"
        side.append(f"{searcher}/guarded.rs", GUARDED)
        side.edit(f"{searcher}/mod.rs", r"^mod mmap;", r"mod guarded;\n\g<0>")
        side.edit(
            f"{searcher}/mod.rs", r"self\.search_slice\(matcher, &mmap,", "guarded::search(self, matcher, mmap,"
        )
        side.edit(f"{searcher}/mmap.rs", r"memmap::Mmap;", "sharemap::GuardedSlice;")
        side.edit(f"{searcher}/mmap.rs", r"Option<Mmap>", "Option<GuardedSlice<u8>>")
        side.edit(f"{searcher}/mmap.rs", r"\bMmap::map\(", "super::guarded::open(")
        # The slice cannot be advised.
        side.edit(f"{searcher}/mmap.rs", r"cfg\(unix\)(?=\]\s*if .*mmap\.advise)", "cfg(any())")

    def prepare(self, scratch, programs):
        chance = random.Random(1)
        letters = "abcdefghijklmnopqrstuvwxyz"
        words = ["".join(chance.choices(letters, k=chance.randrange(2, 10))) for _ in range(5000)]
        lines = [" ".join(chance.choices(words, k=chance.randrange(1, 16))) for _ in range(100_000)]
        # One line in a hundred has a word that no other has.
        for number in range(0, len(lines), 100):
            lines[number] += " needle"
        block = "\n".join(lines + [""]).encode()
        self.large, self.middle, self.small = (scratch / f"{size}.txt" for size in ("large", "middle", "small"))
        # A result without the end of the file differs.
        end = b"abba abba needle\n"
        write_input(self.large, block * (512 * 2**20 // len(block)) + end)
        write_input(self.middle, block * (128 * 2**20 // len(block)) + end)
        write_input(self.small, block[: 64 << 10])

    def comparisons(self):
        def task(name, *arguments):
            read = ("read()", ["--no-config", "--no-mmap", *arguments])
            return Task(name, ["--no-config", "--mmap", *arguments], read)

        yield task("Count of a word in 512 MiB", "--count", "needle", self.large)
        yield task("Count of a pattern in 128 MiB", "--count", "[a-f]{4} [a-f]{4}", self.middle)
        yield task("Lines with a word in 512 MiB", "needle", self.large)
        yield task("Count of a word in 64 KiB", "--count", "needle", self.small)

    def cuts(self):
        arguments = ["--no-config", "--mmap"]
        lines = Task("Lines with a word", [*arguments, "needle", self.middle])
        yield lines, self.middle, True
        count = Task("Count of a pattern", [*arguments, "--count", "[a-f]{4} [a-f]{4}", self.middle])
        yield count, self.middle, False


if __name__ == "__main__":
    Ripgrep().main()
