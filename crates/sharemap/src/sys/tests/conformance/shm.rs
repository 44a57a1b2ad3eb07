//! Tests of shared memory objects, which every port must pass.

use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{Mapped, request, supported};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{
    Access, CreateObject, Existing, HugePages, Lifetime, OpenObject, Owner, Scope, Sharing, file,
    shm,
};

/// A name that is unlinked on drop.
struct Name(String);

impl Name {
    fn new(rest: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("sharemap-conformance-{}-{number}{rest}", std::process::id()))
    }

    fn to_create(&self, len: u64, existing: Existing) -> CreateObject<'_> {
        CreateObject {
            name: &self.0,
            len,
            max: len,
            sparse: false,
            existing,
            lifetime: Lifetime::UntilUnlink,
            sharing: Sharing::PRIVATE,
        }
    }

    fn create(&self, len: u64) -> Result<File> {
        shm::create(&self.to_create(len, Existing::Refused), &mut |_| Ok(()))
    }

    fn open(&self, write: bool) -> Result<File> {
        let (owner, scope, timeout) = (Owner::Own, Scope::Session, Duration::ZERO);
        shm::open(&OpenObject { name: &self.0, write, owner, scope, timeout }).map(|it| it.file)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = shm::unlink(&self.0);
    }
}

fn page() -> usize {
    super::map::page_size()
}

#[test]
fn an_object_is_shared_by_name_and_outlives_its_creator() {
    let name = Name::new("");
    let file = name.create(3 * page() as u64).unwrap();
    assert_eq!(name.create(1).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let map = Mapped::new(&request(Some(&file), 3 * page(), Access::Write));
    assert_eq!(map.get(0), Some(0));
    assert!(map.set(2 * page() + 7, 42));
    drop((map, file));
    let file = name.open(false).unwrap();
    assert!(file::status(&file).unwrap().len >= 3 * page() as u64);
    let map = Mapped::new(&request(Some(&file), 3 * page(), Access::Read));
    assert_eq!(map.get(2 * page() + 7), Some(42));
    shm::unlink(&name.0).unwrap();
    assert_eq!(name.open(false).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(shm::unlink(&name.0).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(map.get(2 * page() + 7), Some(42), "a mapping keeps an unlinked object");
}

#[test]
fn a_failed_fill_leaves_no_object() {
    let name = Name::new("");
    let failure = shm::create(&name.to_create(100, Existing::Refused), &mut |file| {
        assert!(file::status(file)?.len >= 100);
        Err(Error::new(ErrorKind::Busy, "fill"))
    });
    assert_eq!(failure.unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(name.open(true).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_replaced_object_stays_mapped() {
    let name = Name::new("");
    let old = name.create(page() as u64).unwrap();
    let old = Mapped::new(&request(Some(&old), page(), Access::Write));
    assert!(old.set(0, 1));
    let replace = name.to_create(page() as u64, Existing::Replaced);
    let new = shm::create(&replace, &mut |_| Ok(())).unwrap();
    let new = Mapped::new(&request(Some(&new), page(), Access::Write));
    assert!(new.set(0, 2));
    assert_eq!((old.get(0), new.get(0)), (Some(1), Some(2)));
    let found = name.open(true).unwrap();
    let found = Mapped::new(&request(Some(&found), page(), Access::Write));
    assert_eq!(found.get(0), Some(2));
}

#[test]
fn capitals_and_long_names_are_distinct() {
    let long = format!("-{}", "x".repeat(140));
    let names =
        [Name::new("-A"), Name::new("-a"), Name::new(&long), Name::new(&format!("{long}y"))];
    let sized = |len| len * page() as u64;
    for (i, name) in names.iter().enumerate() {
        name.create(sized(i as u64 + 1)).unwrap();
    }
    for (i, name) in names.iter().enumerate() {
        let len = file::status(&name.open(false).unwrap()).unwrap().len;
        assert_eq!(len.div_ceil(page() as u64), i as u64 + 1);
    }
    let Some(list) = supported("list", shm::list()) else { return };
    for name in &names {
        let found = list.iter().filter(|object| object.name.to_str() == Some(&name.0)).count();
        assert_eq!(found, 1, "{}", name.0);
    }
}

#[test]
fn anonymous_memory_is_shared_between_its_mappings() {
    let name = Name::new("");
    let wanted = name.to_create(2 * page() as u64, Existing::Refused);
    let file = shm::anonymous("conformance", &wanted, HugePages::Default).unwrap();
    let one = Mapped::new(&request(Some(&file), 2 * page(), Access::Write));
    let two = Mapped::new(&request(Some(&file), 2 * page(), Access::Read));
    drop(file);
    assert!(one.set(page(), 9));
    assert_eq!((two.get(page()), two.get(0)), (Some(9), Some(0)));
    assert_eq!(name.open(false).unwrap_err().kind(), ErrorKind::NotFound);
}
