//! Maps private anonymous memory: a plain slice, on huge pages if the system has some.

use sharemap::{HugePages, MapOptions};

fn main() -> sharemap::Result<()> {
    let mut memory =
        MapOptions::new().huge_pages(HugePages::Transparent).reserve(1 << 30).private(16 << 20)?;
    memory.fill(1);
    println!("{} bytes, which add up to {}", memory.len(), sum(&memory));

    memory.grow(32 << 20)?;
    println!("{} bytes, which add up to {}", memory.len(), sum(&memory));

    memory.discard(..8 << 20)?;
    println!("8 MiB discarded: they add up to {}", sum(&memory));
    Ok(())
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte)).sum()
}
