//! Ending the tour early (Ctrl-C, `kill`): its directory, its second processes and its shared memory go
//! with it.

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

/// What is left behind if the process just ends.
struct Running {
    ended: bool,
    dir: Option<PathBuf>,
    /// Processes that have not been waited for, so that their numbers are nobody else's.
    children: Vec<u32>,
    /// Names of shared memory.
    objects: Vec<String>,
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on, whoever ends this process by a signal or from the console ends the tour.
pub(super) fn watch() -> io::Result<()> {
    system::on_interrupt(end)
}

/// Makes the directory that the tour works in, below `parent`.
pub(super) fn directory(parent: &Path) -> io::Result<TempDir> {
    let mut running = running();
    let dir = tempfile::Builder::new().prefix("sharemap-tour-").tempdir_in(parent)?;
    running.dir = Some(dir.path().to_owned());
    Ok(dir)
}

/// A name for shared memory, which is taken away at the end.
pub(super) struct ObjectName(String);

/// A name that is this tour's own.
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
        // Gone already, where the step went well.
        let _ = SharedMemory::unlink(&*self.0);
        running().objects.retain(|name| *name != self.0);
    }
}

/// Starts a second process, unless the tour is to end.
pub(super) fn enlist(start: impl FnOnce() -> io::Result<Child>) -> io::Result<Child> {
    let mut running = running();
    if running.ended {
        return Err(io::Error::other("the tour is ending"));
    }
    let child = start()?;
    running.children.push(child.id());
    Ok(child)
}

/// To be called before a second process is waited for.
pub(super) fn dismiss(child: &Child) {
    running().children.retain(|&id| id != child.id());
}

/// Whether the tour is to end. Where files in use cannot be removed, it has to close them.
pub(super) fn pending() -> bool {
    running().ended
}

fn end() {
    let mut running = running();
    running.ended = true;
    running.children.drain(..).for_each(system::kill);
    for name in running.objects.drain(..) {
        let _ = SharedMemory::unlink(name.as_str());
    }
    if let Some(dir) = running.dir.take() {
        // A step may still be at work there: under another name it does not find it.
        let aside = dir.with_extension("ended");
        let dir = if fs::rename(&dir, &aside).is_ok() { aside } else { dir };
        let _ = fs::remove_dir_all(dir);
    }
}
