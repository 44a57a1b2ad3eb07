//! `#[derive(Shareable)]` and `#[derive(SharedType)]`: values that locks guard, and structs of
//! locks.

#![cfg(feature = "derive")]

mod common;

use common::need_atomics;
use sharemap::{
    Barrier, Condvar, CountingSemaphore, Error, ErrorKind, Event, Location, Mutex, Once, RwLock,
    Semaphore, Shareable, Shared, SharedMemory, SharedType,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

#[derive(
    Clone, Copy, Debug, PartialEq, Shareable, TryFromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(u8)]
enum Gear {
    Park,
    Drive = 4,
    Reverse = 9,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Shareable, TryFromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
struct Car {
    speed: Speed,
    wheels: [u8; 3],
    gear: Gear,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Shareable, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
struct Speed(f32);

/// A shared memory name unique to the test, unlinked when the value is dropped.
struct Name(String);

impl Name {
    fn new(test: &str) -> Self {
        let name = format!("derive-{test}-{}", std::process::id());
        let _ = SharedMemory::unlink(name.as_str());
        Self(name)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = SharedMemory::unlink(self.0.as_str());
    }
}

/// Values are compatible if their layouts and valid bytes are; names do not matter.
#[test]
fn values_are_shared_by_their_layout() {
    need_atomics!();
    let name = Name::new("values");
    let name = name.0.as_str();
    let first = Car { speed: Speed(0.0), wheels: [4; 3], gear: Gear::Park };
    let car = Shared::create_new(name, || RwLock::new(first)).unwrap();
    let mut guard = car.write().unwrap();
    guard.gear = Gear::Drive;
    guard.speed.0 = 13.9;
    guard.unlock().unwrap();
    let same = Shared::<RwLock<Car>>::open(name).unwrap();
    assert_eq!(*same.read().unwrap(), Car { speed: Speed(13.9), gear: Gear::Drive, ..first });

    /// A struct with other names and the same size, but other valid bytes.
    #[derive(Clone, Copy, Shareable, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    struct Renamed {
        v: f32,
        w: [u8; 3],
        g: u8,
    }
    let error = Shared::<RwLock<Renamed>>::open(name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType, "not every u8 is a gear");

    #[derive(Clone, Copy, Shareable, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(u8)]
    enum Lever {
        R = 9,
        P = 0,
        D = 4,
    }
    #[derive(Clone, Copy, Shareable, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    struct Wagon {
        v: f32,
        w: [u8; 3],
        l: Lever,
    }
    let wagon = Shared::<RwLock<Wagon>>::open(name).unwrap();
    assert!(matches!(wagon.read().unwrap().l, Lever::D));
    let _ = (Lever::R, Lever::P);
}

/// Bytes that are no value of an enum are `Invalid`.
#[test]
fn invalid_bytes_of_an_enum_are_an_error() {
    need_atomics!();
    let gear = Shared::create_new(Location::anonymous(), || Mutex::new(Gear::Reverse)).unwrap();
    let memory = SharedMemory::from_descriptor(gear.file().unwrap()).unwrap();
    let bytes = memory.bytes();
    // The first copy of the value, in the payload; the header contains its offset.
    let at = memory.view::<u64>().unwrap().get(104 / 8).unwrap() as usize + 16;
    assert_eq!(bytes.get(at).unwrap(), Gear::Reverse as u8);
    bytes.set(at, 5).unwrap();
    let error = gear.lock().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    bytes.set(at, Gear::Drive as u8).unwrap();
    assert_eq!(*gear.lock().unwrap(), Gear::Drive);
}

mod plant {
    use super::*;

    /// The locks of a plant.
    #[derive(SharedType)]
    pub struct Plant {
        /// The production lines, each with its own state.
        pub lines: [Line; 2],
        pub power: (Semaphore, Event),
        pub(super) shift: Barrier,
        secret: Once,
    }

    #[derive(Default, SharedType)]
    pub struct Line {
        pub car: Mutex<u32>,
        pub changed: Condvar,
        pub r#type: RwLock<[u16; 3]>,
        pub done: CountingSemaphore,
    }

    impl Plant {
        pub fn first() -> Self {
            Self {
                lines: [Line::default(), Line { car: Mutex::new(70), ..Line::default() }],
                power: (Semaphore::new(3), Event::auto_reset()),
                shift: Barrier::new(1),
                secret: Once::new(),
            }
        }
    }

    impl PlantHandle {
        pub fn open(&self) -> sharemap::Result<bool> {
            self.secret().call(|_| Ok::<(), Error>(()))?;
            self.secret().is_done()
        }
    }
}

/// A derived handle has an accessor for each field.
#[test]
fn structs_of_locks_are_used_by_name() {
    need_atomics!();
    let name = Name::new("locks");
    let name = name.0.as_str();
    let plant = Shared::open_or_create(name, plant::Plant::first).unwrap();
    let same =
        Shared::<plant::Plant>::open_or_create(name, || panic!("it exists already")).unwrap();

    *plant.lines()[0].car().lock().unwrap() += 1;
    *plant.lines()[1].car().lock().unwrap() += 1;
    plant.lines()[1].r#type().write().unwrap()[2] = 12;
    plant.lines()[1].changed().notify_all().unwrap();
    plant.lines()[0].done().post().unwrap();
    let permit = plant.power().0.acquire().unwrap();
    plant.power().1.set().unwrap();
    assert!(plant.open().unwrap());

    let lines = same.lines();
    assert_eq!((*lines[0].car().lock().unwrap(), *lines[1].car().lock().unwrap()), (1, 71));
    assert_eq!(*lines[1].r#type().read().unwrap(), [0, 0, 12]);
    assert_eq!((lines[0].done().count().unwrap(), lines[1].done().count().unwrap()), (1, 0));
    assert_eq!(same.power().0.available().unwrap(), 2);
    same.power().1.try_wait().unwrap();
    assert!(!plant.power().1.is_set().unwrap());
    drop(permit);
    assert!(same.shift().join().unwrap().wait().unwrap());
    assert!(same.open().unwrap());
    assert!(format!("{:?}", *same).starts_with("PlantHandle { lines: [LineHandle"));
}

/// The type of a struct is that of the tuple of its fields.
#[test]
fn field_names_are_not_part_of_the_type() {
    need_atomics!();
    #[derive(Default, SharedType)]
    struct State {
        jobs: Mutex<u32>,
        ready: Event,
    }
    let name = Name::new("tuple");
    let name = name.0.as_str();
    let state = Shared::create_new(name, State::default).unwrap();
    *state.jobs().lock().unwrap() = 5;
    state.ready().set().unwrap();
    let tuple = Shared::<(Mutex<u32>, Event)>::open(name).unwrap();
    assert_eq!(*tuple.0.lock().unwrap(), 5);
    assert!(tuple.1.is_set().unwrap());
    let error = Shared::<(Event, Mutex<u32>)>::open(name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongType);
}
