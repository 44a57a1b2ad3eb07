//! Creating files of a given length. After a failure a new file is removed, and an existing one has its
//! old length.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::mapping::options::{Existing, MapOptions};
use crate::mapping::plan::Plan;
use crate::mapping::region::Region;
use crate::sys::{self, Access, Create, FileKind, FileStatus, OpenRequest};

/// Lengthens a file to the end of `range`, and allocates storage for the range unless the file is `sparse`.
pub(super) fn make_room(file: &File, range: Range<u64>, sparse: bool) -> Result<()> {
    if sparse { sys::file::set_len(file, range.end) } else { sys::file::allocate(file, range) }
}

impl MapOptions {
    /// Creates or opens a file of `len` bytes and maps it.
    pub(super) fn create_region(
        &self,
        path: &Path,
        len: u64,
        existing: Existing,
    ) -> Result<Region> {
        let named = |error: Error| error.with_path(Some(path));
        self.check().map_err(named)?;
        if i64::try_from(len).is_err() {
            return Err(named(Error::new(ErrorKind::Overflow, "create").with_length(len)));
        }
        let plan = self.plan(Access::Write);
        match self.open_for(path, existing).map_err(named)? {
            Opened::Made(file) => {
                let made = sys::pass::identity(&file).map_err(named)?;
                self.fill_new(file, path, len, plan).inspect_err(|_| {
                    // This call created the file. The failed call has closed it; the name may refer to
                    // another file by now, so the identity is compared.
                    sys::file::remove_made(path, made);
                })
            }
            Opened::Found(file) => self.reuse(file, path, len, existing, plan),
        }
    }

    /// Sizes and maps a file that this call has created.
    fn fill_new(&self, file: File, path: &Path, len: u64, plan: Plan) -> Result<Region> {
        let named = |error: Error| error.with_path(Some(path));
        // Fails before space is allocated for a file that cannot be mapped.
        plan.len_in(FileStatus::new(FileKind::Regular, len)).map_err(named)?;
        make_room(&file, 0..len, plan.sparse).map_err(named)?;
        self.map_and_finish(file, path, plan)
    }

    /// Resizes and maps a file that existed.
    fn reuse(
        &self,
        file: File,
        path: &Path,
        len: u64,
        existing: Existing,
        plan: Plan,
    ) -> Result<Region> {
        let named = |error: Error| error.with_path(Some(path));
        let status = sys::file::status(&file).map_err(named)?;
        if status.kind != FileKind::Regular {
            if existing == Existing::Kept && status.kind != FileKind::Directory {
                return self.map_and_finish(file, path, plan);
            }
            let kind = match status.kind {
                FileKind::Directory => ErrorKind::IsDirectory,
                _ => ErrorKind::Unsupported,
            };
            return Err(named(Error::new(kind, "create")));
        }
        let undo = Undo { file: sys::file::duplicate(&file).map_err(named)?, len: status.len };
        let result = self.resize_and_map(file, path, (status.len, len), existing, plan);
        result.inspect_err(|_| undo.restore())
    }

    fn resize_and_map(
        &self,
        file: File,
        path: &Path,
        (old_len, len): (u64, u64),
        existing: Existing,
        plan: Plan,
    ) -> Result<Region> {
        let named = |error: Error| error.with_path(Some(path));
        let kept = if existing == Existing::Kept { old_len } else { 0 };
        let status = FileStatus::new(FileKind::Regular, len.max(kept));
        plan.len_in(status).map_err(named)?;
        if old_len < len {
            make_room(&file, 0..len, plan.sparse).map_err(named)?;
        }
        if existing == Existing::Emptied && old_len > 0 {
            // Space is allocated. Address space must be available, too, before the contents are lost.
            let probe = sys::file::duplicate(&file).map_err(named)?;
            Region::of_file(probe, Some(path), plan)?.close()?;
            sys::file::set_len(&file, 0).map_err(named)?;
            make_room(&file, 0..len, plan.sparse).map_err(named)?;
        }
        self.map_and_finish(file, path, plan)
    }

    /// Maps a file and applies the options.
    pub(super) fn map_and_finish(&self, file: File, path: &Path, plan: Plan) -> Result<Region> {
        let mut region = Region::of_file(file, Some(path), plan)?;
        self.finish(&mut region)?;
        Ok(region)
    }

    /// Opens a file, and returns whether this call created it.
    fn open_for(&self, path: &Path, existing: Existing) -> Result<Opened> {
        // Another process may create and remove the file between the two calls, again and again.
        const ROUNDS: usize = 8;
        for _ in 0..ROUNDS {
            match sys::file::open(path, self.open_request(Create::New)) {
                Ok(file) => return Ok(Opened::Made(file)),
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                Err(error) if existing == Existing::Refused => return Err(error),
                Err(_) => {}
            }
            match sys::file::open(path, self.open_request(Create::Never)) {
                Ok(file) => return Ok(Opened::Found(file)),
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Err(_) => {}
            }
        }
        // A symbolic link to nothing: creating it fails with `AlreadyExists`, opening with `NotFound`.
        // After this call, whether the file was created by it is unknown.
        sys::file::open(path, self.open_request(Create::IfMissing)).map(Opened::Found)
    }

    fn open_request(&self, create: Create) -> OpenRequest {
        OpenRequest {
            write: true,
            create,
            exclusive: self.is_exclusive(),
            timeout: sys::LEASE_BREAK,
        }
    }
}

/// An open file, created by this call or found.
enum Opened {
    Made(File),
    Found(File),
}

/// The old length of a file, to be restored after a failure.
struct Undo {
    file: File,
    len: u64,
}

impl Undo {
    fn restore(&self) {
        if sys::file::status(&self.file).is_ok_and(|status| status.len != self.len) {
            let _ = sys::file::set_len(&self.file, self.len);
        }
    }
}
