//! Elements from many places at once.

use super::View;
use crate::error::{Error, ErrorKind, Result};
use crate::guard;
use crate::layout::Element;

/// Elements asked of memory ahead of the one that is read: about as many lines as a processor waits
/// for at a time.
const AHEAD: usize = 32;

impl<T: Element> View<'_, T> {
    /// Fills `out` with the elements at `indices`, which may be in any order, and any of them more
    /// than once.
    ///
    /// Where the elements are far apart in memory this is faster than one [`get`](View::get) after
    /// the other, and than a loop over a slice: many of them are asked of memory at a time. What is
    /// in the processor's own caches comes faster by `get`.
    ///
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
    ///
    /// # Errors
    /// [`WrongSize`](ErrorKind::WrongSize) if there are not as many indices as places in `out`; else as for
    /// [`get`](View::get), with the number of elements that were read in
    /// [`completed`](Error::completed).
    pub fn gather(&self, indices: &[usize], out: &mut [T]) -> Result<()> {
        if indices.len() != out.len() {
            return Err(Error::new(ErrorKind::WrongSize, "gather from")
                .with_path(self.backing.path())
                .with_length(out.len() as u64)
                .with_detail(format!("there are {} indices", indices.len())));
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

    /// Any index: what is not there is not fetched.
    #[inline(always)]
    fn prefetch(&self, index: usize) {
        guard::prefetch(self.base.wrapping_add(index.wrapping_mul(size_of::<T>())));
    }
}
