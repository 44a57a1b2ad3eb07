//! Shows which pages of a file are in memory, populates them, and evicts them.

use sharemap::{Advice, Mapping, MappingMut};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sharemap-residency-{}", std::process::id()));
    MappingMut::create(&path, 1 << 20)?.flush()?;

    let map = Mapping::open(&path)?;
    show("opened", &map);
    map.evict()?;
    show("evicted", &map);
    // From here on the kernel reads only the pages that are accessed, without reading ahead.
    if let Err(error) = map.advise(Advice::Random) {
        println!("{error}");
    }
    map.bytes().get(500_000)?;
    show("one byte read", &map);
    map.populate()?;
    show("populated", &map);

    drop(map);
    std::fs::remove_file(&path)?;
    Ok(())
}

fn show(when: &str, map: &Mapping) {
    match map.residency() {
        Ok(pages) => println!(
            "{when}: {} pages resident, {} absent, {} unknown",
            pages.resident(),
            pages.absent(),
            pages.unknown()
        ),
        Err(error) => println!("{when}: {error}"),
    }
}
