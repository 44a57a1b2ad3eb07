//! A Rust dylib that contains the library.

mod copy {
    use sharemap as library;
    include!("exercise.rs");
}

pub use copy::ours;
