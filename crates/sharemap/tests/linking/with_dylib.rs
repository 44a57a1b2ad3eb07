//! A program whose library lies in a Rust dylib, and whose inlined accesses are its own.

mod copy {
    use sharemap as library;
    include!("exercise.rs");
}

fn main() {
    shared::ours();
    copy::ours();
    shared::ours();
    if std::env::args().nth(1).as_deref() == Some("foreign") {
        // SAFETY: none: the process is to die of it.
        unsafe { std::hint::black_box(std::ptr::null::<u8>()).read_volatile() };
    }
    println!("recovered");
}
