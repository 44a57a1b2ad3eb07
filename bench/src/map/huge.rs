//! Random loads from a large shared memory object, with small pages and with huge pages.

use std::fs;
use std::hint::black_box;

use sharemap::{HugePages, Mapping, MappingMut, View};

use super::{Figure, random};
use crate::figure::Setup;
use crate::measure::{Contest, Effort};
use crate::peers::raw::{RawMap, Write};
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples::{self, Random};

const SMALL: &str = "random 8 B over 4 GiB of shared memory, 4 KiB pages";
const HUGE: &str = "random 8 B over 4 GiB of shared memory, huge pages";
const LEN: usize = 4 << 30;

pub const FIGURES: &[Figure] =
    &[Figure { name: SMALL, run: small }, Figure { name: HUGE, run: huge }];

fn small(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let file = samples::in_memory(LEN)?;
    let map = Mapping::map(&file).map_err(why)?;
    map.populate().map_err(why)?;
    let raw = RawMap::new(&file, LEN, Write::No, libc::MAP_POPULATE)?;
    let view = map.view().map_err(why)?;
    contest(SMALL, setup.effort, view, &raw, "raw memfd", None)
}

fn huge(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let reserved = Reserved::pages(2 * LEN)?;
    let map = MappingMut::options().huge_pages(HugePages::Reserved).anonymous(LEN).map_err(why)?;
    map.bytes().fill(1).map_err(why)?;
    let file = samples::memory_object(c"huge", libc::MFD_HUGETLB)?;
    file.set_len(LEN as u64).map_err(why)?;
    let raw = RawMap::new(&file, LEN, Write::Yes, libc::MAP_POPULATE)?;
    // SAFETY: the whole mapping is writable, and only this function uses it.
    unsafe { raw.base().write_bytes(1, LEN) };
    // All pages are in use. Once removed from the pool they are freed with their last user, even if
    // this process is killed.
    drop(reserved);
    let view = map.view::<u64>().map_err(why)?;
    contest(HUGE, setup.effort, *view, &raw, "memfd MFD_HUGETLB", Some(Goal::at_least(0.98)))
}

fn contest(
    figure: &str,
    effort: Effort,
    view: View<'_, u64>,
    raw: &RawMap,
    peer: &'static str,
    goal: Option<Goal>,
) -> Result<Vec<Row>, Reason> {
    let seed = std::cell::Cell::new(1);
    let next = || {
        seed.set(seed.get() + 1);
        Random::new(seed.get() << 20)
    };
    let outcome = Contest::new()
        .side(peer, || {
            black_box(random::slice(black_box(raw.words()), next()));
            Ok(())
        })
        .side("get", || {
            black_box(random::view_get(black_box(view), next()).map_err(why)?);
            Ok(())
        })
        .side("gather", || {
            black_box(random::view_gather(black_box(view), next()).map_err(why)?);
            Ok(())
        })
        .run(effort)?;
    let row = |name, goal| {
        let figure = format!("{figure}: {name}");
        outcome.row(&figure, Unit::Millions(random::LOADS), name, peer, goal)
    };
    Ok(vec![row("gather", goal), row("get", None)])
}

const POOL: &str = "/proc/sys/vm/nr_hugepages";
const PAGE: usize = 2 << 20;

/// A reservation of huge pages in the system's pool, which is undone when the value is dropped.
struct Reserved {
    before: usize,
}

impl Reserved {
    fn pages(bytes: usize) -> Result<Self, Reason> {
        let info = fs::read_to_string("/proc/meminfo").map_err(why)?;
        if !info.lines().any(|line| line.split_whitespace().eq(["Hugepagesize:", "2048", "kB"])) {
            return Err("the system's huge pages are not of 2 MiB".into());
        }
        let reserved = Self { before: pool()? };
        let wanted = reserved.before + bytes / PAGE;
        let mut got = reserved.before;
        for _ in 0..3 {
            fs::write(POOL, wanted.to_string())
                .map_err(|error| format!("cannot reserve huge pages: {POOL}: {error}"))?;
            got = pool()?;
            if got >= wanted {
                return Ok(reserved);
            }
            // Fragmented memory can be compacted.
            let _ = fs::write("/proc/sys/vm/compact_memory", "1");
        }
        Err(format!("the system has {got} huge pages of {wanted}"))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = fs::write(POOL, self.before.to_string());
    }
}

fn pool() -> Result<usize, Reason> {
    let text = fs::read_to_string(POOL).map_err(|error| format!("{POOL}: {error}"))?;
    text.trim().parse().map_err(why)
}
