//! A plugin with a C interface, and with its own copy of the library.

mod copy {
    use sharemap as library;
    include!("exercise.rs");
}

/// Makes this copy's accesses fault. Returns 0 if all faults were recovered.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_ours() -> i32 {
    i32::from(std::panic::catch_unwind(copy::ours).is_err())
}
