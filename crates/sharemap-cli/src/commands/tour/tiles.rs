//! Step 10: a data set of tiles, of which only a few are mapped at a time.

use super::scene::{Outcome, Scene, Step, expect};
use crate::system::procfs;
use crate::units;
use sharemap::{MapOptions, Mapping};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

pub(super) const STEP: Step = Step {
    name: "tiles",
    title: "A tiled data set: 256 tiles, at most 16 mapped, loaded and unloaded on demand",
    run,
};

const TILES: usize = 256;
const MOST: usize = 16;
const TILE: usize = 16 << 10;
const NUMBERS: usize = TILE / size_of::<u32>();

fn run(scene: &mut Scene<'_>) -> Outcome {
    let path = scene.path("tiles.bin");
    create(&path)?;
    scene.did(format!(
        "created {TILES} tiles of {} and walked over them in rows, in columns and at random",
        units::size(TILE as u64)
    ));
    let mut tiles = Tiles::new(&path);
    let mut most_listed = 0;
    let mut reads = 0;
    for tile in walk() {
        let numbers = tiles.tile(tile)?.view::<u32>()?;
        let place = (tile * 7919 + reads) % NUMBERS;
        let right = numbers.get(place)? == number(tile, place);
        expect(right, format!("number {place} of tile {tile} should be as written"))?;
        reads += 1;
        if reads % TILES == 0 {
            most_listed = most_listed.max(procfs::mapped_bytes(&path).unwrap_or_default());
        }
    }
    scene.saw(format!(
        "{reads} reads, all right; {} tiles loaded, {} unloaded, at most {} at once ({})",
        tiles.loaded,
        tiles.unloaded,
        tiles.most,
        units::size((tiles.most * TILE) as u64)
    ));
    expect(tiles.most <= MOST, "at most 16 tiles should have been mapped")?;
    expect(
        most_listed <= (MOST * TILE) as u64,
        "the system should list no more than that as mapped",
    )?;
    while tiles.unload()? {}
    let (source, left) = match procfs::mapped_bytes(&path) {
        Some(bytes) => ("the system's own list", bytes),
        None => ("the tiles' own count", tiles.mapped_bytes()),
    };
    scene.saw(format!("mapped at the end, by {source}: {}", units::size(left)));
    expect(left == 0, "nothing should be mapped any more")
}

/// Returns a number of the data set; all numbers differ.
fn number(tile: usize, place: usize) -> u32 {
    (tile * NUMBERS + place) as u32
}

fn create(path: &Path) -> Outcome {
    let map = MapOptions::new().create_new(path, (TILES * TILE) as u64)?;
    let mut numbers = vec![0; NUMBERS];
    for tile in 0..TILES {
        for (place, value) in numbers.iter_mut().enumerate() {
            *value = number(tile, place);
        }
        map.view::<u32>()?.write_at(tile * NUMBERS, &numbers)?;
    }
    map.close()?;
    Ok(())
}

/// Returns the order of the reads: rows of 16 tiles, columns, and a fixed pseudo-random sequence.
fn walk() -> impl Iterator<Item = usize> {
    let rows = 0..TILES;
    let columns = (0..TILES).map(|i| i % 16 * 16 + i / 16);
    let mut state = 1u32;
    let jumps = (0..2 * TILES).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as usize % TILES
    });
    rows.chain(columns).chain(jumps)
}

/// The mapped tiles, the most recently used at the back.
struct Tiles {
    path: PathBuf,
    mapped: VecDeque<(usize, Mapping)>,
    loaded: usize,
    unloaded: usize,
    most: usize,
}

impl Tiles {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), mapped: VecDeque::new(), loaded: 0, unloaded: 0, most: 0 }
    }

    /// Returns a tile. If it is not mapped, maps it in place of the least recently used one.
    fn tile(&mut self, tile: usize) -> sharemap::Result<&Mapping> {
        let entry = match self.mapped.iter().position(|(number, _)| *number == tile) {
            Some(position) => self.mapped.remove(position),
            None => None,
        };
        let entry = match entry {
            Some(entry) => entry,
            None => {
                if self.mapped.len() == MOST {
                    self.unload()?;
                }
                self.loaded += 1;
                let offset = (tile * TILE) as u64;
                (tile, MapOptions::new().offset(offset).len(TILE).open(&self.path)?)
            }
        };
        self.mapped.push_back(entry);
        self.most = self.most.max(self.mapped.len());
        let last = self.mapped.len() - 1;
        Ok(&self.mapped[last].1)
    }

    /// Unmaps the least recently used tile. Returns `false` if no tile is mapped.
    fn unload(&mut self) -> sharemap::Result<bool> {
        let Some((_, map)) = self.mapped.pop_front() else {
            return Ok(false);
        };
        self.unloaded += 1;
        map.close().map(|()| true)
    }

    fn mapped_bytes(&self) -> u64 {
        self.mapped.iter().map(|(_, map)| map.len() as u64).sum()
    }
}
