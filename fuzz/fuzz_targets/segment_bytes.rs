//! Opens the input itself as a segment, with a header whose checksum is right.

#![no_main]

#[path = "../../crates/sharemap/tests/segment_mutated/image.rs"]
#[allow(dead_code, reason = "also used by tests")]
mod image;
#[path = "../../crates/sharemap/tests/segment_mutated/uses.rs"]
#[allow(dead_code, reason = "also used by tests")]
mod uses;

use image::Random;
use libfuzzer_sys::fuzz_target;
use sharemap::Location;

fuzz_target!(|input: &[u8]| {
    let path = std::env::temp_dir().join(format!("sharemap-fuzz-bytes-{}", std::process::id()));
    let mut bytes = input.to_vec();
    if bytes.len() >= 128 {
        image::seal(&mut bytes);
    }
    std::fs::write(&path, bytes).expect("the file can be written");
    let seed = input.first().copied().unwrap_or_default().into();
    uses::everything(&Location::file(&path), &mut Random::new(seed), &mut uses::Outcome::default());
});
