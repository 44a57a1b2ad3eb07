//! Examples of wrong uses that the compiler rejects. This module is only tested as documentation, and adds no
//! code to the crate.
//!
//! A view does not outlive its mapping:
//!
//! ```compile_fail,E0597
//! let view = {
//!     let map = sharemap::MappingMut::anonymous(4096).unwrap();
//!     map.bytes()
//! };
//! view.get(0).unwrap();
//! ```
//!
//! ```compile_fail,E0505
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! let words = map.view::<u64>().unwrap();
//! drop(map);
//! words.get(0).unwrap();
//! ```
//!
//! Iterators, atomics and streams do not outlive the mapping either:
//!
//! ```compile_fail,E0505
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! let mut iter = map.bytes().iter();
//! map.close().unwrap();
//! iter.next();
//! ```
//!
//! ```compile_fail,E0505
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! let word = map.view::<u64>().unwrap().atomic(0).unwrap();
//! drop(map);
//! word.load(std::sync::atomic::Ordering::SeqCst).unwrap();
//! ```
//!
//! ```compile_fail,E0505
//! use std::io::Read;
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! let mut reader = map.reader();
//! drop(map);
//! reader.read(&mut [0; 10]).unwrap();
//! ```
//!
//! The iterator that `values` passes to its function does not outlive the call, which reports its fault:
//!
//! ```compile_fail,E0521
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! let mut kept = None;
//! map.bytes().values(|values| kept = Some(values)).unwrap();
//! ```
//!
//! A borrowed view cannot be moved to a thread that may outlive the mapping. An owned view can:
//!
//! ```compile_fail,E0597
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! let view = map.bytes();
//! std::thread::spawn(move || view.get(0).unwrap());
//! ```
//!
//! ```
//! let map = std::sync::Arc::new(sharemap::MappingMut::anonymous(4096).unwrap());
//! let view = map.owned_view::<u8>().unwrap();
//! drop(map);
//! std::thread::spawn(move || view.as_view().get(0).unwrap()).join().unwrap();
//! ```
//!
//! A view of elements that are not `Send` cannot be moved to another thread, whether it is owned or not:
//!
//! ```compile_fail,E0277
//! use sharemap::zerocopy::{self, Immutable, IntoBytes, KnownLayout, TryFromBytes};
//! #[derive(Clone, Copy, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
//! #[repr(C)]
//! struct Local(u8, std::marker::PhantomData<*const ()>);
//!
//! let map = std::sync::Arc::new(sharemap::MappingMut::anonymous(4096).unwrap());
//! let view = map.owned_view::<Local>().unwrap();
//! std::thread::spawn(move || drop(view));
//! ```
//!
//! ```compile_fail,E0277
//! use sharemap::zerocopy::{self, Immutable, IntoBytes, KnownLayout, TryFromBytes};
//! #[derive(Clone, Copy, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
//! #[repr(C)]
//! struct Local(u8, std::marker::PhantomData<*const ()>);
//!
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! let view = map.view::<Local>().unwrap();
//! std::thread::scope(|scope| drop(scope.spawn(move || drop(view))));
//! ```
//!
//! ```
//! use sharemap::zerocopy::{self, Immutable, IntoBytes, KnownLayout, TryFromBytes};
//! #[derive(Clone, Copy, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
//! #[repr(C)]
//! struct Anywhere(u8, std::marker::PhantomData<u8>);
//!
//! let map = std::sync::Arc::new(sharemap::MappingMut::anonymous(4096).unwrap());
//! let view = map.owned_view::<Anywhere>().unwrap();
//! std::thread::spawn(move || drop(view));
//! ```
//!
//! Methods that may move the mapped addresses cannot be called while views exist:
//!
//! ```compile_fail,E0502
//! let mut map = sharemap::MappingMut::anonymous(4096).unwrap();
//! let view = map.bytes();
//! map.remap().unwrap();
//! view.get(0).unwrap();
//! ```
//!
//! ```compile_fail,E0502
//! let mut map = sharemap::MappingMut::anonymous(4096).unwrap();
//! let view = map.bytes();
//! map.resize(8192).unwrap();
//! view.get(0).unwrap();
//! ```
//!
//! ```compile_fail,E0499
//! # fn main() -> sharemap::Result<()> {
//! let mut window = sharemap::SlidingWindow::open("large.bin", 1 << 20)?;
//! let here = window.view::<u8>(0, 100)?;
//! let there = window.view::<u8>(1 << 30, 100)?;
//! here.get(0)?;
//! # Ok(()) }
//! ```
//!
//! A private mapping has no `flush`, and a view of a read-only mapping has no `set`:
//!
//! ```compile_fail,E0624
//! sharemap::MappingCow::open("a.bin").unwrap().flush().unwrap();
//! ```
//!
//! ```compile_fail,E0599
//! sharemap::Mapping::open("a.bin").unwrap().bytes().set(0, 1).unwrap();
//! ```
//!
//! Types with padding, with pointers, or of unknown layout cannot be elements:
//!
//! ```compile_fail,E0277
//! sharemap::Mapping::open("a.bin").unwrap().view::<(u8, u32)>().unwrap();
//! ```
//!
//! ```compile_fail,E0277
//! sharemap::Mapping::open("a.bin").unwrap().view::<&str>().unwrap();
//! ```
//!
//! ```compile_fail,E0277
//! sharemap::Mapping::open("a.bin").unwrap().view::<std::cell::Cell<u32>>().unwrap();
//! ```
//!
//! Not every byte is a valid `bool`, so bytes cannot be read into a slice of them:
//!
//! ```compile_fail,E0277
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! map.view::<bool>().unwrap().read_at(0, &mut [false; 4]).unwrap();
//! ```
//!
//! Atomic elements are integers of 32 or 64 bits:
//!
//! ```compile_fail,E0599
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! map.view::<u16>().unwrap().atomic(0).unwrap();
//! ```
//!
//! A block must have at least one element:
//!
//! ```compile_fail,E0080
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! map.bytes().blocks::<0>();
//! ```
//!
//! A shared type must have the same meaning in every process. It cannot contain `usize`, pointers, or types
//! without a defined layout:
//!
//! ```compile_fail,E0277
//! sharemap::Shared::create_new("a", || sharemap::Mutex::new(0_usize)).unwrap();
//! ```
//!
//! ```compile_fail,E0277
//! #[derive(sharemap::Shareable)]
//! #[repr(C)]
//! struct Entry {
//!     count: usize,
//! }
//! ```
//!
//! ```compile_fail,E0277
//! #[derive(sharemap::Shareable)]
//! #[repr(C)]
//! struct Named {
//!     name: &'static u8,
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(sharemap::Shareable)]
//! enum Unsized {
//!     A,
//!     B,
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(sharemap::Shareable)]
//! #[repr(usize)]
//! enum OfThisMachine {
//!     A,
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(sharemap::Shareable)]
//! #[repr(u8)]
//! enum WithFields {
//!     A(u8),
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(sharemap::Shareable)]
//! #[repr(C)]
//! union Either {
//!     a: u32,
//!     b: f32,
//! }
//! ```
//!
//! A struct of locks must have named fields that are all locks, no type parameters, and no `repr`. It cannot
//! derive `Shareable`, because it is not a value:
//!
//! ```compile_fail,E0277
//! #[derive(sharemap::SharedType)]
//! struct Mixed {
//!     jobs: sharemap::Mutex<u32>,
//!     total: u32,
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(sharemap::SharedType)]
//! struct Nameless(sharemap::Mutex<u32>);
//! ```
//!
//! ```compile_fail
//! #[derive(sharemap::SharedType)]
//! struct Of<T> {
//!     value: sharemap::Mutex<T>,
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(sharemap::SharedType)]
//! struct Nothing {}
//! ```
//!
//! ```compile_fail
//! #[derive(sharemap::SharedType)]
//! #[repr(C)]
//! struct Ordered {
//!     jobs: sharemap::Mutex<u32>,
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(sharemap::SharedType)]
//! enum Either {
//!     A,
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(sharemap::Shareable)]
//! struct Locks {
//!     jobs: sharemap::Mutex<u32>,
//! }
//! ```
//!
//! A field of such a struct cannot have the name of a method of [`Shared`](crate::Shared), which would hide
//! the field:
//!
//! ```compile_fail
//! #[derive(sharemap::SharedType)]
//! struct State {
//!     cancel: sharemap::Event,
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(sharemap::SharedType)]
//! struct State {
//!     resume: sharemap::Event,
//! }
//! ```
//!
//! ```compile_fail
//! #[derive(sharemap::SharedType)]
//! struct State {
//!     file: sharemap::Event,
//! }
//! ```
//!
//! ```
//! #[derive(sharemap::SharedType)]
//! struct State {
//!     cancelled: sharemap::Event,
//! }
//! ```
//!
//! A view that a guard returns does not outlive the guard:
//!
//! ```compile_fail,E0505
//! let lock = sharemap::Mutex::<[u8]>::zeroed(100);
//! let lock = sharemap::Shared::create_new("a", || lock).unwrap();
//! let guard = lock.lock().unwrap();
//! let view = guard.view();
//! drop(guard);
//! view.set(0, 1).unwrap();
//! ```
//!
//! A read guard gives no write access:
//!
//! ```compile_fail,E0599
//! let lock = sharemap::RwLock::<[u8]>::zeroed(100);
//! let lock = sharemap::Shared::create_new("a", || lock).unwrap();
//! lock.read().unwrap().view().set(0, 1).unwrap();
//! ```
//!
//! A guard cannot be moved to another thread, because the lock records the thread that acquired it:
//!
//! ```compile_fail,E0277
//! let lock = sharemap::Mutex::new(0_u32);
//! let lock = sharemap::Shared::create_new("a", || lock).unwrap();
//! std::thread::scope(|scope| {
//!     let guard = lock.lock().unwrap();
//!     scope.spawn(move || drop(guard));
//! });
//! ```
