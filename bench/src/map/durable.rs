//! Changes a page and makes it durable.

use sharemap::MappingMut;

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::peers::raw::{self, RawMap, Write};
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples::{OnDisk, Random};

const NAME: &str = "write a page and make it durable";
const LEN: usize = 64 << 20;
const PAGE: usize = 4096;

pub const FIGURES: &[Figure] = &[Figure { name: NAME, run: rows }];

fn rows(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let disk = OnDisk::new(&setup.dir, LEN)?;
    disk.require_device()?;
    let map = MappingMut::open(disk.path()).map_err(why)?;
    let raw = RawMap::new(disk.file(), LEN, Write::Yes, 0)?;
    let state = std::cell::Cell::new(Random::new(3));
    // Each sample writes another page and other bytes.
    let next = || {
        let mut random = state.get();
        let offset = random.below((LEN / PAGE) as u64) as usize * PAGE;
        state.set(random);
        (offset, [offset.to_le_bytes()[1] ^ random.next() as u8; PAGE])
    };
    let store = |offset: usize, page: &[u8; PAGE]| {
        // SAFETY: the page lies in the mapping, to which no references exist.
        unsafe { raw.base().add(offset).copy_from_nonoverlapping(page.as_ptr(), PAGE) }
    };
    let outcome = Contest::new()
        .repeats(4)
        .side("msync of the page", || {
            let (offset, page) = next();
            store(offset, &page);
            raw.sync(offset, PAGE)
        })
        .side("flush_range", || {
            let (offset, page) = next();
            map.bytes().write_at(offset, &page).map_err(why)?;
            map.flush_range(offset..offset + PAGE).map_err(why)
        })
        .side("pwrite + fdatasync", || {
            let (offset, page) = next();
            raw::pwrite_durably(disk.file(), &page, offset as u64)
        })
        .side("msync of all", || {
            let (offset, page) = next();
            store(offset, &page);
            raw.sync(0, LEN)
        })
        .side("flush", || {
            let (offset, page) = next();
            map.bytes().write_at(offset, &page).map_err(why)?;
            map.flush().map_err(why)
        })
        .run(setup.effort)?;
    let row = |side: &str, peer: &str, goal| {
        outcome.row(&format!("{NAME}: {side}"), Unit::Microseconds, side, peer, goal)
    };
    Ok(vec![
        row("flush_range", "msync of the page", Some(Goal::at_most(1.02))),
        row("flush_range", "pwrite + fdatasync", None),
        row("flush_range", "msync of all", None),
        row("flush", "msync of all", None),
    ])
}
