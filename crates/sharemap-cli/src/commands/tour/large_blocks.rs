//! Step 8: what a scan costs, by a mapping and by read().

use super::peer::Action;
use super::scene::{Scene, expect};
use super::{Outcome, Step};
use crate::{system, units};
use serde::{Deserialize, Serialize};
use sharemap::{Advice, MapOptions, PageState};
use std::error::Error;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

pub(super) const STEP: Step = Step {
    name: "blocks",
    title: "Large blocks: a scan by mapping and by read(); pages that are not touched cost nothing",
    run,
};

/// What the process that scanned tells.
#[derive(Debug, Serialize, Deserialize)]
struct Scan {
    sum: u64,
    seconds: f64,
    faults: Option<u64>,
    resident: Option<u64>,
}

/// What the process that touched a few pages tells.
#[derive(Debug, Serialize, Deserialize)]
struct Few {
    pages: usize,
    touched: usize,
    /// `None` where the system does not tell.
    resident: Option<usize>,
    faults: Option<u64>,
}

/// One page in so many is touched.
const ONE_IN: usize = 1000;

fn run(scene: &mut Scene<'_>) -> Outcome {
    // Sparse where that is possible; where it is not, it should still leave space for others.
    let room = system::free_space(scene.dir()).map_or(u64::MAX, |free| free / 4);
    let size = scene.scan().min(room).max(1).next_multiple_of(1 << 20);
    let path = scene.path("scan.bin");
    let mut file = File::create(&path)?;
    file.set_len(size)?;
    let mut expected = 0u64;
    for block in 0..size >> 20 {
        let number = block.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        file.seek(SeekFrom::Start((block << 20) + 512 * 8))?;
        file.write_all(&number.to_le_bytes())?;
        expected = expected.wrapping_add(number);
    }
    drop(file);
    scene.did(format!(
        "summed {} of u64 three ways, each in a process of its own, from memory",
        units::size(size)
    ));
    // The first one brings the file into memory, for all alike.
    scan(scene, Action::ScanMapping, &path)?;
    let ways = [
        ("a mapping", Action::ScanMapping),
        ("a mapping, populated first", Action::ScanPopulated),
        ("read(), 1 MiB at a time", Action::ScanRead),
    ];
    let told = |number: Option<u64>, show: fn(u64) -> String| number.map_or("-".into(), show);
    let mut table =
        format!("{:28}{:>10}{:>12}{:>10}{:>12}\n", "", "time", "speed", "faults", "memory");
    for (name, action) in ways {
        let found = scan(scene, action, &path)?;
        expect(found.sum == expected, format!("{name}: the sum should be {expected}"))?;
        table += &format!(
            "{name:28}{:>7.1} ms{:>7.1} GB/s{:>10}{:>12}\n",
            found.seconds * 1e3,
            size as f64 / found.seconds / 1e9,
            told(found.faults, |number| number.to_string()),
            told(found.resident, units::size),
        );
    }
    scene.saw(table);
    scene.saw("the sums agree; memory is the most that was resident at once");
    touch_one_in_a_thousand(scene, size)
}

fn touch_one_in_a_thousand(scene: &mut Scene<'_>, size: u64) -> Outcome {
    let path = scene.path("few.bin");
    File::create(&path)?.set_len(size)?;
    let peer = scene.peer(Action::TouchFew, &path)?;
    let lines = peer.end_well()?;
    let few: Few = serde_json::from_str(lines.first().map_or("", String::as_str))?;
    scene.did(format!(
        "mapped a fresh file of {} pages with Advice::Random and touched one page in {ONE_IN}: {}",
        few.pages, few.touched
    ));
    let faults =
        few.faults.map_or("page faults not counted".into(), |n| format!("{n} page faults"));
    let Some(resident) = few.resident else {
        scene.saw(format!("{faults}; this system does not tell which pages are in memory"));
        return Ok(());
    };
    scene.saw(format!("{resident} of {} pages in memory; {faults}", few.pages));
    expect(resident >= few.touched, "what was touched should be in memory")?;
    // Some systems bring in a few neighbours at a time.
    expect(resident <= few.touched * 64, "what was not touched should not be in memory")
}

fn scan(scene: &Scene<'_>, action: Action, path: &Path) -> Result<Scan, Box<dyn Error>> {
    let lines = scene.peer(action, path)?.end_well()?;
    Ok(serde_json::from_str(lines.first().map_or("", String::as_str))?)
}

pub(super) fn scan_mapping(path: &Path, options: MapOptions) -> Outcome {
    measure(|| {
        let map = options.open(path)?;
        let numbers = map.view::<u64>()?;
        let mut blocks = numbers.blocks::<32>();
        let rest = blocks.remainder();
        let sum = blocks.try_fold(0u64, |sum, block| {
            block.map(|block| block.iter().fold(sum, |sum, &n| sum.wrapping_add(n)))
        })?;
        let rest = rest.iter().try_fold(0u64, |sum, n| n.map(|n| sum.wrapping_add(n)))?;
        Ok(sum.wrapping_add(rest))
    })
}

pub(super) fn scan_read(path: &Path) -> Outcome {
    measure(|| {
        let mut file = File::open(path)?;
        let mut buffer = vec![0; 1 << 20];
        let mut sum = 0u64;
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                return Ok(sum);
            }
            // The file's size is a multiple of the buffer's, and reads of regular files are whole.
            let (numbers, rest) = buffer[..length].as_chunks::<8>();
            expect(rest.is_empty(), "a read should not end within a number")?;
            sum = numbers.iter().fold(sum, |sum, &n| sum.wrapping_add(u64::from_le_bytes(n)));
        }
    })
}

fn measure(scan: impl FnOnce() -> Result<u64, Box<dyn Error>>) -> Outcome {
    let before = system::usage();
    let begun = Instant::now();
    let sum = scan()?;
    let seconds = begun.elapsed().as_secs_f64();
    let after = system::usage();
    let faults = after.faults.zip(before.faults).map(|(after, before)| after - before);
    let scan = Scan { sum, seconds, faults, resident: after.peak_resident };
    println!("{}", serde_json::to_string(&scan)?);
    Ok(())
}

pub(super) fn touch_few(path: &Path) -> Outcome {
    let map = MapOptions::new().advice(Advice::Random).open(path)?;
    let bytes = map.bytes();
    let page = sharemap::page_size();
    let before = system::usage();
    let mut touched = 0;
    for offset in (0..map.len()).step_by(ONE_IN * page) {
        bytes.get(offset)?;
        touched += 1;
    }
    let after = system::usage();
    let faults = after.faults.zip(before.faults).map(|(after, before)| after - before);
    let resident = match map.residency() {
        Ok(residency) if !residency.pages().contains(&PageState::Unknown) => {
            Some(residency.resident())
        }
        _ => None,
    };
    let pages = map.len().div_ceil(page);
    println!("{}", serde_json::to_string(&Few { pages, touched, resident, faults })?);
    Ok(())
}
