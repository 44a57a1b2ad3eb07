//! Look-ups in a map that is far larger than the processor's translation caches.

use sharemap::SharedOptions;

use super::keys::Entries;
use super::words;
use crate::figure::{Figure, Setup};
use crate::reason::Reason;
use crate::report::Row;

const NAME: &str = "look up in a u64 map of 16M, huge pages";

pub const FIGURES: &[Figure] = &[Figure { name: NAME, run: look_up }];

fn look_up(setup: &Setup) -> Result<Vec<Row>, Reason> {
    if std::env::var_os("SHAREMAP_LONG").is_none_or(|long| long != "1") {
        return Err("takes a minute; SHAREMAP_LONG=1 measures it".into());
    }
    const SETTING: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    let setting = std::fs::read_to_string(SETTING).unwrap_or_default();
    if setting.is_empty() || setting.contains("[never]") || setting.contains("[deny]") {
        return Err(format!("shared memory gets no huge pages; {SETTING} must be `advise`"));
    }
    let options = SharedOptions::new().transparent_huge_pages();
    let entries = Entries { count: 16_000_000 };
    let (ours, local) = words::maps(&options, entries)?;
    words::hits(setup, NAME, entries, &ours, &local, [Some(1.2), None])
}
