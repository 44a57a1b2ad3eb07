//! Step 7: mappings of parts of files, and a window over a large file.

use super::scene::{Outcome, Scene, Step, expect, sparse_file};
use crate::{system, units};
use sharemap::{MapOptions, SlidingWindow};
use std::error::Error;
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

pub(super) const STEP: Step = Step {
    name: "regions",
    title: "Many regions, odd offsets, and a window over a file of several GiB",
    run,
};

fn run(scene: &mut Scene<'_>) -> Outcome {
    odd_regions(scene)?;
    window(scene)
}

fn odd_regions(scene: &mut Scene<'_>) -> Outcome {
    let path = scene.path("regions.bin");
    let byte = |offset: usize| (offset % 253) as u8;
    std::fs::write(&path, (0..300_000).map(byte).collect::<Vec<_>>())?;
    let page = sharemap::page_size();
    let places =
        [(0, 1), (1, 3), (page - 3, 7), (page + 3, page), (2 * page + 3, 100_000), (299_999, 1)];
    let mut regions = Vec::new();
    for (offset, length) in places {
        regions.push(MapOptions::new().offset(offset as u64).len(length).open(&path)?);
    }
    scene.did(format!("mapped {} regions of one file at once, at odd offsets", places.len()));
    for ((offset, length), region) in places.into_iter().zip(&regions) {
        let expected: Vec<u8> = (offset..offset + length).map(byte).collect();
        let right = region.bytes().to_vec()? == expected;
        expect(right, format!("{length} bytes at {offset} should be the file's"))?;
    }
    let shown: Vec<_> = places.iter().map(|(offset, len)| format!("{len} at {offset}")).collect();
    scene.saw(format!("each shows its own bytes: {}", shown.join(", ")));
    Ok(())
}

const WINDOW: usize = 16 << 20;

fn window(scene: &mut Scene<'_>) -> Outcome {
    let path = scene.path("large.bin");
    let size = make_large(scene, &path)?;
    let places = [0, size / 3 / 8 * 8, size / 2 / 8 * 8, size - 8];
    let mut file = OpenOptions::new().write(true).open(&path)?;
    for place in places {
        file.seek(SeekFrom::Start(place))?;
        file.write_all(&(!place).to_le_bytes())?;
    }
    drop(file);
    let mut window = SlidingWindow::open(&path, WINDOW)?;
    let places_of = match system::allocated(&path) {
        Some(taken) => format!("; it takes {} on the disk", units::size(taken)),
        None => String::new(),
    };
    scene.did(format!(
        "wrote a number at {} places of it{places_of}, and read them through a window of {}",
        places.len(),
        units::size(WINDOW as u64)
    ));
    let mut most = 0;
    for place in places {
        let seen = u64::from_le(window.view::<u64>(place, 1)?.get(0)?);
        most = most.max(window.mapped());
        expect(seen == !place, format!("the number at {place} should be the one written"))?;
    }
    expect(window.len() == size, "the window should know the file's size")?;
    scene.saw(format!(
        "all numbers right, from offset 0 to {}; never more than {} mapped",
        size - 8,
        units::size(most as u64)
    ));
    let slack = 4 * 64 * 1024;
    expect(most <= WINDOW + slack, "no more than the window should be mapped")
}

/// Creates a sparse file of 5 GiB, or a small one if the file system has no holes or no files of that
/// size. Returns the size.
fn make_large(scene: &mut Scene<'_>, path: &Path) -> Result<u64, Box<dyn Error>> {
    const LARGE: u64 = 5 << 30;
    const SMALL: u64 = 40 << 20;
    let why = match has_holes(&scene.path("probe.bin"))? {
        false => "this file system has no holes".to_owned(),
        true => match sparse_file(path, LARGE) {
            Ok(()) => {
                let large = units::size(LARGE);
                scene.did(format!("created large.bin of {large}, which is all hole"));
                return Ok(LARGE);
            }
            Err(error) => format!("no file of 5 GiB here ({error})"),
        },
    };
    sparse_file(path, SMALL)?;
    scene.did(format!("created large.bin of only {}: {why}", units::size(SMALL)));
    Ok(SMALL)
}

/// Returns `true` if the file system supports holes.
fn has_holes(path: &Path) -> Result<bool, Box<dyn Error>> {
    const SIZE: u64 = 1 << 20;
    sparse_file(path, SIZE)?;
    let taken = system::allocated(path);
    std::fs::remove_file(path)?;
    Ok(taken.is_some_and(|taken| taken < SIZE))
}
