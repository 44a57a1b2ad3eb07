//! Counts in one mapping from several threads, each of which owns a view of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sharemap::MappingMut;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sharemap-threads-{}", std::process::id()));

    let map = Arc::new(MappingMut::create(&path, 4096)?);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let counters = map.owned_view::<u64>()?;
            Ok(std::thread::spawn(move || -> sharemap::Result<()> {
                for _ in 0..10_000 {
                    counters.as_view().atomic(0)?.fetch_add(1, Ordering::Relaxed)?;
                }
                Ok(())
            }))
        })
        .collect::<sharemap::Result<_>>()?;
    for thread in threads {
        thread.join().expect("no thread panics")?;
    }
    println!("counted to {}", map.view::<u64>()?.get(0)?);

    drop(map);
    std::fs::remove_file(&path)?;
    Ok(())
}
