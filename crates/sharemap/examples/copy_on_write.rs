//! Edits a copy-on-write mapping of a file: the changes stay in memory, and the file is unchanged.

use sharemap::MappingCow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sharemap-cow-{}", std::process::id()));
    std::fs::write(&path, "the quick brown fox")?;

    let map = MappingCow::open(&path)?;
    map.bytes().write_at(4, b"SLEEK")?;
    println!("in memory: {}", String::from_utf8(map.bytes().to_vec()?)?);
    println!("on disk:   {}", std::fs::read_to_string(&path)?);

    map.discard(..)?;
    println!("discarded: {}", String::from_utf8(map.bytes().to_vec()?)?);

    drop(map);
    std::fs::remove_file(&path)?;
    Ok(())
}
