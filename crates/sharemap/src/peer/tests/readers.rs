//! Read-only and copy-on-write attachments.

use super::{Scratch, has_readers, is_free, need_atomics, release, shape};
use crate::error::ErrorKind;
use crate::peer::header::READERS;
use crate::peer::machine::Machine;
use crate::peer::memory::Attachment;
use crate::peer::{OpenOptions, create};
use crate::sys::SlotMode;

#[test]
fn readers_are_no_participants() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    session.store_32(session.payload().0, 6).unwrap();
    assert!(is_free(&session, READERS));
    for attachment in [Attachment::ReadOnly, Attachment::CopyOnWrite] {
        let terms = OpenOptions::separate();
        let reader =
            create::open_as(&file.location(), &shape(), &terms, attachment, release).unwrap();
        assert_eq!(reader.load_32(reader.payload().0).unwrap(), 6);
        assert!(has_readers(&session));
        assert_eq!(session.participants().unwrap().len(), 1);
        let error = reader.announce(0x1000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotWritable, "{error}");
    }
    assert!(is_free(&session, READERS));
    let reader = create::open_as(
        &file.location(),
        &shape(),
        &OpenOptions::separate(),
        Attachment::ReadOnly,
        release,
    );
    let error = reader.unwrap().store_32(session.payload().0, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fault);
}

/// A reader needs its shared lock to keep the object in use. A process that keeps that lock exclusively
/// therefore makes it fail.
#[test]
fn a_reader_gets_its_lock_or_an_error() {
    need_atomics!();
    let file = Scratch::new();
    let session = file.create();
    let look = || {
        let (location, attachment) = (file.location(), Attachment::ReadOnly);
        create::open_as(&location, &shape(), &OpenOptions::separate(), attachment, release)
    };
    let alone = session.slots.take(READERS, SlotMode::Alone).unwrap().expect("free");
    let error = look().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(error.path(), Some(file.0.as_path()), "{error}");
    std::thread::scope(|scope| {
        let reader = scope.spawn(look);
        drop(alone);
        let _reader = reader.join().unwrap().unwrap();
        assert!(has_readers(&session));
    });
}
