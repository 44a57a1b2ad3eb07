//! Maps several parts of one file, at offsets that are not multiples of the page size.

use std::fs::File;

use sharemap::MapOptions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sharemap-regions-{}", std::process::id()));
    let records: Vec<u8> = (0..100_000u32).map(|at| (at / 1000) as u8).collect();
    std::fs::write(&path, records)?;

    let file = File::open(&path)?;
    let mut regions = Vec::new();
    for record in [3, 14, 15, 92] {
        regions.push(MapOptions::new().offset(record * 1000).len(1000).map(&file)?);
    }
    // Mappings do not need the caller's descriptor.
    drop(file);
    for region in &regions {
        println!("at {}: all {}", region.file_offset(), region.bytes().get(999)?);
    }

    drop(regions);
    std::fs::remove_file(&path)?;
    Ok(())
}
