//! zerocopy's derives through `sharemap::zerocopy`, for a crate that depends on sharemap alone.

// Derived code refers to `zerocopy` by default. Here that name is another crate, so only code that
// refers to `sharemap::zerocopy` compiles.
extern crate core as zerocopy;

use sharemap::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};
use sharemap::{Location, MappingMut, Mutex, Shareable, Shared};

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Shareable,
)]
#[zerocopy(crate = "sharemap::zerocopy")]
#[repr(C)]
struct Point {
    x: f32,
    y: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
#[zerocopy(crate = "sharemap::zerocopy")]
#[repr(u8)]
enum Color {
    Red = 1,
    Green = 2,
}

#[test]
fn derived_types_are_elements() {
    let map = MappingMut::anonymous(4096).unwrap();
    let points = map.view::<Point>().unwrap();
    points.write_at(7, &[Point { x: 1.0, y: 2.0 }]).unwrap();
    assert_eq!(points.get(7).unwrap(), Point { x: 1.0, y: 2.0 });
    let colors = map.view::<Color>().unwrap();
    colors.set(0, Color::Green).unwrap();
    assert_eq!(colors.get(0).unwrap(), Color::Green);
    assert!(colors.get(1).is_err());
    assert_ne!(Color::Red, Color::Green);
    // An odd offset is allowed for elements with alignment 1.
    let numbers = map.view_at::<sharemap::zerocopy::little_endian::U64>(3, 5).unwrap();
    numbers.set(4, 70_000.into()).unwrap();
    let same = map.view_at::<sharemap::zerocopy::Unalign<u64>>(3, 5).unwrap();
    assert_eq!(same.get(4).unwrap().get(), 70_000_u64.to_le());
}

#[test]
fn derived_types_are_values_of_locks() {
    let point = Point { x: 1.0, y: 2.0 };
    if sharemap::guard::recovery() != sharemap::guard::Recovery::InPlace {
        eprintln!("skipped: locks need faults that are recovered in place");
        return;
    }
    let lock = Shared::create_new(Location::anonymous(), || Mutex::new(point)).unwrap();
    assert_eq!(*lock.lock().unwrap(), point);
}
