//! Appends to a mapped file that grows in place: its address stays the same, and views stay valid.

use sharemap::{ErrorKind, MapOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sharemap-grow-{}", std::process::id()));

    // A file of 4 KiB, with address space reserved for 64 MiB.
    let mut log = MapOptions::new().reserve(64 << 20).create(&path, 4096)?;
    let early = log.bytes();
    let address = early.as_ptr();
    let mut end = 0;
    for number in 0..100_000 {
        let line = format!("entry {number}\n");
        if end + line.len() > log.len() {
            log.grow(2 * log.len())?;
        }
        log.bytes().write_at(end, line.as_bytes())?;
        end += line.len();
    }
    println!("{end} bytes in a file of {}, at the same address: {}", log.len(), {
        log.bytes().as_ptr() == address
    });
    println!("a view from the beginning still reads: {:?}", early.get(0)? as char);

    match log.grow(1 << 30) {
        Err(error) if error.kind() == ErrorKind::ExceedsReservation => println!("{error}"),
        other => other?,
    }
    // Shrinking needs `&mut`, so the views above must be unused from here on.
    log.resize(end)?;
    println!("the file has {} bytes", std::fs::metadata(&path)?.len());

    drop(log);
    std::fs::remove_file(&path)?;
    Ok(())
}
