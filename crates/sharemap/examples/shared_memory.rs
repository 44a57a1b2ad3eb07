//! Shares memory between two processes by its name. This program starts itself as the second one.

use std::process::Command;

use sharemap::SharedMemory;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(name) = std::env::args().nth(1) {
        return second(&name);
    }
    let name = format!("sharemap-example-{}", std::process::id());
    // 4096 bytes now, which may grow to a mebibyte later, at the same addresses.
    let block = SharedMemory::options().max(1 << 20).create_new(name.as_str(), 4096)?;
    block.bytes().write_at(0, b"hello from the first")?;

    let status = Command::new(std::env::current_exe()?).arg(&name).status()?;
    assert!(status.success());

    // The second process has grown the memory and has ended; what it wrote is still here.
    println!("the block has {} bytes now", block.refresh_len()?);
    println!("at its end: {:?}", text(&block.bytes().subview((1 << 16) - 21..1 << 16)?.to_vec()?));

    // Without this, the memory would exist until the system shuts down, or longer on Windows.
    SharedMemory::unlink(name.as_str())?;
    Ok(())
}

fn second(name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let block = SharedMemory::options().max(1 << 20).open(name)?;
    println!("the second reads: {:?}", text(&block.bytes().subview(0..20)?.to_vec()?));
    block.grow(1 << 16)?;
    block.bytes().write_at((1 << 16) - 21, b"hello from the second")?;
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
