//! A Rust dylib that holds the library.

mod copy {
    use sharemap as library;
    include!("exercise.rs");
}

pub use copy::ours;
