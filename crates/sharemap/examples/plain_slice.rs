//! Passes a file to code that takes a plain slice, and survives its truncation.

use std::fs::File;

use sharemap::{ErrorKind, Mapping};

/// Code that takes a slice, as most parsers and searches do. It is sound with any bytes.
fn words(text: &[u8]) -> usize {
    text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count()
}

#[allow(unsafe_code, reason = "a plain slice of a file takes a promise")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("sharemap-slice-{}", std::process::id()));
    std::fs::write(&path, "four words a line\n".repeat(10_000))?;
    let map = Mapping::open(&path)?;
    // SAFETY: no process writes to the file. It may be cut short: `words` reads zeros then, and its
    // result counts only after `finish`.
    match unsafe { map.bytes().guarded_slice() } {
        Ok(slice) => {
            let shared = slice.clone();
            let count = std::thread::spawn(move || words(&shared)).join().unwrap();
            slice.check()?;
            println!("{count} words");

            File::options().write(true).open(&path)?.set_len(4096)?; // as another process might
            let count = words(&slice);
            match slice.finish() {
                Ok(()) => println!("{count} words"),
                Err(error) => println!("{count} words do not count: {error}"),
            }
        }
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            // The safe way, which every system has: copies of parts. A word may lie in two of them.
            println!("{error}");
            let mut spaces = 0;
            let count =
                |_, part: &[u8]| spaces += part.iter().filter(|byte| **byte == b' ').count();
            map.bytes().for_each_chunk(32 << 10, count)?;
            println!("{spaces} spaces");
        }
        Err(error) => return Err(error.into()),
    }
    drop(map);
    std::fs::remove_file(&path)?;
    Ok(())
}
