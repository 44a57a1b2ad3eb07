//! A window that maps a part of a large file at a time.

use std::fmt;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::layout::Element;
use crate::mapping::plan::{self, Plan};
use crate::mapping::{MapOptions, Region};
use crate::sys::{self, Access, AsDescriptor, Create, OpenRequest};
use crate::view::View;

/// A read-only window that slides over a file, mapping a limited number of bytes at a time.
///
/// A view borrows the window mutably, so the window cannot move while the view exists.
///
/// # Examples
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("sharemap-window-{}", std::process::id()));
/// # std::fs::write(&path, vec![7; 100_000])?;
/// use sharemap::SlidingWindow;
///
/// let mut window = SlidingWindow::open(&path, 16 << 10)?;
/// let mut sum = 0;
/// for offset in (0..window.len()).step_by(1000) {
///     sum += u64::from(window.view::<u8>(offset, 1)?.get(0)?);
/// }
/// assert_eq!(sum, 700);
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
pub struct SlidingWindow {
    region: Region,
    window: usize,
    file_len: u64,
}

impl SlidingWindow {
    /// Opens a file, of which at most `window` bytes (in whole pages) are mapped at a time.
    ///
    /// # Errors
    /// - `ZeroLength` - `window` is zero.
    ///
    /// Otherwise as for [`MapOptions::open`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-window-open-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100000])?;
    /// let mut window = SlidingWindow::open(&path, 16384)?;
    /// let mut sum = 0_u64;
    /// for offset in (0..window.len()).step_by(1000) {
    ///     sum += u64::from(window.view::<u8>(offset, 1)?.get(0)?);
    /// }
    /// assert_eq!(sum, 700);
    /// assert!(window.mapped() < 100_000);
    /// # drop(window);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn open(path: impl AsRef<Path>, window: usize) -> Result<Self> {
        let path = path.as_ref();
        let request = OpenRequest {
            write: false,
            create: Create::Never,
            exclusive: false,
            timeout: sys::LEASE_BREAK,
        };
        let file = sys::file::open(path, request).map_err(|e| e.with_path(Some(path)))?;
        Self::over(file, Some(path), window, MapOptions::new().plan(Access::Read))
    }

    /// Creates a window over the file of an open descriptor, like [`open`](Self::open). The caller may
    /// close the descriptor afterwards.
    ///
    /// # Errors
    /// - `ZeroLength` - `window` is zero.
    ///
    /// Otherwise as for [`MapOptions::map`].
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-window-map-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100000])?;
    /// let mut window = SlidingWindow::map(std::fs::File::open(&path)?, 16384)?;
    /// assert_eq!(window.view::<u8>(99_999, 1)?.get(0)?, 7);
    /// # drop(window);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn map(file: impl AsDescriptor, window: usize) -> Result<Self> {
        let plan = MapOptions::new().plan(Access::Read);
        Self::over(file.duplicate_descriptor()?, None, window, plan.of_given())
    }

    fn over(file: std::fs::File, path: Option<&Path>, window: usize, plan: Plan) -> Result<Self> {
        let named = |error: Error| error.with_path(path);
        if window == 0 {
            return Err(named(Error::new(ErrorKind::ZeroLength, "map a window of")));
        }
        let status = plan::measure(&file).map_err(named)?;
        // Refuses directories and files without a size. A file may be larger than the address space.
        match plan.len_in(status) {
            Err(error) if error.kind() != ErrorKind::OutOfAddressSpace => return Err(named(error)),
            _ => {}
        }
        let region = Region::unmapped(Some(file), path, status, plan);
        Ok(Self { region, window, file_len: status.len })
    }

    /// Returns the length of the file in bytes, as of its opening or of the last view that exceeded
    /// it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.file_len
    }

    /// Returns `true` if the file is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.file_len == 0
    }

    /// Returns the number of bytes that are mapped now.
    #[must_use]
    pub fn mapped(&self) -> usize {
        self.region.len()
    }

    /// Returns the path by which the file was opened; `None` for a descriptor.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.region.path()
    }

    /// Returns the open file.
    #[must_use]
    pub fn file(&self) -> Option<&std::fs::File> {
        self.region.file()
    }

    /// Returns the name of the file's file system, like [`Region::file_system`].
    ///
    /// # Errors
    /// An error reports a failed system call.
    pub fn file_system(&self) -> Result<String> {
        self.region.file_system()
    }

    /// Returns a view of `count` elements, of which the first begins at byte `offset` of the file,
    /// moving the window if necessary.
    ///
    /// If the elements need more than the window's size, the window is larger until it moves again.
    ///
    /// # Errors
    /// - `OutOfBounds` - the elements do not lie in the file.
    /// - `Overflow` - `offset` or `count` is more than the system can express.
    /// - `Alignment` - `offset` is not aligned for the element.
    /// - `WrongSize` - the element has size zero.
    /// - `OutOfAddressSpace` - there is no address space for the window.
    /// - `TooManyMappings` - the process has as many mappings as the system allows.
    ///
    /// Other kinds report a failed system call.
    ///
    /// # Examples
    /// ```
    /// # use sharemap::*;
    /// # fn main() -> Result<()> {
    /// # let path = std::env::temp_dir().join(format!("doc-window-view-{}", std::process::id()));
    /// # std::fs::write(&path, [7; 100000])?;
    /// let mut window = SlidingWindow::open(&path, 16384)?;
    /// // Each view borrows the window, which moves for the next one.
    /// let first = window.view::<[u8; 3]>(0, 1)?.get(0)?;
    /// let last = window.view::<[u8; 3]>(99_997, 1)?.get(0)?;
    /// assert_eq!(first, last);
    /// # drop(window);
    /// # std::fs::remove_file(&path)?;
    /// # Ok(()) }
    /// ```
    pub fn view<T: Element>(&mut self, offset: u64, count: usize) -> Result<View<'_, T>> {
        let error = |region: &Region, kind| {
            region.named(Error::new(kind, "view")).with_offset(offset).with_length(count as u64)
        };
        let bytes = count.checked_mul(size_of::<T>());
        let Some((bytes, end)) = bytes.and_then(|b| Some((b, offset.checked_add(b as u64)?)))
        else {
            return Err(error(&self.region, ErrorKind::Overflow));
        };
        if end > self.file_len {
            self.measure()?;
        }
        if end > self.file_len {
            return Err(error(&self.region, ErrorKind::OutOfBounds)
                .with_detail(format!("the file has {} bytes", self.file_len)));
        }
        let mapped = self.region.file_range();
        if offset < mapped.start || end > mapped.end {
            self.slide(offset, bytes, offset < mapped.start)?;
        }
        let at = offset - self.region.file_offset();
        self.region.view_at(at as usize, count)
    }

    /// Queries the length of the file again, which may have grown.
    fn measure(&mut self) -> Result<()> {
        if let Some(status) = self.region.refresh_file()? {
            self.file_len = status.len;
            self.region.set_file_len(status.len);
        }
        Ok(())
    }

    /// Maps a window that contains `bytes` bytes from `offset` on. The rest of the window lies ahead in
    /// the direction of movement.
    fn slide(&mut self, offset: u64, bytes: usize, backwards: bool) -> Result<()> {
        // On an overlay file system, a copy-up may have replaced the file since the last move.
        let status = self.region.refresh_file()?;
        let unit = sys::map::granularity() as u64;
        let window = self.window as u64;
        let first = match backwards {
            true => (offset + bytes as u64).saturating_sub(window).min(offset),
            false => offset,
        };
        let first = first / unit * unit;
        // `first` was rounded down to the granularity, so the window must cover more than `bytes`.
        let needed = offset + bytes as u64 - first;
        let len = needed.max(window).min(self.file_len - first);
        let Ok(len) = usize::try_from(len) else {
            return Err(self.region.named(Error::new(ErrorKind::OutOfAddressSpace, "map")));
        };
        self.region.place_at(first, len)?;
        if let Some(status) = status {
            self.region.set_changed(status);
        }
        Ok(())
    }
}

impl fmt::Debug for SlidingWindow {
    /// Prints the path, the offset, the length and the access, never the contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.region.debug(f, "SlidingWindow")
    }
}
