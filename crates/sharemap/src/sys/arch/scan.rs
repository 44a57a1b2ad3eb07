//! What a scan is compiled for: the vectors of the target, and wider ones that only this processor has.

#![allow(unsafe_code, reason = "declares what the processors define")]

/// The vectors by which a scan loads guarded memory.
pub(crate) trait Vectors {
    /// The bytes that the largest site loads.
    type Block: Copy;
    /// The bytes of a smaller site, for what is left of a run that is no multiple of a block.
    type Half: Copy;

    /// # Safety
    /// As for plain loads; the processor must have the vectors.
    unsafe fn load_block(address: *const u8, fault: &mut usize) -> Self::Block;

    /// # Safety
    /// As for plain loads; the processor must have the vectors.
    unsafe fn load_half(address: *const u8, fault: &mut usize) -> Self::Half;
}

/// A loop over guarded memory that [`scan`](super::scan()) compiles once for each kind of vectors.
///
/// Whatever the loop works on belongs to the value. If a closure came by reference, its captures would
/// be loaded and stored for each element.
pub(crate) trait Scan {
    type Output;

    /// Runs the loop. Implementations are `#[inline(always)]`, to be compiled for the vectors.
    ///
    /// # Safety
    /// The processor must have the vectors.
    unsafe fn run<V: Vectors>(self) -> Self::Output;
}
