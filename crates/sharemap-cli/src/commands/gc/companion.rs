//! Files that carry the slots of objects whose own file system cannot (overlayfs): whether anybody
//! will need one again.

use super::judge::Verdict;
use crate::commands::ls;
use crate::commands::objects::{Target, is_missing};
use crate::system;
use crate::system::procfs::{self, Mount};
use crate::text::lossless;
use sharemap::inspect::Unused;
use sharemap::{Error, Location, Mapping};
use std::fs;
use std::path::{Path, PathBuf};

/// The device and the number of the file whose slots it carries, both in its name.
pub(super) fn carries(target: &Target) -> Option<(u64, u64)> {
    let path = target.path.as_deref()?;
    let folder = path.parent()?;
    let owner = folder.file_name()?.to_str()?.strip_prefix(".sharemap-")?;
    if folder.parent() != Some(Path::new("/dev/shm")) || owner.parse::<u32>().is_err() {
        return None;
    }
    let (device, number) = path.file_name()?.to_str()?.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some((hex(device)?, hex(number)?))
}

/// Nobody is attached through it, and whoever attaches next can do with another: because the object
/// is gone, or because it was left in order.
pub(super) fn judge(
    file: (u64, u64),
    path: &Path,
    proof: &mut Vec<String>,
) -> Result<Verdict, String> {
    let mounts = procfs::mounts();
    let shows_it = |mount: &&Mount| {
        // Unless something else is mounted over it by now.
        let shown = system::identity(&mount.point).map(|(device, _)| device);
        mount.device == file.0 && mount.root == "/" && shown == Some(file.0)
    };
    let Some(mount) = mounts.iter().find(shows_it) else {
        return Err("the file system of its object is not to be seen from here".into());
    };
    judge_by(file, path, proof, &mount.point, || search(mount, &mounts, file))
}

/// Whoever attaches to the object waits as long as the companion is had alone. So the search, which
/// takes its time, comes before.
fn judge_by(
    file: (u64, u64),
    path: &Path,
    proof: &mut Vec<String>,
    place: &Path,
    search: impl Fn() -> Result<Option<PathBuf>, String>,
) -> Result<Verdict, String> {
    let text = |error: Error| error.to_string();
    let object = search()?;
    let unused = match Unused::of(Location::file(path)) {
        Ok(Some(unused)) => unused,
        Ok(None) => return Err("somebody is attached to the object whose slots it carries".into()),
        Err(error) if is_missing(&error) => return Ok(Verdict::Gone),
        Err(error) => return Err(text(error)),
    };
    proof.push("the kernel says that no process is attached through it".into());
    let Some(object) = object else {
        // A new object may have got its number, and been left unclean, before the companion was had:
        // nobody but those who attach to that one waits.
        return match search()? {
            None => {
                let place = lossless(place);
                proof.push(format!("its object is gone: no file of {place} has its number"));
                Ok(Verdict::Unused(unused))
            }
            Some(object) => Err(format!("{} has its object's number by now", lossless(object))),
        };
    };
    let clean = is_clean(&object).map_err(text)?;
    let place = lossless(&object);
    if system::identity(&object) != Some(file) {
        return Err(format!("its object, {place}, has just been removed or renamed"));
    }
    proof.push(match clean {
        None => format!("its object is gone: {place}, which has its number, is none"),
        Some(true) => format!("its object {place} is in order without it"),
        Some(false) => {
            return Err(format!(
                "whoever was attached to {place} died, and the next to attach needs it"
            ));
        }
    });
    Ok(Verdict::Unused(unused))
}

/// Whether an object's header says that nobody is attached and all is in order; `None` if it is no
/// object. An inspection would open the companion, which is had alone here.
fn is_clean(object: &Path) -> sharemap::Result<Option<bool>> {
    const VERSION: usize = 8;
    const CLEAN: usize = 132;
    let map = Mapping::open(object)?;
    if ls::has_header(object) != Some(true) {
        return Ok(None);
    }
    // Of another version nothing else is known.
    let known = map.view_at::<u16>(VERSION, 1)?.get(0)? == 1;
    Ok(Some(known && map.view_at::<u32>(CLEAN, 1)?.get(0)? == 1))
}

/// The file on a file system. What others are mounted over does not count: nobody opens it.
fn search(mount: &Mount, mounts: &[Mount], file: (u64, u64)) -> Result<Option<PathBuf>, String> {
    let mut folders = vec![mount.point.clone()];
    while let Some(folder) = folders.pop() {
        let failed =
            |error| format!("cannot look for its object in {}: {error}", lossless(&folder));
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            if kind.is_dir() {
                if mounts.iter().all(|other| other.point != path) {
                    folders.push(path);
                }
            // The number that a folder has of a file need not be the file's own.
            } else if kind.is_file() && system::identity(&path) == Some(file) {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn companions_are_known_by_their_names() {
        let carries = |path: &str| {
            let path = Some(PathBuf::from(path));
            carries(&Target { name: String::new(), location: Location::anonymous(), path })
        };
        assert_eq!(carries("/dev/shm/.sharemap-1000/29-a"), Some((0x29, 10)));
        assert_eq!(carries("/dev/shm/.sharemap-1000/29a"), None);
        assert_eq!(carries("/dev/shm/.sharemap-x/29-a"), None);
        assert_eq!(carries("/dev/shm/other/29-a"), None);
        assert_eq!(carries("/tmp/.sharemap-1000/29-a"), None);
    }

    /// While the search goes on, whoever attaches opens the companion without waiting, and then it
    /// stays; afterwards it is had alone, and the object is looked at once more.
    #[cfg(target_os = "linux")]
    #[test]
    fn nobody_waits_for_the_search() {
        use std::cell::Cell;
        use std::os::unix::fs::OpenOptionsExt;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("companion");
        fs::write(&path, "").unwrap();
        let object = folder.path().join("object");
        fs::write(&object, [0; 1000]).unwrap();
        let file = system::identity(&object).unwrap();
        // Opening does not wait, but fails, where one would have to.
        let open = || {
            fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap()
        };
        let opened = Cell::new(None);
        let mut proof = Vec::new();
        let found = judge_by(file, &path, &mut proof, folder.path(), || {
            opened.set(Some(open()));
            Ok(Some(object.clone()))
        });
        let Err(why) = found else { panic!("somebody has it") };
        if why.contains("no leases") {
            println!("skipped: {why}");
            return;
        }
        assert!(why.contains("somebody is attached"), "{why}");
        drop(opened.take());

        // Alone, but for children of other tests that are about to be started.
        let judge = |object: &PathBuf| loop {
            let found = judge_by(file, &path, &mut Vec::new(), folder.path(), || {
                drop(open());
                Ok(Some(object.clone()))
            });
            match found {
                Err(why) if why.contains("somebody is attached") => {}
                found => return found,
            }
        };
        let found = judge(&object);
        assert!(matches!(found, Ok(Verdict::Unused(_))));
        drop(found);
        let other = folder.path().join("other");
        fs::write(&other, [0; 1000]).unwrap();
        let Err(why) = judge(&other) else { panic!("that is another file") };
        assert!(why.contains("has just been"), "{why}");
        fs::remove_file(&other).unwrap();
        assert!(judge(&other).is_err(), "it is not there any more");

        // A file that gets the number after the first search is found by the second.
        let searches = Cell::new(0);
        let found = judge_by(file, &path, &mut Vec::new(), folder.path(), || {
            searches.set(searches.get() + 1);
            Ok((searches.get() == 2).then(|| object.clone()))
        });
        assert!(matches!(found, Err(why) if why.contains("number") || why.contains("attached")));
    }
}
