//! Opens whole files by `FileContents`, which reads small files and maps large ones.

use sharemap::FileContents;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sharemap-whole-{}", std::process::id()));
    for len in [1000, 10_000_000] {
        std::fs::write(&path, vec![b'\n'; len])?;
        let contents = FileContents::open(&path)?;
        println!(
            "{} lines in {} bytes, {}",
            contents.bytes().count(b'\n')?,
            contents.len(),
            if contents.is_mapped() { "mapped" } else { "read" }
        );
    }
    std::fs::remove_file(&path)?;
    Ok(())
}
