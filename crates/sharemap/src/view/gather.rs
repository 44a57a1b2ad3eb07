//! Reading elements at many indices.

use super::View;
use crate::error::{Error, ErrorKind, Result};
use crate::guard;
use crate::layout::Element;

/// The number of elements that are prefetched ahead of the current one: about the number of cache
/// lines that a processor fetches at a time.
const AHEAD: usize = 32;

impl<T: Element> View<'_, T> {
    /// Copies the elements at `indices` into `out`. Indices may be in any order, and may repeat.
    ///
    /// For elements that are far apart in memory this is faster than calls of [`get`](View::get), and
    /// than a loop over a slice, because many elements are prefetched at a time. For elements in the
    /// processor's caches `get` is faster.
    ///
    /// # Errors
    /// - `WrongSize` - `indices` and `out` have different lengths; nothing is copied.
    ///
    /// Otherwise as for [`get`](View::get). `completed` of the error returns the number of elements
    /// that were read.
    ///
    /// # Examples
    /// ```
    /// # fn main() -> sharemap::Result<()> {
    /// # let map = sharemap::MappingMut::anonymous(4096)?;
    /// let view = map.view::<u64>()?;
    /// view.set(400, 7)?;
    /// let mut found = [0; 3];
    /// view.gather(&[400, 3, 400], &mut found)?;
    /// assert_eq!(found, [7, 0, 7]);
    /// # Ok(()) }
    /// ```
    pub fn gather(&self, indices: &[usize], out: &mut [T]) -> Result<()> {
        if indices.len() != out.len() {
            return Err(Error::new(ErrorKind::WrongSize, "gather from")
                .with_path(self.backing.path())
                .with_length(out.len() as u64)
                .with_detail(format!(
                    "there are {} indices for {} elements",
                    indices.len(),
                    out.len()
                )));
        }
        for &index in indices.iter().take(AHEAD) {
            self.prefetch(index);
        }
        let ahead = indices.get(AHEAD..).unwrap_or_default();
        let (early, last) = indices.split_at(ahead.len());
        let (out, rest) = out.split_at_mut(ahead.len());
        for (done, ((&index, out), &later)) in early.iter().zip(out).zip(ahead).enumerate() {
            self.prefetch(later);
            *out = self.get(index).map_err(|error| error.with_completed(done))?;
        }
        for (done, (&index, out)) in (ahead.len()..).zip(last.iter().zip(rest)) {
            *out = self.get(index).map_err(|error| error.with_completed(done))?;
        }
        Ok(())
    }

    /// Prefetches the element at `index`, which may be out of bounds: a prefetch never faults.
    #[inline(always)]
    fn prefetch(&self, index: usize) {
        guard::prefetch::<0>(self.base.wrapping_add(index.wrapping_mul(size_of::<T>())));
    }
}
