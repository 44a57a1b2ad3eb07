//! Overwrites words of a valid segment, and then opens, checks and reads it in all ways.
//!
//! The input is a list of {offset : 4 bytes, what to do : 1 byte, value : 8 bytes}.

#![no_main]

#[path = "../../crates/sharemap/tests/segment_mutated/image.rs"]
#[allow(dead_code, reason = "also used by tests")]
mod image;
#[path = "../../crates/sharemap/tests/segment_mutated/uses.rs"]
#[allow(dead_code, reason = "also used by tests")]
mod uses;

use std::path::PathBuf;
use std::sync::OnceLock;

use image::{Image, Random};
use libfuzzer_sys::fuzz_target;
use sharemap::Location;

fn path() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let directory = PathBuf::from("/dev/shm");
        let directory = if directory.is_dir() { directory } else { std::env::temp_dir() };
        directory.join(format!("sharemap-fuzz-{}", std::process::id()))
    })
}

/// Returns the bytes of a valid segment.
fn whole() -> &'static [u8] {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let _ = std::fs::remove_file(path());
        Image::make_whole(path());
        std::fs::read(path()).expect("the segment can be read")
    })
}

fuzz_target!(|input: &[u8]| {
    let mut bytes = whole().to_vec();
    for change in input.chunks_exact(13).take(64) {
        let at = u32::from_le_bytes([change[0], change[1], change[2], change[3]]) as usize;
        let at = at % (bytes.len() - 8) & !7;
        let value = u64::from_le_bytes(std::array::from_fn(|index| change[5 + index]));
        let word = u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        let new = match change[4] % 4 {
            0 => value,
            1 => word.wrapping_add(value),
            2 => word ^ value,
            _ => word & !0xffff | value & 0xffff,
        };
        bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
    }
    image::seal(&mut bytes);
    std::fs::write(path(), bytes).expect("the segment can be written");
    let seed = input.first().copied().unwrap_or_default().into();
    uses::everything(&Location::file(path()), &mut Random::new(seed), &mut uses::Outcome::default());
});
