//! Companions: files that carry the liveness locks of objects whose own file system cannot
//! (overlayfs).
//!
//! Judges whether a process will need a companion again. One walk of a file system judges the
//! companions of all its objects.

use super::judge::{Judged, Measures, Rules, Verdict, judged, may_go};
use crate::system;
use crate::system::procfs::{self, Mount};
use crate::system::search::{self, Found, Wanted};
use crate::text::lossless;
use sharemap::inspect::{ExclusiveClaim, ObjectFile};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

/// The largest number of companions judged in one run. Each holds up to three descriptors.
const AT_ONCE: usize = 256;
/// The interval at which the walk checks whether a process waits for a claimed companion.
const PERIOD: Duration = Duration::from_millis(2);

/// A companion to judge.
pub(super) struct Companion {
    pub(super) name: String,
    pub(super) file: ObjectFile,
    /// The device and inode number of the object's file, from the companion's name.
    pub(super) object: (u64, u64),
}

/// A claimed companion. No process is attached through it, and none can attach while it is judged.
struct Claimed {
    name: String,
    measures: Measures,
    number: u64,
    /// `None` once the claim was released to a waiting process.
    unused: Option<ExclusiveClaim>,
}

/// Judges `companions`. A companion can be removed if its object is gone, or was left clean: the
/// next process to attach then makes a new companion.
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
            let why =
                format!("only {AT_ONCE} companions are judged in one run; run the command again");
            done.push(kept(&companion.name, Measures::of(companion.file.file()), why));
        }
    }
    for (device, companions) in by_device {
        let shows_it = |mount: &&Mount| {
            // A later mount may hide this one.
            let shown = system::identity(&mount.point).map(|(device, _)| device);
            mount.device == device && mount.root == "/" && shown == Some(device)
        };
        match mounts.iter().find(shows_it) {
            Some(mount) => done.extend(judge_on(mount, companions, rules, deadline)),
            None => done.extend(companions.into_iter().map(|companion| {
                let why = "the file system of its object is not visible from here".into();
                kept(&companion.name, Measures::of(companion.file.file()), why)
            })),
        }
    }
    done
}

/// Judges the companions of one file system by one walk.
///
/// Companions are claimed before the walk. A process therefore cannot make an object that the walk
/// has passed and attach to it. A process that waits for a companion gets it during the walk.
fn judge_on(
    mount: &Mount,
    companions: Vec<Companion>,
    rules: Rules<'_>,
    deadline: Instant,
) -> Vec<Judged> {
    let mut done = Vec::new();
    let mut claimed = Vec::new();
    for Companion { name, file, object } in companions {
        let measures = Measures::of(file.file());
        let claim = may_go(&file, rules).and_then(|()| match file.claim() {
            Ok(Some(unused)) => Ok(unused),
            Ok(None) => Err("a process is attached to the object that uses it".into()),
            Err(error) => Err(error.to_string()),
        });
        match claim {
            Ok(unused) => {
                claimed.push(Claimed { name, measures, number: object.1, unused: Some(unused) });
            }
            Err(why) => done.push(kept(&name, measures, why)),
        }
    }
    let numbers: Vec<u64> = claimed.iter().map(|claimed| claimed.number).collect();
    let wanted = Wanted { point: &mount.point, device: mount.device, numbers: &numbers, deadline };
    let (found, ended) = match claimed.is_empty() {
        true => (Vec::new(), Ok(())),
        false => walk(&wanted, &mut claimed),
    };
    for Claimed { name, measures, number, unused } in claimed {
        let mut proof = vec!["the kernel says that no process is attached through it".into()];
        let verdict = match unused {
            None => Err("a process has begun to attach to the object that uses it".into()),
            Some(unused) => {
                let object = found.iter().find(|found| found.number == number);
                let object = (number, mount.device, object);
                is_needless(object, &ended, mount, &mut proof)
                    .map(|()| Verdict::ExclusiveClaim(unused))
            }
        };
        let verdict = verdict.unwrap_or_else(Verdict::Keep);
        done.push(judged(&name, "companion", measures, proof, verdict));
    }
    done
}

/// Searches for the objects of the claimed companions, and releases a companion when a process waits
/// for it.
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

/// Releases the companions that a process waits for.
fn release_wanted(claimed: &mut [Claimed]) {
    for Claimed { unused, .. } in claimed {
        if unused.as_ref().is_some_and(|unused| !unused.is_exclusive()) {
            *unused = None;
        }
    }
}

/// Adds the reason for removing the companion to `proof`. Returns the reason for keeping it as an
/// error.
fn is_needless(
    (number, device, object): (u64, u64, Option<&Found>),
    ended: &Result<(), String>,
    mount: &Mount,
    proof: &mut Vec<String>,
) -> Result<(), String> {
    let Some(object) = object else {
        let place = lossless(&mount.point);
        ended.clone().map_err(|why| format!("its object was not found in {place}, but {why}"))?;
        proof.push(format!("its object is gone: no file of {place} has its inode number"));
        return Ok(());
    };
    let place = lossless(&object.path);
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::WouldBlock => {
            format!("its object, {place}, cannot be read while another process holds a lease on it")
        }
        _ => format!("its object, {place}, cannot be read: {error}"),
    };
    let file = object.open().map_err(failed)?;
    if system::identity_of(&file) != Some((device, number)) {
        return Err(format!("its object, {place}, has just been replaced"));
    }
    proof.push(match is_clean(&file).map_err(failed)? {
        None => format!("its object is gone: {place} has its inode number, but is not an object"),
        Some(true) => format!("its object {place} is clean, so no process needs this companion"),
        Some(false) => {
            return Err(format!(
                "a process attached to {place} died, and the next process to attach needs this \
                 companion"
            ));
        }
    });
    Ok(())
}

/// Returns the clean flag of an object, which says that no process is attached and the last one
/// detached in order. `None` if the file is not an object.
///
/// Reads the header directly: an inspection would open the companion, which is claimed here.
fn is_clean(mut object: &File) -> std::io::Result<Option<bool>> {
    const MAGIC: [u8; 8] = *b"\x89SHM\r\n\x1a\n";
    const VERSION: usize = 8;
    const CLEAN: usize = 132;
    let mut header = Vec::new();
    object.by_ref().take(CLEAN as u64 + 4).read_to_end(&mut header)?;
    let Some(clean) = header.get(CLEAN..CLEAN + 4).filter(|_| header.starts_with(&MAGIC)) else {
        return Ok(None);
    };
    // Other versions may have the flag elsewhere, so their objects count as unclean.
    let known = header[VERSION..VERSION + 2] == 1u16.to_ne_bytes();
    Ok(Some(known && clean == 1u32.to_ne_bytes()))
}

fn kept(name: &str, measures: Measures, why: String) -> Judged {
    judged(name, "companion", measures, Vec::new(), Verdict::Keep(why))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::fs::OpenOptionsExt;

    /// A process that attaches during the walk gets the companion at once.
    #[test]
    fn a_companion_is_released_when_a_process_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("companion");
        std::fs::write(&path, "").unwrap();
        let claim = || loop {
            match sharemap::inspect::ExclusiveClaim::of(sharemap::Location::file(&path)) {
                // A child that another test has forked but not yet executed may hold it briefly.
                Ok(None) => {}
                Ok(unused) => return unused,
                Err(error) => {
                    println!("skipped: {error}");
                    return None;
                }
            }
        };
        // With O_NONBLOCK, opening a leased file fails instead of waiting.
        let open =
            || std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let unused = claim();
        if unused.is_none() {
            return;
        }
        let (name, measures) = (String::new(), Measures::default());
        let mut claimed = [Claimed { name, measures, number: 1, unused }];
        release_wanted(&mut claimed);
        assert!(claimed[0].unused.is_some(), "no process waits");
        assert_eq!(open().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        release_wanted(&mut claimed);
        assert!(claimed[0].unused.is_none());
        open().unwrap();
    }

    #[test]
    fn headers_show_whether_an_object_is_clean() {
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
        assert_eq!(ask(8, 2, image.len()), Some(false), "another version is never clean");
        assert_eq!(ask(0, 0, image.len()), None);
        assert_eq!(ask(0, image[0], 100), None);
    }
}
