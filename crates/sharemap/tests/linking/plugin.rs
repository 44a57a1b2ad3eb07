//! A library to be loaded by a program that knows nothing of Rust.

mod copy {
    use sharemap as library;
    include!("exercise.rs");
}

/// Faults of this copy; 0 if all were recovered.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_ours() -> i32 {
    i32::from(std::panic::catch_unwind(copy::ours).is_err())
}
