//! Reads a mapped file that is truncated meanwhile: the access returns an error with the offset, and
//! the process continues.

use std::fs::File;

use sharemap::{ErrorKind, Mapping};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sharemap-truncated-{}", std::process::id()));
    std::fs::write(&path, vec![1; 1 << 20])?;

    let mut map = Mapping::open(&path)?;
    println!("{} bytes, which add up to {}", map.len(), sum(&map)?);
    if let Err(error) = File::options().write(true).open(&path)?.set_len(100_000) {
        // Windows does not let any process truncate a mapped file.
        println!("the system refuses: {error}");
    }
    println!("current: {}", map.is_current()?);
    match sum(&map) {
        Err(error) if error.kind() == ErrorKind::Fault => {
            println!("{error}");
            map.remap()?;
            println!("{} bytes are left, which add up to {}", map.len(), sum(&map)?);
        }
        other => println!("they add up to {}", other?),
    }

    drop(map);
    std::fs::remove_file(&path)?;
    Ok(())
}

fn sum(map: &Mapping) -> sharemap::Result<u64> {
    map.bytes().iter().try_fold(0, |sum, byte| byte.map(|byte| sum + u64::from(byte)))
}
