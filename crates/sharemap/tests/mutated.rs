//! Objects with slightly mutated bytes, each used by a process of its own: 20,000 images, 200,000
//! with `SHAREMAP_LONG=1`, 1,000 under an emulator. No operation crashes, exceeds its timeout, or
//! takes longer than a second, including the drop. The same holds for the largest possible tables.
//!
//! A failure prints the seed of its image. With that value as `SHAREMAP_SEED` it is the first
//! image.

#![cfg(all(unix, feature = "derive"))]

#[path = "hostile/all.rs"]
mod all;
mod common;
#[path = "mutated/few.rs"]
mod few;
#[path = "mutated/forks.rs"]
mod forks;
#[path = "mutated/image.rs"]
mod image;
#[path = "mutated/operations.rs"]
mod operations;
#[path = "hostile/places.rs"]
mod places;
#[path = "hostile/random.rs"]
mod random;

use common::{emulated, need_atomics};
use forks::Storm;
use image::Image;

fn is_long() -> bool {
    std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1")
}

fn seed() -> u64 {
    let given = std::env::var("SHAREMAP_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()) << 20)
}

/// Every operation on a mutated image returns in time, and most images can still be opened.
#[test]
fn mutated_images_are_used_without_harm() {
    need_atomics!();
    let images = [
        Image::fresh::<few::Few>("few"),
        Image::fresh::<all::All>("all"),
        Image::in_use(),
        Image::left_by_the_dead(),
    ];
    let count = match (is_long(), emulated()) {
        (true, _) => 200_000,
        (false, false) => 20_000,
        (false, true) => {
            println!(
                "1,000 images only: each has a process of its own, which an emulator is slow to fork"
            );
            1_000
        }
    };
    let storm = Storm::run(&images, seed(), count);
    println!("{storm}");
    assert_eq!(storm.images, count);
    // Most mutations leave the header alone, and many of the others are detected in it.
    assert!(storm.opened > count / 4, "hardly anything opened: {storm}");
    assert!(storm.refused.len() > 4, "{storm}");
}

/// Every operation on an object with the maximum number of participants and lanes, all of dead
/// processes, returns in time.
#[test]
fn the_largest_tables_are_used_in_time() {
    need_atomics!();
    let count = if is_long() { 400 } else { 20 };
    let storm = Storm::run(&[Image::largest()], seed(), count);
    println!("{storm}");
    assert_eq!(storm.images, count);
}
