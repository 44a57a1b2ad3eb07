//! A program that links the library from a Rust dylib. Accesses that the compiler inlined are in the
//! program itself.

mod copy {
    use sharemap as library;
    include!("exercise.rs");
}

fn main() {
    shared::ours();
    copy::ours();
    shared::ours();
    if std::env::args().nth(1).as_deref() == Some("foreign") {
        // SAFETY: not sound: the fault is meant to kill the process.
        unsafe { std::hint::black_box(std::ptr::null::<u8>()).read_volatile() };
    }
    println!("recovered");
}
