//! Atomic words in guarded memory.

#![allow(unsafe_code, reason = "guarded accesses")]

use std::sync::atomic::Ordering;

use crate::sys::arch;

/// An integer with atomic operations in guarded memory.
///
/// The address must be aligned and lie in a span of this crate's own. A result is undefined if `fault`
/// is set.
///
/// Loads have at least acquire ordering, and stores at least release ordering. A sequentially consistent
/// store is an exchange, and all other operations are sequentially consistent. With such stores the loads
/// are sequentially consistent, too: `mov` on x86-64, `ldar` on aarch64.
pub trait AtomicWord: Copy + PartialEq {
    /// Loads the value.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn load(from: *const u8, fault: &mut usize) -> Self;
    /// Stores `value`.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn store(to: *mut u8, value: Self, order: Ordering, fault: &mut usize);
    /// Stores `value`, and returns the previous value.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn swap(at: *mut u8, value: Self, fault: &mut usize) -> Self;
    /// Stores `new` if the value equals `current`, and returns the previous value.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn compare_exchange(at: *mut u8, current: Self, new: Self, fault: &mut usize) -> Self;
    /// Stores `lead` at `LEAD` behind the address, then a word of 0 at the address, and loads the word of 32 bits at
    /// `GATE` behind it. The load may overtake the stores.
    ///
    /// # Safety
    /// As the trait says, for all three places.
    unsafe fn store_and_release<const LEAD: u64, const GATE: u64>(
        at: *mut u8,
        lead: Self,
        fault: &mut usize,
    ) -> u32;
    /// Adds, wrapping around on overflow, and returns the previous value.
    ///
    /// # Safety
    /// As the trait says.
    unsafe fn fetch_add(at: *mut u8, value: Self, fault: &mut usize) -> Self;

    /// Returns the negated value, so that adding it subtracts this one.
    fn negated(self) -> Self;
    /// Returns the bitwise or.
    fn or(self, other: Self) -> Self;
    /// Returns the bitwise and.
    fn and(self, other: Self) -> Self;
    /// Returns the bitwise exclusive or.
    fn xor(self, other: Self) -> Self;

    /// Replaces the value by the result of `change`, and returns the previous value.
    ///
    /// # Safety
    /// As the trait says.
    #[inline]
    unsafe fn fetch_update(at: *mut u8, change: impl Fn(Self) -> Self, fault: &mut usize) -> Self {
        // SAFETY: as the trait says.
        unsafe {
            let mut current = Self::load(at, fault);
            loop {
                if *fault != 0 {
                    return current;
                }
                let seen = Self::compare_exchange(at, current, change(current), fault);
                if seen == current {
                    return seen;
                }
                current = seen;
            }
        }
    }
}

macro_rules! words {
    ($($word:ty as $int:ty: $load:ident $store:ident $swap:ident $compare_exchange:ident $fetch_add:ident $release:ident;)*) => { $(
        impl AtomicWord for $word {
            #[inline(always)]
            unsafe fn load(from: *const u8, fault: &mut usize) -> Self {
                // SAFETY: as the trait says.
                unsafe { arch::$load(from, fault) as Self }
            }

            #[inline(always)]
            unsafe fn store(to: *mut u8, value: Self, order: Ordering, fault: &mut usize) {
                // SAFETY: as the trait says.
                unsafe {
                    if order == Ordering::SeqCst {
                        arch::$swap(to, value as $int, fault);
                    } else {
                        arch::$store(to, value as $int, fault);
                    }
                }
            }

            #[inline(always)]
            unsafe fn swap(at: *mut u8, value: Self, fault: &mut usize) -> Self {
                // SAFETY: as the trait says.
                unsafe { arch::$swap(at, value as $int, fault) as Self }
            }

            #[inline(always)]
            unsafe fn compare_exchange(at: *mut u8, current: Self, new: Self, fault: &mut usize) -> Self {
                // SAFETY: as the trait says.
                unsafe { arch::$compare_exchange(at, current as $int, new as $int, fault) as Self }
            }

            #[inline(always)]
            unsafe fn store_and_release<const LEAD: u64, const GATE: u64>(
                at: *mut u8,
                lead: Self,
                fault: &mut usize,
            ) -> u32 {
                // SAFETY: as the trait says.
                unsafe { arch::$release::<LEAD, GATE>(at, lead as $int, fault) }
            }

            #[inline(always)]
            unsafe fn fetch_add(at: *mut u8, value: Self, fault: &mut usize) -> Self {
                // SAFETY: as the trait says.
                unsafe { arch::$fetch_add(at, value as $int, fault) as Self }
            }

            fn negated(self) -> Self {
                self.wrapping_neg()
            }

            fn or(self, other: Self) -> Self {
                self | other
            }

            fn and(self, other: Self) -> Self {
                self & other
            }

            fn xor(self, other: Self) -> Self {
                self ^ other
            }
        }
    )* };
}

words! {
    u32 as u32: atomic_load_32 atomic_store_32 atomic_swap_32 atomic_compare_exchange_32 atomic_fetch_add_32 store_and_release_32;
    i32 as u32: atomic_load_32 atomic_store_32 atomic_swap_32 atomic_compare_exchange_32 atomic_fetch_add_32 store_and_release_32;
    u64 as u64: atomic_load_64 atomic_store_64 atomic_swap_64 atomic_compare_exchange_64 atomic_fetch_add_64 store_and_release_64;
    i64 as u64: atomic_load_64 atomic_store_64 atomic_swap_64 atomic_compare_exchange_64 atomic_fetch_add_64 store_and_release_64;
}
