//! Recognizes the program that made an object, by the object's name or header.

use crate::system;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The first bytes of an object with a header (FORMAT.md).
const MAGIC: [u8; 8] = *b"\x89SHM\r\n\x1a\n";

/// The beginnings of names, and the programs that use them. The longest match counts.
const BEGINNINGS: &[(&str, &str)] = &[
    ("psm_", "Python"),
    ("wnsm_", "Python"),
    ("iox2_", "iceoryx2"),
    ("iox_", "iceoryx"),
    ("iceoryx", "iceoryx"),
    ("boost_interprocess", "Boost"),
    ("boost.", "Boost"),
    ("boost_", "Boost"),
    ("fastrtps_", "Fast-DDS"),
    ("fastdds_", "Fast-DDS"),
    ("sem.fastrtps_", "Fast-DDS"),
    ("sem.fastdds_", "Fast-DDS"),
    ("aeron-", "Aeron"),
    ("PostgreSQL.", "PostgreSQL"),
    ("pulse-shm-", "PulseAudio"),
    (".org.chromium.", "Chromium"),
    (".com.google.Chrome", "Chromium"),
    ("sem.", "a semaphore of the C library"),
    (".sharemap-", "sharemap"),
];

/// Returns the program that gives its objects such names; `None` if the name is not recognized.
pub(super) fn by_name(name: &str) -> Option<&'static str> {
    let fits = BEGINNINGS.iter().filter(|(beginning, _)| name.starts_with(beginning));
    // The longest match is the most specific.
    fits.max_by_key(|(beginning, _)| beginning.len()).map(|(_, maker)| *maker)
}

/// Returns `true` if the object begins with this library's header. `None` if the object cannot be
/// read, or not without waiting.
pub(in crate::commands) fn has_header(path: &Path) -> Option<bool> {
    begins_with_header(&system::open_to_look(path).ok()?)
}

/// Returns `true` if the file begins with this library's header. `None` if it cannot be read.
pub(in crate::commands) fn begins_with_header(file: &File) -> Option<bool> {
    let mut beginning = Vec::new();
    let mut file = file;
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(MAGIC.len() as u64).read_to_end(&mut beginning).ok()?;
    Some(beginning == MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_are_recognized_by_name() {
        for (name, maker) in [
            ("psm_1f2e3d4c", Some("Python")),
            ("iox2_0f3e_service", Some("iceoryx2")),
            ("iox2", None),
            ("fastrtps_port7411", Some("Fast-DDS")),
            ("sem.fastrtps_port7411_mutex", Some("Fast-DDS")),
            ("sem.jobs", Some("a semaphore of the C library")),
            ("aeron-root/cnc.dat", Some("Aeron")),
            ("PostgreSQL.1234567", Some("PostgreSQL")),
            ("boost_interprocess_x", Some("Boost")),
            ("jobs", None),
        ] {
            assert_eq!(by_name(name), maker, "{name}");
        }
    }
}
