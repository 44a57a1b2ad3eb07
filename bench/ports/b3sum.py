#!/usr/bin/env python3
"""Ports b3sum to safe copies of a mapping's chunks, and tries it beside the original."""

import random

from port import Port
from sources import Crate, write_input
from trials import Task

#: Replaces what the crate does with memmap2's slice.
MAPPED = r"""//! Hashing of mapped files by private copies, which stay in the processor's cache.

use crate::Hasher;
use sharemap::{Mapping, Result};

/// Bytes that are copied at once: a batch for the widest vectors, and twice as much.
const COPY: usize = 32 << 10;

impl Hasher {
    /// Updates the hash by a mapped file, on this thread.
    pub(crate) fn update_mapped(&mut self, mapping: &Mapping) -> Result<()> {
        mapping.bytes().for_each_chunk(COPY, |_, bytes| {
            self.update(bytes);
        })
    }
}

#[cfg(feature = "rayon")]
mod parallel {
    use super::*;
    use crate::hazmat::{ChainingValue, HasherExt};
    use crate::{CHUNK_LEN, largest_power_of_two_leq, parent_node_output};
    use sharemap::View;

    /// Bytes that one thread hashes at once.
    const TASK: usize = 512 << 10;

    impl Hasher {
        /// Updates the hash by a mapped file, on the threads of the pool.
        ///
        /// A hash that has begun continues on this thread.
        pub(crate) fn update_mapped_rayon(&mut self, mapping: &Mapping) -> Result<()> {
            let mut rest = mapping.bytes();
            if self.chunk_state.chunk_counter == 0 && self.count() == 0 {
                let start = self.clone();
                let mut done = 0;
                // Subtrees of complete chunks, each at least as large as the next.
                while rest.len() > COPY {
                    let (tree, behind) = rest.split_at(largest_power_of_two_leq(rest.len()))?;
                    let (left, right) = halves(tree, done, &start)?;
                    let counter = done / CHUNK_LEN as u64;
                    let chunks = (tree.len() / CHUNK_LEN) as u64;
                    // The two are merged later, because they may be those of the root.
                    self.push_cv(&left, counter);
                    self.push_cv(&right, counter + chunks / 2);
                    self.chunk_state.chunk_counter = counter + chunks;
                    done += tree.len() as u64;
                    rest = behind;
                }
            }
            rest.for_each_chunk(COPY, |_, bytes| {
                self.update(bytes);
            })
        }
    }

    /// Hashes both halves of a subtree, at the same time if a thread of the pool is free.
    fn halves(
        tree: View<'_, u8>,
        offset: u64,
        start: &Hasher,
    ) -> Result<(ChainingValue, ChainingValue)> {
        let (left, right) = tree.split_at(tree.len() / 2)?;
        let middle = offset + left.len() as u64;
        let (left, right) = rayon_core::join(
            || subtree(left, offset, start),
            || subtree(right, middle, start),
        );
        Ok((left?, right?))
    }

    /// Hashes a subtree that begins at `offset` of the input.
    fn subtree(tree: View<'_, u8>, offset: u64, start: &Hasher) -> Result<ChainingValue> {
        if tree.len() > TASK {
            let (left, right) = halves(tree, offset, start)?;
            let state = &start.chunk_state;
            let parent = parent_node_output(&left, &right, &start.key, state.flags, state.platform);
            return Ok(parent.chaining_value());
        }
        let mut hasher = start.clone();
        hasher.set_input_offset(offset);
        tree.for_each_chunk(COPY, |_, bytes| {
            hasher.update(bytes);
        })?;
        Ok(hasher.finalize_non_root())
    }
}
"""


#: Stands in for the reference implementation, which is not published: the fetched package itself.
REFERENCE = {
    "Cargo.toml": """[package]
name = "reference_impl"
version = "0.0.0"
edition = "2021"

[dependencies]
blake3 = "=1.8.7"
""",
    "src/lib.rs": """//! The unedited hash, with the interface of the reference implementation.

pub struct Hasher(blake3::Hasher);

impl Hasher {
    pub fn new() -> Self {
        Self(blake3::Hasher::new())
    }

    pub fn new_keyed(key: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_keyed(key))
    }

    pub fn new_derive_key(context: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(context))
    }

    pub fn update(&mut self, input: &[u8]) {
        self.0.update(input);
    }

    pub fn finalize(&self, out: &mut [u8]) {
        self.0.finalize_xof().fill(out);
    }
}
""",
}


class B3sum(Port):
    crates = [
        Crate("b3sum", "1.8.7", "d12cbf49ea673482c08f7a2cbede6388e698bdae001e9e1536c314cf2741ea5d"),
        Crate("blake3", "1.8.7", "6d9e454fc11f76977dc803893aff6304ed33d6a26efae8696573bea74baa27ae"),
    ]
    binary = "b3sum"
    # One test asserts the size of the reference implementation.
    tests = {
        "blake3": ["--features", "mmap,rayon", "--", "--skip", "test_reference_impl_size"],
        "b3sum": [],
    }

    def complete(self, side):
        for file, text in REFERENCE.items():
            side.append(f"blake3/reference_impl/{file}", text)
        side.append("blake3/Cargo.toml", '\n[dev-dependencies.reference_impl]\npath = "reference_impl"\n')

    def edit(self, side):
        side.depend("blake3", "memmap2", optional=True)
        side.edit("blake3/Cargo.toml", r'"dep:memmap2"', '"dep:sharemap"')
        side.append("blake3/src/mapped.rs", MAPPED)
        library, inputs = "blake3/src/lib.rs", "blake3/src/io.rs"
        side.edit(library, r"^mod join;", r'#[cfg(feature = "mmap")]\nmod mapped;\n\g<0>')
        side.edit(library, r"self\.update\(&mmap\)", "self.update_mapped(&mmap)?")
        side.edit(library, r"self\.update_rayon\(&mmap\)", "self.update_mapped_rayon(&mmap)?")
        side.edit(inputs, r"memmap2::Mmap>>", "sharemap::Mapping>>")
        side.edit(inputs, r"memmap2::MmapOptions::new\(\)", "sharemap::Mapping::options()")
        side.edit(inputs, r"(?<=    )mmap_options\.len\(", r"mmap_options = \g<0>")
        side.edit(inputs, r"unsafe \{ (mmap_options\.map\(.*?\)) \}", r"\1")

    def edit_tests(self, side):
        # Tests of the private function that maps: they look into its result, which is no slice now.
        inputs, copy = "blake3/src/io.rs", ".bytes().to_vec().unwrap()"
        side.edit(inputs, r'panic!\("mmap failed"\);\s*\};', rf"\g<0> let mmap = mmap{copy};")
        side.edit(inputs, r'\.expect\("maybe_mmap_file[^;]*', rf"\g<0>{copy}")
        side.edit(inputs, r"unsafe \{ memmap2::Mmap::(map\(.*?\)) \}", r"sharemap::Mapping::\1")

    def prepare(self, scratch, programs):
        block = random.Random(1).randbytes(16 << 20)
        self.large, self.middle, self.small = (scratch / f"{size}.bin" for size in ("large", "middle", "small"))
        write_input(self.large, block * 32)
        write_input(self.middle, block * 8)
        write_input(self.small, block[: 1 << 20])

    def comparisons(self):
        for path, size in [(self.large, "512 MiB"), (self.small, "1 MiB")]:
            read = ("read()", ["--no-mmap", path])
            yield Task(f"Hash of {size} on one thread", ["--num-threads", "1", path], read)
            yield Task(f"Hash of {size} on a thread for each processor", [path])

    def cuts(self):
        yield Task("Hash on one thread", ["--num-threads", "1", self.middle]), self.middle, False
        yield Task("Hash on a thread for each processor", [self.middle]), self.middle, False


if __name__ == "__main__":
    B3sum().main()
