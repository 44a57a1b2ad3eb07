//! Cleans up when the tour is ended early (Ctrl-C, `kill`): removes its directory and its shared memory,
//! and kills its second processes.

use crate::system;
use sharemap::SharedMemory;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

static RUNNING: Mutex<Running> =
    Mutex::new(Running { ended: false, dir: None, children: Vec::new(), objects: Vec::new() });

/// The resources that this process would leave behind if it ended now.
struct Running {
    ended: bool,
    dir: Option<PathBuf>,
    /// Child processes that have not been waited for, so that the system has not reused their ids.
    children: Vec<u32>,
    /// The names of shared memory.
    objects: Vec<String>,
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cleans up from now on when a signal or the console ends this process.
pub(super) fn watch() -> io::Result<()> {
    system::on_interrupt(end)
}

/// Creates the directory that the tour works in, below `parent`.
pub(super) fn directory(parent: &Path) -> io::Result<TempDir> {
    let mut running = running();
    let dir = tempfile::Builder::new().prefix("sharemap-tour-").tempdir_in(parent)?;
    running.dir = Some(dir.path().to_owned());
    Ok(dir)
}

/// A name for shared memory, which is unlinked when this value is dropped or the tour ends.
pub(super) struct ObjectName(String);

/// Returns a name that only this tour uses.
pub(super) fn object(word: &str) -> ObjectName {
    let name = format!("sharemap-tour-{}-{word}", std::process::id());
    running().objects.push(name.clone());
    ObjectName(name)
}

impl std::ops::Deref for ObjectName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for ObjectName {
    fn drop(&mut self) {
        // If the step succeeded, it has unlinked the name itself.
        let _ = SharedMemory::unlink(&*self.0);
        running().objects.retain(|name| *name != self.0);
    }
}

/// Starts a second process, unless the tour is ending.
pub(super) fn enlist(start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    let mut running = running();
    if running.ended {
        return Err(io::Error::other("the tour is ending"));
    }
    let child = start()?;
    running.children.push(child.id());
    Ok(child)
}

/// Removes a second process from the list. Must be called before the process is waited for.
pub(super) fn dismiss(child: &Child) {
    running().children.retain(|&id| id != child.id());
}

/// Returns `true` if the tour is ending. The steps then close their files, because files in use cannot
/// be removed on every system.
pub(super) fn pending() -> bool {
    running().ended
}

/// Kills the second processes and removes what the tour has created.
fn end() {
    let mut running = running();
    running.ended = true;
    running.children.drain(..).for_each(system::kill);
    for name in running.objects.drain(..) {
        let _ = SharedMemory::unlink(name.as_str());
    }
    if let Some(dir) = running.dir.take() {
        // A step may still work in the directory. Renamed, it cannot get new files meanwhile.
        let aside = dir.with_extension("ended");
        let dir = if fs::rename(&dir, &aside).is_ok() { aside } else { dir };
        let _ = fs::remove_dir_all(dir);
    }
}
