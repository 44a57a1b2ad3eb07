//! Reads a file through a mapping: by index, by line, and as numbers.

use std::io::BufRead;

use sharemap::Mapping;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sharemap-read-{}", std::process::id()));
    std::fs::write(&path, "one\ntwo\nthree\nfour\n")?;

    let map = Mapping::open(&path)?;
    let bytes = map.bytes();
    println!("{} bytes, the first is {:#x}", bytes.len(), bytes.get(0)?);
    for line in map.reader().lines() {
        println!("line: {}", line?);
    }
    println!("'three' is at {:?}", bytes.find_bytes(b"three")?);

    // A view of another type checks size and alignment once, when it is created.
    let words = map.view_at::<u32>(0, 4)?;
    let sum = words.iter().try_fold(0u64, |sum, word| word.map(|word| sum + u64::from(word)))?;
    println!("its first 4 words add up to {sum}");

    std::fs::remove_file(&path)?;
    Ok(())
}
