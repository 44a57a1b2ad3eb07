//! That nobody has an object, on the kernel's word.

use crate::error::{Error, ErrorKind, Result};
use crate::peer::Look;
use crate::shm::{Location, Place};
use crate::sys::{self, alone};

/// That no other process has an object, nor any other part of this one: the kernel says so. While
/// the value lives, whoever opens the object has to wait, or is refused: keep it for a moment only,
/// and open nothing of it meanwhile.
///
/// ```no_run
/// use sharemap::inspect::Unused;
///
/// # fn main() -> sharemap::Result<()> {
/// match Unused::of("jobs")? {
///     Some(unused) => assert!(unused.remove()?),
///     None => println!("somebody has it"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Unused {
    alone: alone::Alone,
}

impl Unused {
    /// Asks the kernel whether anybody has the object, raw or with a header: a file of memory or of
    /// disk. `None`: somebody has it, as far as can be told from here.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) where the kernel does not tell: on macOS, and on
    /// network file systems; [`PermissionDenied`](ErrorKind::PermissionDenied) for those who do not
    /// own it; [`NotFound`](ErrorKind::NotFound), [`NotAnObject`](ErrorKind::NotAnObject). On overlayfs
    /// also [`WrongVersion`](ErrorKind::WrongVersion), [`Malformed`](ErrorKind::Malformed) and
    /// [`Truncated`](ErrorKind::Truncated), where only the object itself would tell.
    pub fn of(location: impl Into<Location>) -> Result<Option<Self>> {
        let location = location.into();
        let named = |error: Error| error.with_path(location.path());
        let path = match location.checked()? {
            Place::Name(name) => sys::shm::path(name),
            Place::File(path) => path.clone(),
            Place::Anonymous => {
                return Err(Error::new(ErrorKind::NotFound, "ask who has")
                    .with_detail("what has no name goes by itself"));
            }
        };
        let Some(alone) = alone::Alone::take(&path).map_err(named)? else { return Ok(None) };
        // Whoever is attached has it mapped, and may have closed it.
        if !alone.sees_mappings()
            && !Look::is_nobodys(alone.file(), location.path(), Some(path)).map_err(named)?
        {
            return Ok(None);
        }
        Ok(Some(Self { alone }))
    }

    /// Whether that includes mappings of raw memory. On overlayfs it does not: who takes part in an
    /// object with a header is known, and whether somebody maps the file without that is not.
    #[must_use]
    pub fn sees_mappings(&self) -> bool {
        self.alone.sees_mappings()
    }

    /// Takes the object's name away, unless somebody has come who waits for it: then `false`.
    ///
    /// # Errors
    /// [`PermissionDenied`](ErrorKind::PermissionDenied), [`NotFound`](ErrorKind::NotFound).
    pub fn remove(self) -> Result<bool> {
        self.alone.remove()
    }
}
