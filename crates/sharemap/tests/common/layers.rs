//! The layers of the library.

/// The names of the layers, bottom first.
pub const LAYERS: [&str; 12] = [
    "error",
    "layout",
    "sys",
    "guard",
    "view",
    "mapping",
    "shm",
    "peer",
    "sync",
    "segment",
    "containers",
    "channel",
];
