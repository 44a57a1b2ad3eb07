//! Files that carry the slots of objects whose own file system cannot (overlayfs): whether a process
//! will need one again. All companions of a file system's objects are judged by one walk through it.

use super::judge::{Judged, Rules, Verdict, judged, may_go};
use crate::system;
use crate::system::procfs::{self, Mount};
use crate::system::search::{self, Found, Wanted};
use crate::text::lossless;
use sharemap::inspect::{ObjectFile, Unused};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

/// Each takes up to three descriptors meanwhile.
const AT_ONCE: usize = 256;
/// How often those that wait for a companion are looked for.
const PERIOD: Duration = Duration::from_millis(2);

/// A companion that was found.
pub(super) struct Companion {
    pub(super) name: String,
    pub(super) file: ObjectFile,
    /// Device and number of the object's file, as the companion's name has them.
    pub(super) object: (u64, u64),
}

/// One that no process is attached through, and none can attach through while it is judged.
struct Claimed {
    name: String,
    times: Option<File>,
    number: u64,
    /// `None` since a process waits for it.
    unused: Option<Unused>,
}

/// Companions that go: whose object is gone, or was left in order, so that the next that attaches can do
/// with another.
pub(super) fn judge(
    companions: Vec<Companion>,
    rules: Rules<'_>,
    timeout: Duration,
) -> Vec<Judged> {
    let deadline = Instant::now() + timeout;
    let mounts = procfs::mounts();
    let mut done = Vec::new();
    let mut by_device: BTreeMap<u64, Vec<Companion>> = BTreeMap::new();
    for (number, companion) in companions.into_iter().enumerate() {
        if number < AT_ONCE {
            by_device.entry(companion.object.0).or_default().push(companion);
        } else {
            let why = format!("{AT_ONCE} companions are judged at once; run it again");
            done.push(kept(&companion.name, companion.file.file().try_clone().ok(), why));
        }
    }
    for (device, companions) in by_device {
        let shows_it = |mount: &&Mount| {
            // Unless something else is mounted over it by now.
            let shown = system::identity(&mount.point).map(|(device, _)| device);
            mount.device == device && mount.root == "/" && shown == Some(device)
        };
        match mounts.iter().find(shows_it) {
            Some(mount) => done.extend(judge_on(mount, companions, rules, deadline)),
            None => done.extend(companions.into_iter().map(|companion| {
                let why = "the file system of its object is not to be seen from here".into();
                kept(&companion.name, companion.file.file().try_clone().ok(), why)
            })),
        }
    }
    done
}

/// Companions are claimed before the walk, so that what it does not find cannot be made and attached to
/// behind it; a process that waits for one meanwhile gets it at once.
fn judge_on(
    mount: &Mount,
    companions: Vec<Companion>,
    rules: Rules<'_>,
    deadline: Instant,
) -> Vec<Judged> {
    let mut done = Vec::new();
    let mut claimed = Vec::new();
    for Companion { name, file, object } in companions {
        let times = file.file().try_clone().ok();
        let claim = may_go(&file, rules).and_then(|()| match file.claim() {
            Ok(Some(unused)) => Ok(unused),
            Ok(None) => Err("somebody is attached to the object whose slots it carries".into()),
            Err(error) => Err(error.to_string()),
        });
        match claim {
            Ok(unused) => {
                claimed.push(Claimed { name, times, number: object.1, unused: Some(unused) });
            }
            Err(why) => done.push(kept(&name, times, why)),
        }
    }
    let numbers: Vec<u64> = claimed.iter().map(|claimed| claimed.number).collect();
    let wanted = Wanted { point: &mount.point, device: mount.device, numbers: &numbers, deadline };
    let (found, ended) = match claimed.is_empty() {
        true => (Vec::new(), Ok(())),
        false => walk(&wanted, &mut claimed),
    };
    for Claimed { name, times, number, unused } in claimed {
        let mut proof = vec!["the kernel says that no process is attached through it".into()];
        let verdict = match unused {
            None => Err("a process came to attach to the object whose slots it carries".into()),
            Some(unused) => {
                let object = found.iter().find(|found| found.number == number);
                let object = (number, mount.device, object);
                is_needless(object, &ended, mount, &mut proof).map(|()| Verdict::Unused(unused))
            }
        };
        let verdict = verdict.unwrap_or_else(Verdict::Keep);
        done.push(judged(&name, "companion", times.as_ref(), proof, verdict));
    }
    done
}

fn walk(wanted: &Wanted<'_>, claimed: &mut [Claimed]) -> (Vec<Found>, Result<(), String>) {
    let mut looked = Instant::now();
    search::files(wanted, &mut || {
        if looked.elapsed() < PERIOD {
            return;
        }
        release_wanted(claimed);
        looked = Instant::now();
    })
}

fn release_wanted(claimed: &mut [Claimed]) {
    for Claimed { unused, .. } in claimed {
        if unused.as_ref().is_some_and(|unused| !unused.is_exclusive()) {
            *unused = None;
        }
    }
}

/// `Err`: why the companion is kept.
fn is_needless(
    (number, device, object): (u64, u64, Option<&Found>),
    ended: &Result<(), String>,
    mount: &Mount,
    proof: &mut Vec<String>,
) -> Result<(), String> {
    let Some(object) = object else {
        let place = lossless(&mount.point);
        ended.clone().map_err(|why| format!("its object was not found in {place}, but {why}"))?;
        proof.push(format!("its object is gone: no file of {place} has its number"));
        return Ok(());
    };
    let place = lossless(&object.path);
    let failed = |error| format!("its object, {place}, cannot be read: {error}");
    let file = object.open().map_err(failed)?;
    if system::identity_of(&file) != Some((device, number)) {
        return Err(format!("its object, {place}, has just been replaced"));
    }
    proof.push(match is_clean(&file).map_err(failed)? {
        None => format!("its object is gone: {place}, which has its number, is none"),
        Some(true) => format!("its object {place} is in order without it"),
        Some(false) => {
            return Err(format!(
                "whoever was attached to {place} died, and the next to attach needs it"
            ));
        }
    });
    Ok(())
}

/// Whether an object's header says that nobody is attached and all is in order; `None` if it is no
/// object. An inspection would open the companion, which is claimed here.
fn is_clean(mut object: &File) -> std::io::Result<Option<bool>> {
    const MAGIC: [u8; 8] = *b"\x89SHM\r\n\x1a\n";
    const VERSION: usize = 8;
    const CLEAN: usize = 132;
    let mut header = Vec::new();
    object.by_ref().take(CLEAN as u64 + 4).read_to_end(&mut header)?;
    let Some(clean) = header.get(CLEAN..CLEAN + 4).filter(|_| header.starts_with(&MAGIC)) else {
        return Ok(None);
    };
    // Of another version nothing else is known.
    let known = header[VERSION..VERSION + 2] == 1u16.to_ne_bytes();
    Ok(Some(known && clean == 1u32.to_ne_bytes()))
}

fn kept(name: &str, file: Option<File>, why: String) -> Judged {
    judged(name, "companion", file.as_ref(), Vec::new(), Verdict::Keep(why))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::fs::OpenOptionsExt;

    /// A process that attaches while an object is looked for gets the companion at once.
    #[test]
    fn a_companion_is_released_when_a_process_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("companion");
        std::fs::write(&path, "").unwrap();
        let claim = || loop {
            match sharemap::inspect::Unused::of(sharemap::Location::file(&path)) {
                // Children of other tests that are about to be started may have it for a moment.
                Ok(None) => {}
                Ok(unused) => return unused,
                Err(error) => {
                    println!("skipped: {error}");
                    return None;
                }
            }
        };
        // Opening does not wait, but fails, where it would have to.
        let open =
            || std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let unused = claim();
        if unused.is_none() {
            return;
        }
        let (name, times) = (String::new(), None);
        let mut claimed = [Claimed { name, times, number: 1, unused }];
        release_wanted(&mut claimed);
        assert!(claimed[0].unused.is_some(), "no process waits");
        assert_eq!(open().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        release_wanted(&mut claimed);
        assert!(claimed[0].unused.is_none());
        open().unwrap();
    }

    #[test]
    fn headers_tell_whether_an_object_is_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("object");
        let location = sharemap::Location::file(&path);
        match sharemap::Shared::create_new(location, || sharemap::Mutex::new(0_u8)) {
            Ok(shared) => drop(shared),
            Err(error) => {
                println!("skipped: {error}");
                return;
            }
        }
        let image = std::fs::read(&path).unwrap();
        let ask = |at: usize, byte: u8, len: usize| {
            let mut image = image.clone();
            image[at] = byte;
            std::fs::write(&path, &image[..len]).unwrap();
            is_clean(&File::open(&path).unwrap()).unwrap()
        };
        assert_eq!(ask(0, image[0], image.len()), Some(true));
        assert_eq!(ask(132, 0, image.len()), Some(false));
        assert_eq!(ask(8, 2, image.len()), Some(false), "of another version nothing is known");
        assert_eq!(ask(0, 0, image.len()), None);
        assert_eq!(ask(0, image[0], 100), None);
    }
}
