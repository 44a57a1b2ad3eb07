//! Creates a file, edits it through a mapping, and makes the changes durable.

use sharemap::{Mapping, MappingMut};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sharemap-edit-{}", std::process::id()));

    // Reserves space for the whole file: a full disk is an error here.
    let map = MappingMut::create(&path, 1 << 20)?;
    map.bytes().write_at(0, b"hello, disk")?;
    let numbers = map.view_at::<u32>(4096, 1000)?;
    for index in 0..numbers.len() {
        numbers.set(index, 2 * index as u32)?;
    }
    // Only these ranges were changed, so the rest need not be flushed.
    map.flush_range(..11)?;
    map.flush_range(4096..4096 + 4000)?;
    map.close()?;

    let map = Mapping::open(&path)?;
    println!("{}", String::from_utf8(map.bytes().subview(..11)?.to_vec()?)?);
    println!("number 999 is {}", map.view_at::<u32>(4096, 1000)?.get(999)?);
    println!("number 1000: {}", map.view_at::<u32>(4096, 1000)?.get(1000).unwrap_err());

    drop(map);
    std::fs::remove_file(&path)?;
    Ok(())
}
