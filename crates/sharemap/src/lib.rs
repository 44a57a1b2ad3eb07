//! Memory-mapped files, safe without `unsafe` in your code, and as fast as a slice.
//!
//! A file mapped into memory is read by plain loads and written by plain stores; the system fetches
//! and stores pages behind the scenes. What makes that dangerous elsewhere is that others can change
//! the memory, or take it away: a file that shrinks under a mapping is `SIGBUS`, and a `&[u8]` into
//! it is undefined behaviour. Here nobody gets a reference into memory that others can change, and
//! memory that is gone is an [`Error`] of kind [`Fault`](ErrorKind::Fault), with the offset.
//!
//! ```
//! use sharemap::{Mapping, MappingMut};
//!
//! # fn main() -> sharemap::Result<()> {
//! # let path = std::env::temp_dir().join(format!("sharemap-lib-{}", std::process::id()));
//! let map = MappingMut::create(&path, 4096)?;      // a file of 4096 bytes, with space set aside
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
//! # The nouns
//!
//! - A **mapping** is a part of a file, or memory without one, in the address space:
//!   [`Mapping`] (read-only), [`MappingMut`] (shared with the file), [`MappingCow`] (edits stay
//!   private), [`AnonymousMapping`] (private memory, plainly `&mut [u8]`). What they have in common
//!   is [`Region`]; how to make one in any other way than whole, [`MapOptions`].
//! - **Shared memory** is memory that processes have in common, under a name or without one:
//!   [`SharedMemory`] and [`ReadOnlySharedMemory`], which are mappings with a [`Location`].
//! - A **lock** between processes lives in an object of its own, by name or in a file: [`Shared`] of a
//!   [`Mutex`], [`RwLock`], [`Condvar`], [`Semaphore`], [`CountingSemaphore`], [`Barrier`], [`Event`], [`Once`], or
//!   several of them, as a tuple, an array, or a struct that derives
//!   [`Shareable`](derive@Shareable). It survives its owner: who comes next is [told](LockError). [`FileLock`] is the
//!   system's own, on any file.
//! - A **view** is a typed window on a mapping: [`View`] and [`ViewMut`]. Bounds and alignment are
//!   checked once, values come out by copy, integers can be changed [atomically](Atomic). Its
//!   [`iter`](View::iter) folds as fast as a slice's, [`blocks`](View::blocks) give a `for` loop the
//!   same speed. [`OwnedView`] keeps its mapping alive.
//! - An **element** is what a view shows: any type of [`Element`], which zerocopy's derives make of
//!   your structs and enums.
//! - A [`Reader`] and a [`Writer`] are streams over a mapping: [`BufRead`](std::io::BufRead), `lines()`.
//! - A [`SlidingWindow`] walks a file larger than one wants mapped; [`FileContents`] reads a small file,
//!   and what cannot be mapped, and maps a large one.
//! - An [`Error`] names the operation, the path, the offset, the cause; [`ErrorKind`] is what to match.
//!
//! # Where to look
//!
//! | For | see |
//! |---|---|
//! | what is durable when | [`MappingMut::flush`], [`MappingMut::flush_async`] |
//! | growth in place | [`MapOptions::reserve`], [`MappingMut::grow`], [`MappingMut::resize`] |
//! | a file that shrank | [`Region::is_current`], [`Mapping::remap`] |
//! | what is in memory | [`Region::residency`], [`Region::cache_status`], [`Region::populate`], [`Region::evict`] |
//! | many elements at random | [`View::gather`] |
//! | who may have shared memory, how long it lives | [`SharedMemory`], [`SharedMemoryOptions`] |
//! | handing it to other processes | [`SharedMemory::send`], [`SharedMemory::pass_to`] |
//! | a holder that died | [`LockError`], [`OwnerDiedGuard`] |
//! | a lock over large data | [`Mutex::zeroed`], [`RwLock::zeroed`] |
//! | who is attached, who holds a lock, who waits | [`inspect::Inspection`] |
//! | that nobody has an object any more | [`inspect::ExclusiveClaim`] |
//! | to remove exactly the file that was judged | [`inspect::ObjectFile`] |
//! | hints to the system | [`Advice`], [`HugePages`] |
//! | a plain `&[u8]` | [`Mapping::frozen`], or [`View::as_slice`], which is `unsafe` and says why |
//! | signals, and other handlers | [`guard`] |
//!
//! # Hazards, and what to do
//!
//! - *The file shrank, then grew again*: nothing faults, and zeros are read. Compare
//!   [`is_current`](Region::is_current); a [`Reader`] does, with every refill.
//! - *Others write while you read*: values of up to eight bytes, aligned, are old or new; larger ones
//!   may be half of each. Agree on a lock, or read twice.
//! - *A thread that blocks SIGBUS* dies on a fault: see [`guard`].
//! - *A full disk under a sparse file* is a fault at the store. Files made here have their space set
//!   aside, unless [`sparse`](MapOptions::sparse) was asked for.
//!
//! # Features
//!
//! - `derive`, on by default: `#[derive(`[`Shareable`](derive@Shareable)`)]`, for values and for structs
//!   of locks, and [`zerocopy`]'s derives, for [elements](Element).
//!
//! Linux, Windows and macOS, on x86-64 and aarch64; on other processors every access is a system
//! call.

mod error;
pub mod guard;
mod layout;
mod mapping;
#[allow(dead_code, reason = "the layers above are to come")]
mod peer;
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
    Atomic, AtomicElement, Block, Blocks, Iter, OwnedView, OwnedViewMut, Reader, View, ViewMut,
    Writer,
};
/// The crate whose derives make an [`Element`] of a struct or enum. Its derives come with the feature
/// `derive`; without a dependency on zerocopy itself, tell them where to find it:
/// `#[zerocopy(crate = "sharemap::zerocopy")]`.
pub use zerocopy;

/// What derived code names.
#[doc(hidden)]
pub mod __private {
    pub use crate::layout::Layout;
    pub use crate::sync::{LayoutReader, LayoutSize, LayoutWriter};
}

// The tests derive what users derive.
#[cfg(test)]
extern crate self as sharemap;

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
mod compile_fail;
