//! Helpers for the tests of several modules: child processes, and the explorer of interleavings.

pub(crate) mod child;
pub(crate) mod explorer;

/// Returns `true`, and prints why, where a search of simulated memory is left out: under an emulator, where it would
/// take minutes, and find what it finds everywhere.
pub(crate) fn leaves_out_searches() -> bool {
    let is_emulated = is_emulated();
    if is_emulated {
        eprintln!("skipped: the search is of simulated memory, which is the same on every system");
    }
    is_emulated
}

/// Returns `true` if the tests run for another system than this one, perhaps under an emulator.
pub(crate) fn is_emulated() -> bool {
    std::env::var_os("SHAREMAP_EMULATED").is_some()
}
