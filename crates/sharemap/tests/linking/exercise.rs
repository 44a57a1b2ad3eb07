// Included by modules that import a copy of the library as `library`, and exercises that copy.

use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};

use self::library::guard::{self, Recovery};
use self::library::{ErrorKind, Mapping, MappingMut, page_size};

/// Makes guarded accesses of every kind fault, and asserts that each fault is recovered. The name
/// distinguishes the library's own faults from a foreign one, which kills the process.
pub fn ours() {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // The address distinguishes several copies in one process.
    let name = format!(
        "sharemap-linking-{}-{:x}-{}",
        std::process::id(),
        &raw const NEXT as usize,
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let path = std::env::temp_dir().join(name);
    let file: File = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (page, len) = (page_size(), 2 << 20);
    file.set_len(len as u64).unwrap();
    let map = MappingMut::map(&file).unwrap();
    let read = Mapping::map(&file).unwrap();
    file.set_len(page as u64).unwrap();

    let expected = if cfg!(sharemap_syscall_fallback) {
        Recovery::Syscall
    } else {
        Recovery::InPlace
    };
    assert_eq!(guard::recovery(), expected);
    assert_eq!(guard::check(), expected);

    let bytes = read.bytes();
    assert_eq!(bytes.get(7).unwrap(), 0);
    let error = bytes.get(page + 7).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Fault, Some(page as u64 + 7)));
    let error = bytes.to_vec().unwrap_err();
    assert_eq!((error.kind(), error.completed()), (ErrorKind::Fault, Some(page)));
    let error = bytes.read_at(page - 3, &mut [0; 100]).unwrap_err();
    assert_eq!((error.kind(), error.completed()), (ErrorKind::Fault, Some(3)));

    let words = map.view::<u64>().unwrap();
    let first_bad = page / 8;
    assert_eq!(words.iter().take_while(|word| word.is_ok()).count(), first_bad);
    words.set(first_bad - 1, 1).unwrap();
    assert_eq!(words.set(first_bad, 1).unwrap_err().kind(), ErrorKind::Fault);
    assert_eq!(map.bytes().write_at(0, &vec![1; len]).unwrap_err().completed(), Some(page));
    if expected == Recovery::InPlace {
        let word = words.atomic(first_bad).unwrap();
        assert_eq!(word.fetch_add(1, Ordering::SeqCst).unwrap_err().kind(), ErrorKind::Fault);
        let word = words.atomic(first_bad - 1).unwrap();
        assert_eq!(word.fetch_add(1, Ordering::SeqCst).unwrap(), u64::from_ne_bytes([1; 8]));
    }
}
