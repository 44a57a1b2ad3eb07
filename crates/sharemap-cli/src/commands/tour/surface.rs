//! Step 9: frames are drawn into a mapped surface.

use super::scene::{Outcome, Scene, Step, expect};
use crate::system::procfs;
use crate::units;
use sharemap::{MapOptions, MappingMut};
use std::path::Path;

pub(super) const STEP: Step = Step {
    name: "surface",
    title: "Draw frames into a mapped surface, save and release it: nothing stays mapped",
    run,
};

const WIDTH: usize = 160;
const HEIGHT: usize = 100;
const FRAMES: usize = 24;
/// Red, green, blue, opacity.
type Pixel = [u8; 4];

fn run(scene: &mut Scene<'_>) -> Outcome {
    let path = scene.path("surface.rgba");
    let bytes = WIDTH * HEIGHT * size_of::<Pixel>() * FRAMES;
    MapOptions::new().create_new(&path, bytes as u64)?.close()?;
    for frame in 0..FRAMES {
        draw(&path, frame)?;
    }
    scene.did(format!(
        "drew {FRAMES} frames of {WIDTH} x {HEIGHT} pixels, each into its own region of {}",
        units::size(bytes as u64)
    ));
    let saved = std::fs::read(&path)?;
    let (pixels, _) = saved.as_chunks::<4>();
    for frame in 0..FRAMES {
        for (x, y) in [(0, 0), (ball(frame), HEIGHT / 2), (WIDTH - 1, HEIGHT - 1)] {
            let pixel = pixels[(frame * HEIGHT + y) * WIDTH + x];
            let right = pixel == color(frame, x, y);
            expect(right, format!("pixel {x}, {y} of frame {frame} should be as drawn"))?;
        }
    }
    scene.saw("the saved file has every frame as it was drawn");
    match procfs::mapped_bytes(&path) {
        Some(left) => {
            scene.saw(format!("the system's own list: {} of it still mapped", units::size(left)));
            expect(left == 0, "nothing should be mapped any more")
        }
        None => {
            // Windows refuses this while a part of the file is mapped.
            std::fs::OpenOptions::new().write(true).open(&path)?.set_len(0)?;
            scene.saw("released: the file can be emptied");
            Ok(())
        }
    }
}

/// Maps one frame, draws it, saves and releases it.
fn draw(path: &Path, frame: usize) -> Outcome {
    let size = WIDTH * HEIGHT * size_of::<Pixel>();
    let map: MappingMut =
        MapOptions::new().offset((frame * size) as u64).len(size).open_mut(path)?;
    let surface = map.view::<Pixel>()?;
    let mut row = [Pixel::default(); WIDTH];
    for y in 0..HEIGHT {
        for (x, pixel) in row.iter_mut().enumerate() {
            *pixel = color(frame, x, y);
        }
        surface.write_at(y * WIDTH, &row)?;
    }
    map.flush()?;
    map.close()?;
    Ok(())
}

/// Returns the x coordinate of the ball.
fn ball(frame: usize) -> usize {
    20 + frame * (WIDTH - 40) / FRAMES
}

/// Returns the colour of a pixel: a red ball before an evening sky.
fn color(frame: usize, x: usize, y: usize) -> Pixel {
    let (dx, dy) = (x.abs_diff(ball(frame)), y.abs_diff(HEIGHT / 2));
    if dx * dx + dy * dy < 15 * 15 {
        return [220, 40, 40, 255];
    }
    [(255 - y) as u8, 120, (y + 40) as u8, 255]
}
