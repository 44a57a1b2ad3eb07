//! Memory-mapped files, shared memory, and locks and containers between processes, without `unsafe` in your code.
//!
//! A file mapped into memory is read by plain loads and written by plain stores; the system fetches
//! and stores pages behind the scenes. The danger elsewhere is that other processes can change the
//! memory or take it away. If a mapped file shrinks, an access raises `SIGBUS`, and a `&[u8]` into
//! memory that changes is undefined behaviour. This crate never makes a reference into memory that
//! other processes can change. An access to memory that is gone returns an [`Error`] of kind
//! [`Fault`](ErrorKind::Fault), which names the offset. A guarded load costs what a plain load costs,
//! and iteration runs at the speed of a slice.
//!
//! ```
//! use sharemap::{Mapping, MappingMut};
//!
//! # fn main() -> sharemap::Result<()> {
//! # let path = std::env::temp_dir().join(format!("sharemap-lib-{}", std::process::id()));
//! let map = MappingMut::create(&path, 4096)?;      // a file of 4096 bytes, with space allocated
//! map.view::<u32>()?.set(4, 7)?;                   // the fifth u32
//! map.flush()?;                                    // durable
//!
//! let map = Mapping::open(&path)?;                 // read-only
//! let numbers = map.view::<u32>()?;                // size and alignment checked once
//! assert_eq!(numbers.get(4)?, 7);
//! let sum = numbers.iter().try_fold(0, |sum, n| n.map(|n| sum + n))?;
//! assert_eq!(sum, 7);
//! # drop(map);
//! # std::fs::remove_file(&path)?;
//! # Ok(()) }
//! ```
//!
//! # What to use
//!
//! | To | use |
//! |---|---|
//! | read a file | [`Mapping`] |
//! | change a file in place | [`MappingMut`] |
//! | change a file's contents without writing them back | [`MappingCow`] |
//! | read a file of any size and kind, also a pipe | [`FileContents`] |
//! | walk a file that is larger than the address space to spend | [`SlidingWindow`] |
//! | allocate private memory, as a `[u8]` | [`AnonymousMapping`] |
//! | share raw bytes between processes | [`SharedMemory`], [`ReadOnlySharedMemory`] |
//! | share a value under a lock between processes | [`Shared`] of a [`Mutex`] or an [`RwLock`] |
//! | share values by name, and hash maps, in a heap that grows | [`Segment`], [`containers::HashMap`] |
//! | send messages between processes | [`channel::Spsc`] |
//! | wait for other processes | [`Condvar`], [`Semaphore`], [`CountingSemaphore`], [`Barrier`], [`Event`], [`Once`] |
//! | lock a file, or a range of one | [`FileLock`] |
//!
//! # The words
//!
//! - A **mapping** is a part of a file, or memory without a file, in the address space. All mappings
//!   dereference to [`Region`]. [`MapOptions`] sets offset, length, reservation and the rest.
//! - A **view** is a typed window on a mapping: [`View`] and [`ViewMut`]. Creating a view checks size
//!   and alignment once. Values come out by copy, and integers can be changed
//!   [atomically](Atomic). [`iter`](View::iter) folds as fast as a slice's iterator,
//!   [`values`](View::values) passes plain elements to a function, and [`blocks`](View::blocks) give a
//!   `for` loop the speed of a fold. An [`OwnedView`] keeps its mapping alive.
//! - An **element** is a value that a view shows: any type of [`Element`]. zerocopy's derives make
//!   elements of your structs and enums.
//! - A [`Reader`] and a [`Writer`] are streams over a mapping, with [`BufRead`](std::io::BufRead) and
//!   `lines()`.
//! - **Shared memory** is memory that several processes map, under a name or without one. A
//!   [`Location`] says where it lives.
//! - An **object** holds locks and their values. It has a header, and a name or a file of its own.
//!   [`Shared`] opens it. Several locks share one object as a tuple, an array, or a struct that
//!   derives [`SharedType`](derive@SharedType). If an owner dies, its lock is recovered, and the next
//!   owner is [notified](LockError).
//! - A **segment** is an object that is a heap, with named values, [containers](containers::HashMap), and objects
//!   that are found by their [`Offset`]: [`Segment`]. What it holds are values of [`Stored`] types.
//! - A **channel** is an object that carries messages from its senders to its receivers: [`channel`].
//! - An [`Error`] names the operation, the path, the offset and the cause. Match on its
//!   [`ErrorKind`].
//!
//! # Where to look
//!
//! | For | see |
//! |---|---|
//! | when changes are durable | [`MappingMut::flush`], [`MappingMut::flush_async`] |
//! | growth in place | [`MapOptions::reserve`], [`MappingMut::grow`], [`MappingMut::resize`] |
//! | a file that shrank | [`Region::is_current`], [`Mapping::remap`] |
//! | which pages are in memory | [`Region::residency`], [`Region::cache_status`], [`Region::populate`], [`Region::evict`] |
//! | many elements at random indices | [`View::gather`] |
//! | a byte or a run of bytes, the last one, or all | [`View::find`], [`find_bytes`](View::find_bytes), [`rfind`](View::rfind), [`find_iter`](View::find_iter) |
//! | access rights and lifetime of shared memory | [`SharedMemory`], [`SharedMemoryOptions`] |
//! | passing shared memory to other processes | [`SharedMemory::send`], [`SharedMemory::pass_to`] |
//! | an owner that died | [`LockError`], [`OwnerDiedGuard`] |
//! | a lock over large data | [`Mutex::zeroed`], [`RwLock::zeroed`] |
//! | participants, owners and waiters of an object | [`inspect::Inspection`] |
//! | proof that no process uses an object | [`inspect::ExclusiveClaim`] |
//! | removing exactly the file that was inspected | [`inspect::ObjectFile`] |
//! | what a segment contains, and whether it is whole | [`Segment::stats`], [`Segment::check`] |
//! | options of a segment | [`SharedOptions::create_new_segment`], [`SharedOptions::open_segment`] |
//! | growth of a segment, durability, what works read-only | [`Segment`] |
//! | hints to the system | [`Advice`], [`HugePages`] |
//! | a plain `&[u8]` | [`View::for_each_chunk`] (copies), [`Mapping::frozen`]; [`View::guarded_slice`] and [`View::as_slice`], which are `unsafe` |
//! | signals, and other fault handlers | [`guard`] |
//!
//! # Hazards, and what to do
//!
//! - *The file shrank, then grew again*: no access faults, and zeros are read. Compare
//!   [`is_current`](Region::is_current). A [`Reader`] compares the file's length after every copy.
//! - *Another process writes while you read*: aligned values of 1, 2, 4 and 8 bytes are old or new;
//!   larger ones may be half of each. Agree on a lock, or read twice.
//! - *A thread that blocks `SIGBUS`* dies on a fault: see [`guard`].
//! - *A full disk under a sparse file* is a fault at the store. Files made by this crate have their
//!   space allocated, unless [`sparse`](MapOptions::sparse) was set.
//!
//! # Platforms
//!
//! | | Linux | Windows 10 and later | macOS |
//! |---|---|---|---|
//! | x86-64, aarch64 | yes | yes | yes |
//! | other processors | every access is a system call; no [atomics](Atomic), no [`Shared`], no [`Segment`], no [`channel`] | - | - |
//! | [`SharedMemory::send`] | yes | no; [`duplicate_into`](SharedMemory::duplicate_into) | yes |
//! | [`SharedMemory::freeze`], seals | yes | no | no |
//! | [`Lifetime::Attached`] | no | yes | no |
//!
//! A feature that the system lacks is an error of kind [`Unsupported`](ErrorKind::Unsupported).
//! Accesses are also system calls where a fault cannot be recovered in place for another reason;
//! [`guard::recovery`] returns which of the two applies. Other operating systems do not compile.
//!
//! The crate needs Rust 1.85.
//!
//! # Features
//!
//! - `derive`, on by default: [`#[derive(Shareable)]`](derive@Shareable) for values under a lock,
//!   [`#[derive(SharedType)]`](derive@SharedType) for structs of locks, and [`zerocopy`]'s derives for
//!   [elements](Element). Without it there is no procedural macro to build.

pub mod channel;
pub mod containers;
mod error;
pub mod guard;
mod layout;
mod mapping;
mod peer;
mod segment;
mod shm;
mod sync;
mod sys;
#[cfg(test)]
mod testing;
mod view;

pub use error::{Error, ErrorKind, Result};
pub use layout::{Element, Pod, Shareable};
pub use mapping::{
    AnonymousMapping, FileContents, FileContentsOptions, MapOptions, Mapping, MappingCow,
    MappingMut, Region, Residency, SlidingWindow, page_size,
};
pub use segment::{
    BlockStats, CheckReport, Damage, NamedKind, Offset, Segment, SegmentObject, SegmentStats,
    Stored,
};
#[cfg(feature = "derive")]
pub use sharemap_derive::{Shareable, SharedType};
pub use shm::{
    InheritableHandle, Location, NamedObject, ReadOnlySharedMemory, SharedMemory,
    SharedMemoryOptions, UnlinkOnDrop, unlink,
};
pub use sync::inspect;
pub use sync::{
    Barrier, BarrierHandle, BarrierMember, Condvar, CondvarGuard, CondvarHandle, CountingSemaphore,
    CountingSemaphoreHandle, Event, EventHandle, FileLock, FileLockGuard, LockError, LockResult,
    LockTarget, Mutex, MutexGuard, MutexHandle, MutexSliceGuard, MutexSliceHandle, Once,
    OnceHandle, OnceState, OwnerDiedGuard, RwLock, RwLockHandle, RwLockReadGuard,
    RwLockSliceHandle, RwLockSliceReadGuard, RwLockSliceUpgradableGuard, RwLockSliceWriteGuard,
    RwLockUpgradableGuard, RwLockWriteGuard, Semaphore, SemaphoreHandle, SemaphorePermit, Shared,
    SharedOptions, SharedType, WaitTimeoutResult,
};
pub use sys::{
    Advice, AsDescriptor, CacheStatus, HugePages, Lifetime, PageState, Protection, Seals,
};
pub use view::{
    Atomic, AtomicElement, Block, Blocks, FindBytesIter, FindIter, GuardedSlice, Iter, OwnedView,
    OwnedViewMut, Reader, Values, View, ViewMut, Writer,
};
/// The crate `zerocopy`. Its derives make a struct or enum an [`Element`].
///
/// The derives come with the feature `derive`. In a crate that does not depend on zerocopy itself,
/// add `#[zerocopy(crate = "sharemap::zerocopy")]` to the type.
pub use zerocopy;

/// The names that derived code uses.
#[doc(hidden)]
pub mod __private {
    pub use crate::layout::Layout;
    pub use crate::sync::{LayoutReader, LayoutSize, LayoutWriter};
}

// Derived code in the tests of this crate refers to it as `sharemap`.
#[cfg(test)]
extern crate self as sharemap;

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
mod compile_fail;
