//! Reads through a file of 4 GiB, of which at most 16 MiB are mapped at a time.

use sharemap::{MapOptions, SlidingWindow};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sharemap-window-{}", std::process::id()));
    // The file is sparse: it takes space only where it is written.
    std::fs::File::create(&path)?.set_len(4 << 30)?;
    for gibibyte in 0..4u64 {
        let part = MapOptions::new().offset((gibibyte << 30) + 12_344).len(8).open_mut(&path)?;
        part.view::<u64>()?.set(0, gibibyte + 1)?;
    }

    let mut window = SlidingWindow::open(&path, 16 << 20)?;
    let mut most = 0;
    for offset in (12_344..window.len()).step_by(1 << 30) {
        let number = window.view::<u64>(offset, 1)?.get(0)?;
        println!("at {offset}: {number}");
        most = most.max(window.mapped());
    }
    println!("of {} bytes at most {most} were mapped", window.len());

    drop(window);
    std::fs::remove_file(&path)?;
    Ok(())
}
