//! Files that carry the slots of objects whose own file system cannot (overlayfs): whether anybody
//! will need one again.

use super::judge::Verdict;
use crate::commands::ls;
use crate::commands::objects::Target;
use crate::system::procfs::{self, Mount};
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
    (device, number): (u64, u64),
    path: &Path,
    proof: &mut Vec<String>,
) -> Result<Verdict, String> {
    let text = |error: Error| error.to_string();
    let Some(unused) = Unused::of(Location::file(path)).map_err(text)? else {
        return Err("somebody is attached to the object whose slots it carries".into());
    };
    proof.push("the kernel says that no process is attached through it".into());
    let mounts = procfs::mounts();
    let Some(mount) = mounts.iter().find(|mount| mount.device == device && mount.root == "/")
    else {
        return Err("the file system of its object is not to be seen from here".into());
    };
    let place = mount.point.display();
    match search(mount, &mounts, number)? {
        None => proof.push(format!("its object is gone: no file of {place} has its number")),
        Some(object) => {
            let place = object.display();
            proof.push(match is_clean(&object).map_err(text)? {
                None => format!("its object is gone: {place}, which has its number, is none"),
                Some(true) => format!("its object {place} is in order without it"),
                Some(false) => {
                    return Err(format!(
                        "whoever was attached to {place} died, and the next to attach needs it"
                    ));
                }
            });
        }
    }
    Ok(Verdict::Unused(unused))
}

/// Whether an object's header says that nobody is attached and all is in order; `None` if it is no
/// object. An inspection would open the companion, which is had alone here.
fn is_clean(object: &Path) -> sharemap::Result<Option<bool>> {
    const CLEAN: usize = 132;
    let map = Mapping::open(object)?;
    if ls::has_header(object) != Some(true) {
        return Ok(None);
    }
    Ok(Some(map.view_at::<u32>(CLEAN, 1)?.get(0)? == 1))
}

/// The file of this number on a file system. What others are mounted over does not count: nobody
/// opens it.
fn search(mount: &Mount, mounts: &[Mount], number: u64) -> Result<Option<PathBuf>, String> {
    let mut folders = vec![mount.point.clone()];
    while let Some(folder) = folders.pop() {
        let failed = |error| format!("cannot look for its object in {}: {error}", folder.display());
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            if kind.is_dir() {
                if mounts.iter().all(|other| other.point != path) {
                    folders.push(path);
                }
            } else if kind.is_file() && procfs::number(&entry) == Some(number) {
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
}
