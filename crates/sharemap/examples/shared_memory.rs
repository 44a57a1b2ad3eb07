//! Two processes share a block by its name: this program starts itself as the second one.

use std::process::Command;

use sharemap::SharedMemory;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(name) = std::env::args().nth(1) {
        return second(&name);
    }
    let name = format!("sharemap-example-{}", std::process::id());
    // Room for 4096 bytes now, and for a mebibyte later, at the same addresses.
    let block = SharedMemory::options().max(1 << 20).create_new(name.as_str(), 4096)?;
    block.bytes().write_at(0, b"hello from the first")?;

    let status = Command::new(std::env::current_exe()?).arg(&name).status()?;
    assert!(status.success());

    // The second has made it grow, and is gone; what it wrote is here.
    println!("the block has {} bytes now", block.refresh_len()?);
    println!("at its end: {:?}", text(&block.bytes().subview((1 << 16) - 21..1 << 16)?.to_vec()?));

    // Without this it stays until the system ends.
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
