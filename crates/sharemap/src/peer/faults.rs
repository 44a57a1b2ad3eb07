//! The faults of several accesses, with one test for all.

/// The first failure of some accesses to [`Window`](super::Window)s.
///
/// Accesses return no error, as a test after each costs time. Loads that failed return arbitrary values, and accesses
/// after a failure may or may not be made. Callers test for failures before they rely on a loaded value, and before a
/// step that may follow only after the earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// The address of the first fault; 0: none.
    pub(super) address: usize,
}

impl Faults {
    /// Returns `true` if no access has failed.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.address == 0
    }

    /// Returns the value of an access to a simulated object, or counts its error as a fault. Makes no access after one.
    #[cfg(test)]
    pub(super) fn keep<T: Default>(
        &mut self,
        access: impl FnOnce() -> crate::error::Result<T>,
    ) -> T {
        if !self.is_empty() {
            return T::default();
        }
        access().unwrap_or_else(|_| {
            self.address = 1;
            T::default()
        })
    }
}
