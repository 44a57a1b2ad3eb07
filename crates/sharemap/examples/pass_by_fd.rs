//! Passes shared memory without a name to another process: a child inherits its descriptor, and on
//! Unix the descriptor is also sent over a socket. This program starts itself as the child.

use std::process::Command;

use sharemap::SharedMemory;

type Done = Result<(), Box<dyn std::error::Error>>;

const VARIABLE: &str = "SHAREMAP_EXAMPLE_BLOCK";

fn main() -> Done {
    if std::env::var_os(VARIABLE).is_some() {
        let block = SharedMemory::from_inherited(VARIABLE)?;
        block.bytes().write_at(0, b"hello from the child")?;
        return Ok(());
    }
    let block = SharedMemory::anonymous(4096)?;
    let mut command = Command::new(std::env::current_exe()?);
    let passed = block.pass_to(&mut command, VARIABLE)?;
    let mut child = command.spawn()?;
    // The child has inherited the descriptor.
    drop(passed);
    assert!(child.wait()?.success());
    println!("{}", String::from_utf8_lossy(&block.bytes().subview(0..20)?.to_vec()?));
    over_a_socket(&block)
}

#[cfg(unix)]
fn over_a_socket(block: &SharedMemory) -> Done {
    use std::os::unix::net::UnixStream;

    // The two ends of a socket, each of which would usually be in a process of its own.
    let (here, there) = UnixStream::pair()?;
    block.send(&here)?;
    let received = SharedMemory::receive(&there)?;
    received.bytes().write_at(0, b"hello from the other end")?;
    println!("{}", String::from_utf8_lossy(&block.bytes().subview(0..24)?.to_vec()?));

    // Frozen memory, which no process can change any more, is a plain slice to its receiver (Linux).
    drop(received);
    let block = SharedMemory::anonymous(4096)?;
    block.bytes().write_at(0, b"final")?;
    match block.freeze() {
        Ok(frozen) => {
            frozen.send(&here)?;
            let received = sharemap::ReadOnlySharedMemory::receive(&there)?;
            println!("{}", String::from_utf8_lossy(&received.frozen()?[..5]));
        }
        Err(error) => println!("{error}"),
    }
    Ok(())
}

#[cfg(not(unix))]
fn over_a_socket(_: &SharedMemory) -> Done {
    println!("on this system, SharedMemory::duplicate_into passes memory to a running process");
    Ok(())
}
