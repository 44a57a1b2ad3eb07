//! What the compiler refuses, so that it cannot go wrong. Examples only: nothing is compiled in.
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
//! Nor do its iterators, atomics and streams:
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
//! A borrowed view does not go to a thread that may outlive it; an owned one does:
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
//! A view of elements that stay with their thread does not go to another, owned or not:
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
//! What may move the addresses wants the mapping alone, without views:
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
//! A private mapping has no `flush`, and a read-only one no `set`:
//!
//! ```compile_fail,E0624
//! sharemap::MappingCow::open("a.bin").unwrap().flush().unwrap();
//! ```
//!
//! ```compile_fail,E0599
//! sharemap::Mapping::open("a.bin").unwrap().bytes().set(0, 1).unwrap();
//! ```
//!
//! Elements with padding, with pointers, or of unknown layout do not lie in files:
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
//! Not every bit pattern is a `bool`: no slices of them, and no reading into them.
//!
//! ```compile_fail,E0277
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! map.view::<bool>().unwrap().read_at(0, &mut [false; 4]).unwrap();
//! ```
//!
//! Atomics are integers of 32 and 64 bits:
//!
//! ```compile_fail,E0599
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! map.view::<u16>().unwrap().atomic(0).unwrap();
//! ```
//!
//! A block has at least one element:
//!
//! ```compile_fail,E0080
//! let map = sharemap::MappingMut::anonymous(4096).unwrap();
//! map.bytes().blocks::<0>();
//! ```
//!
//! What only one process understands is not shared: no `usize`, no pointers, and no types whose
//! layout nobody has promised.
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
//! A struct of locks has only locks for fields, with names, no type parameters and no `repr`; and a struct
//! of locks is no value.
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
//! Its fields do not hide behind the methods of [`Shared`](crate::Shared), one of which cancels all
//! waits:
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
//! What a guard shows is seen while the lock is had:
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
//! and who only reads changes nothing:
//!
//! ```compile_fail,E0599
//! let lock = sharemap::RwLock::<[u8]>::zeroed(100);
//! let lock = sharemap::Shared::create_new("a", || lock).unwrap();
//! lock.read().unwrap().view().set(0, 1).unwrap();
//! ```
//!
//! A guard stays with its thread, which is the one that the lock names:
//!
//! ```compile_fail,E0277
//! let lock = sharemap::Mutex::new(0_u32);
//! let lock = sharemap::Shared::create_new("a", || lock).unwrap();
//! std::thread::scope(|scope| {
//!     let guard = lock.lock().unwrap();
//!     scope.spawn(move || drop(guard));
//! });
//! ```
