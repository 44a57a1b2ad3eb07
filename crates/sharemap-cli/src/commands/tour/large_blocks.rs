//! Step 8: the cost of a scan, by a mapping and by read().

use super::peer::Action;
use super::scene::{Outcome, Scene, Step, expect, sparse_file};
use crate::output::tell;
use crate::system::{self, Usage, procfs};
use crate::units;
use serde::{Deserialize, Serialize};
use sharemap::{Advice, ErrorKind, MapOptions, Mapping, PageState};
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

pub(super) const STEP: Step = Step {
    name: "blocks",
    title: "Large blocks: a scan by mapping and by read(); untouched pages cost nothing",
    run,
};

/// The report of a process that scanned the file twice.
#[derive(Debug, Serialize, Deserialize)]
struct Scan {
    /// The sum, which is the same in both passes.
    sum: u64,
    /// The seconds of the first pass, including the opening of the file.
    first: f64,
    /// The seconds of the second pass.
    again: f64,
    faults: Option<u64>,
    resident: Option<u64>,
}

/// The report of the process that touched a few pages.
#[derive(Debug, Serialize, Deserialize)]
struct Few {
    pages: usize,
    touched: usize,
    /// Whether the system supports the advice of random access.
    advised: bool,
    /// The pages in memory; `None` if the system does not report them.
    resident: Option<usize>,
    faults: Option<u64>,
    /// The largest number of pages that a touch may bring into memory.
    cluster: usize,
    /// The number of pages that the first touch brought into memory, if it is larger than `cluster`.
    read_ahead: Option<usize>,
}

/// One page in this many is touched.
const ONE_IN: usize = 1000;

fn run(scene: &mut Scene<'_>) -> Outcome {
    // If the file system has no holes, the file takes at most a quarter of the free space.
    let room = system::free_space(scene.dir()).map_or(u64::MAX, |free| free / 4);
    let size = scene.scan().min(room).max(1).next_multiple_of(1 << 20);
    let path = scene.path("scan.bin");
    sparse_file(&path, size)?;
    let mut file = OpenOptions::new().write(true).open(&path)?;
    let mut expected = 0u64;
    for block in 0..size >> 20 {
        let number = block.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        file.seek(SeekFrom::Start((block << 20) + 512 * 8))?;
        file.write_all(&number.to_ne_bytes())?;
        expected = expected.wrapping_add(number);
    }
    drop(file);
    scene.did(format!(
        "summed {} of u64 twice in each of three ways, each in a process of its own, from memory",
        units::size(size)
    ));
    // The first scan, which is not reported, brings the file into memory for the others.
    scan(scene, Action::ScanMapping, &path)?;
    let ways = [
        ("a mapping", Action::ScanMapping),
        ("one populated first", Action::ScanPopulated),
        ("read(), 1 MiB each", Action::ScanRead),
    ];
    let speed = |seconds: f64| format!("{:.1} GB/s", size as f64 / seconds / 1e9);
    let mut table = format!(
        "{:20}{:>10}{:>11}{:>11}{:>8}{:>11}\n",
        "", "first", "", "again", "faults", "memory"
    );
    for (name, action) in ways {
        let found = scan(scene, action, &path)?;
        let right = found.sum == expected;
        expect(right, format!("{name}: the sum should be {expected}"))?;
        let faults = found.faults.map_or("-".into(), |faults| faults.to_string());
        let memory = found.resident.map_or("-".into(), units::size);
        table += &format!(
            "{name:20}{:>7.1} ms{:>11}{:>11}{faults:>8}{memory:>11}\n",
            found.first * 1e3,
            speed(found.first),
            speed(found.again),
        );
    }
    scene.saw(table);
    scene.saw(
        "the sums agree. The first pass of a mapping pays for page faults, later ones do not; \
         read() pays for a copy each time. Memory counts what is shared with the cache, too",
    );
    touch_one_in_a_thousand(scene, size)
}

fn touch_one_in_a_thousand(scene: &mut Scene<'_>, size: u64) -> Outcome {
    let path = scene.path("few.bin");
    sparse_file(&path, size)?;
    let peer = scene.peer(Action::TouchFew, &path)?;
    let lines = peer.end_well()?;
    let few: Few = serde_json::from_str(lines.first().map_or("", String::as_str))?;
    scene.did(format!(
        "mapped a fresh file of {} pages{} and touched one page in {ONE_IN}: {}",
        few.pages,
        if few.advised { " with Advice::Random" } else { "" },
        few.touched
    ));
    let faults = match few.faults {
        Some(faults) => units::count(faults, "page fault"),
        None => "page faults are not counted here".into(),
    };
    let Some(resident) = few.resident else {
        scene.saw(format!("{faults}; this system does not report which pages are in memory"));
        return Ok(());
    };
    scene.saw(format!("{resident} of {} pages in memory; {faults}", few.pages));
    expect(resident >= few.touched, "the touched pages should be in memory")?;
    if let Some(pages) = few.read_ahead {
        scene.saw(format!("this system reads ahead in spite of the advice: {pages} pages a touch"));
    }
    let most = few.touched * few.read_ahead.unwrap_or(few.cluster);
    expect(resident <= most, format!("no more than {most} pages should be in memory"))
}

fn scan(scene: &Scene<'_>, action: Action, path: &Path) -> Result<Scan, Box<dyn Error>> {
    let lines = scene.peer(action, path)?.end_well()?;
    Ok(serde_json::from_str(lines.first().map_or("", String::as_str))?)
}

pub(super) fn scan_mapping(path: &Path, options: MapOptions) -> Outcome {
    let mut passes = Passes::begin();
    let map = options.open(path)?;
    passes.pass(|| Ok(sum(&map)?))?;
    passes.pass(|| Ok(sum(&map)?))?;
    passes.tell()
}

fn sum(map: &Mapping) -> sharemap::Result<u64> {
    let numbers = map.view::<u64>()?;
    let mut blocks = numbers.blocks::<32>();
    let rest = blocks.remainder();
    let sum = blocks.try_fold(0u64, |sum, block| {
        block.map(|block| block.iter().fold(sum, |sum, &n| sum.wrapping_add(n)))
    })?;
    rest.iter().try_fold(sum, |sum, n| n.map(|n| sum.wrapping_add(n)))
}

pub(super) fn scan_read(path: &Path) -> Outcome {
    let mut passes = Passes::begin();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    let mut sum = || {
        file.rewind()?;
        let mut sum = 0u64;
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                return Ok(sum);
            }
            // The file's size is a multiple of the buffer's, and reads of regular files are whole.
            let (numbers, rest) = buffer[..length].as_chunks::<8>();
            expect(rest.is_empty(), "a read should not end within a number")?;
            sum = numbers.iter().fold(sum, |sum, &n| sum.wrapping_add(u64::from_ne_bytes(n)));
        }
    };
    passes.pass(&mut sum)?;
    passes.pass(&mut sum)?;
    passes.tell()
}

/// The measurements of consecutive passes.
struct Passes {
    before: Usage,
    begun: Instant,
    sums: Vec<u64>,
    seconds: Vec<f64>,
}

impl Passes {
    fn begin() -> Self {
        let before = system::usage();
        Self { before, begun: Instant::now(), sums: Vec::new(), seconds: Vec::new() }
    }

    fn pass(&mut self, sum: impl FnOnce() -> Result<u64, Box<dyn Error>>) -> Outcome {
        self.sums.push(sum()?);
        self.seconds.push(self.begun.elapsed().as_secs_f64());
        self.begun = Instant::now();
        Ok(())
    }

    fn tell(self) -> Outcome {
        let after = system::usage();
        let ([sum, same], [first, again]) = (&self.sums[..], &self.seconds[..]) else {
            return Err("there should be two passes".into());
        };
        expect(sum == same, "both passes should have the same sum")?;
        let faults = after.faults.zip(self.before.faults);
        let scan = Scan {
            sum: *sum,
            first: *first,
            again: *again,
            faults: faults.map(|(after, before)| after - before),
            resident: after.peak_resident,
        };
        tell(serde_json::to_string(&scan)?)?;
        Ok(())
    }
}

pub(super) fn touch_few(path: &Path) -> Outcome {
    let (map, advised) = match MapOptions::new().advice(Advice::Random).open(path) {
        Ok(map) => (map, true),
        Err(error) if error.kind() == ErrorKind::Unsupported => (Mapping::open(path)?, false),
        Err(error) => return Err(error.into()),
    };
    let bytes = map.bytes();
    let page = sharemap::page_size();
    let resident = || match map.residency() {
        Ok(residency) if !residency.pages().contains(&PageState::Unknown) => {
            Some(residency.resident())
        }
        _ => None,
    };
    // A touch brings in a whole huge page if the kernel uses them without being asked. Some systems
    // bring in a few neighbouring pages.
    let huge = procfs::huge_pages(bytes.as_ptr() as usize).is_some_and(|huge| huge.eligible);
    let cluster = if huge { (2 << 20) / page } else { 64 };
    let before = system::usage();
    bytes.get(0)?;
    let read_ahead = resident().filter(|&pages| pages > cluster);
    let mut touched = 0;
    for offset in (0..map.len()).step_by(ONE_IN * page) {
        bytes.get(offset)?;
        touched += 1;
    }
    let after = system::usage();
    let faults = after.faults.zip(before.faults).map(|(after, before)| after - before);
    let few = Few {
        pages: map.len().div_ceil(page),
        touched,
        advised,
        resident: resident(),
        faults,
        cluster,
        read_ahead,
    };
    tell(serde_json::to_string(&few)?)?;
    Ok(())
}
