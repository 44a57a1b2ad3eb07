//! The thread safety of the public types, checked at compile time.

use std::fmt::Debug;
use std::panic::{RefUnwindSafe, UnwindSafe};

use sharemap::channel::{
    ChannelStats, Spsc, SpscBorrow, SpscIter, SpscLoan, SpscReceiver, SpscSender,
};
use sharemap::{
    Advice, AnonymousMapping, Atomic, Barrier, Block, Blocks, CacheStatus, Condvar,
    CountingSemaphore, Error, ErrorKind, Event, FileContents, FileContentsOptions, GuardedSlice,
    HugePages, Iter, MapOptions, Mapping, MappingCow, MappingMut, Mutex, Once, OwnedView,
    OwnedViewMut, PageState, Protection, Reader, Region, Residency, RwLock, Semaphore, Shared,
    SharedOptions, SlidingWindow, View, ViewMut, Writer, guard,
};

fn between_threads<T: Send + Sync>() {}

fn shown<T: Debug>() {}

fn copied<T: Copy + Send + Sync + Debug + 'static>() {}

fn outlives_all<T: 'static>() {}

fn caught<T: UnwindSafe + RefUnwindSafe>() {}

/// Checks each type for all traits.
macro_rules! all {
    ($($type:ty),* $(,)?) => { $( between_threads::<$type>(); shown::<$type>(); )* };
}

/// The public types are `Send`, `Sync` and `Debug`, and the value types `Copy`.
#[test]
fn public_types_are_send_and_sync() {
    all!(
        Mapping, MappingMut, MappingCow, AnonymousMapping, Region, SlidingWindow, FileContents,
        FileContentsOptions, MapOptions, Residency, Error, View<'static, u8>, ViewMut<'static, u64>,
        Iter<'static, bool>, Blocks<'static, f32, 8>, Block<char, 4>, Atomic<'static, u32>,
        Reader<'static>, Writer<'static>, OwnedView<u16>, OwnedViewMut<[u8; 3]>, GuardedSlice<u16>,
    );
    all!(
        Mutex<u64>,
        RwLock<[u8; 3]>,
        Mutex<[f32]>,
        RwLock<[u8]>,
        Condvar,
        Semaphore,
        CountingSemaphore,
        Barrier,
        Event,
        Once,
        SharedOptions,
        Shared<(Mutex<bool>, Condvar)>,
        Shared<Mutex<[u32]>>,
        Shared<[RwLock<u16>; 3]>,
        Shared<(RwLock<[i8]>, Semaphore, CountingSemaphore, Barrier, Event, Once)>,
    );
    all!(
        Spsc<bool>,
        SpscSender<u64>,
        SpscReceiver<[u8; 3]>,
        SpscLoan<'static, u64>,
        SpscBorrow<'static, bool>,
        SpscIter<'static, f32>,
    );
    copied::<ChannelStats>();
    copied::<Advice>();
    copied::<HugePages>();
    copied::<PageState>();
    copied::<Protection>();
    copied::<ErrorKind>();
    copied::<guard::Recovery>();
    copied::<View<'static, u8>>();
    copied::<ViewMut<'static, u8>>();
    copied::<Atomic<'static, i64>>();
    between_threads::<CacheStatus>();
}

/// Owning types are `'static`.
#[test]
fn owners_have_no_lifetime() {
    outlives_all::<Mapping>();
    outlives_all::<OwnedView<u8>>();
    outlives_all::<OwnedViewMut<u8>>();
    outlives_all::<SlidingWindow>();
    outlives_all::<FileContents>();
    outlives_all::<Spsc<u8>>();
    outlives_all::<SpscSender<u8>>();
    outlives_all::<SpscReceiver<u8>>();
    outlives_all::<Error>();
}

/// Errors can be boxed, and caught with a panic.
#[test]
fn errors_are_caught_and_boxed() {
    caught::<ErrorKind>();
    let boxed: Box<dyn std::error::Error + Send + Sync> =
        Box::new(Mapping::open("/no/such/file/here").unwrap_err());
    assert!(boxed.downcast_ref::<Error>().is_some());
}

/// A view is covariant in its lifetime.
#[test]
fn views_are_covariant() {
    fn shorter<'short>(view: View<'static, u8>, _: &'short str) -> View<'short, u8> {
        view
    }
    fn shorter_mut<'short>(view: ViewMut<'static, u8>, _: &'short str) -> ViewMut<'short, u8> {
        view
    }
    let _ = (shorter, shorter_mut);
}

/// Scoped threads can use views, and any thread can use owned views.
#[test]
fn threads_use_views() {
    let map = std::sync::Arc::new(MappingMut::anonymous(4096).unwrap());
    let view = map.view::<u32>().unwrap();
    std::thread::scope(|scope| {
        for index in 0..4 {
            scope.spawn(move || view.set(index, index as u32).unwrap());
        }
    });
    let owned = map.owned_view::<u32>().unwrap();
    let sum =
        std::thread::spawn(move || owned.as_view().iter().map(|item| item.unwrap()).sum::<u32>());
    assert_eq!(sum.join().unwrap(), 6);
}
