//! The memory of a segment is given back: by maps that have few keys left, and by threads that have ended.

use sharemap::containers::HashMap;
use sharemap::{ErrorKind, Result};

use super::{anonymous, assert_whole, need_atomics};

#[test]
fn pages_with_few_keys_merge() {
    need_atomics!();
    let segment = anonymous(1 << 20, 1 << 26);
    let map = segment.hash_map::<u64, u64>("map").unwrap();
    for key in 0..50_000 {
        map.insert(&key, &(2 * key)).unwrap();
    }
    let full = map.memory().unwrap();
    for key in 1000..50_000 {
        assert_eq!(map.remove(&key).unwrap(), Some(2 * key));
    }
    let left = map.memory().unwrap();
    assert!(left < full / 8, "{left} bytes of {full} are left for a fiftieth of the keys");
    assert_eq!(map.len().unwrap(), 1000);
    for key in 0..1000 {
        assert_eq!(map.get(&key).unwrap(), Some(2 * key));
    }
    assert_whole(&segment, 0);
}

/// Keys that are present throughout are returned once, while pages split and merge.
#[test]
fn iteration_returns_each_key_once_while_pages_merge() {
    need_atomics!();
    let segment = anonymous(1 << 20, 1 << 26);
    let map = segment.hash_map::<u64, u64>("map").unwrap();
    for key in 0..20_000 {
        map.insert(&key, &key).unwrap();
    }
    let mut found = Vec::new();
    for (number, pair) in map.iter().enumerate() {
        let (key, value) = pair.unwrap();
        assert_eq!(key, value);
        if key % 100 == 0 {
            found.push(key);
        }
        // All keys but each hundredth are removed, and inserted again, while the iteration goes on.
        if number % 500 == 0 {
            let change = |key: &u64| match number % 1000 {
                0 => map.remove(key).map(drop),
                _ => map.insert(key, key).map(drop),
            };
            (0..20_000).filter(|key| key % 100 != 0).try_for_each(|key| change(&key)).unwrap();
        }
    }
    found.sort_unstable();
    assert_eq!(found, (0..20_000).step_by(100).collect::<Vec<u64>>());
    assert_whole(&segment, 0);
}

/// What threads kept for their next allocations is used by others, if the segment is full.
#[test]
fn a_full_segment_uses_what_ended_threads_kept() {
    need_atomics!();
    let segment = anonymous(1 << 20, 2 << 20);
    let map = segment.hash_map::<u64, [u8]>("map").unwrap();
    // Each thread has a lane of its own, as the others live.
    let threads = 8;
    let barrier = std::sync::Barrier::new(threads);
    std::thread::scope(|scope| {
        let start = |thread: u64| {
            let (map, barrier) = (&map, &barrier);
            scope.spawn(move || {
                let keys = (0..16).map(|key| 1000 * thread + key);
                keys.clone().for_each(|key| drop(map.insert(&key, &[1; 900]).unwrap()));
                keys.for_each(|key| drop(map.remove(&key).unwrap()));
                barrier.wait();
            })
        };
        let started: Vec<_> = (0..threads as u64).map(start).collect();
        // Only a thread that was joined has released its lane.
        started.into_iter().for_each(|thread| thread.join().unwrap());
    });
    let kept = || -> u64 {
        segment.stats().unwrap().blocks.iter().map(|block| block.kept * block.size).sum()
    };
    let before = kept();
    assert!(before > 64 << 10, "threads kept {before} bytes only");
    let error = fill(&map).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert_eq!(kept(), 0);
    assert_whole(&segment, 0);
}

/// Inserts until an error.
fn fill(map: &HashMap<u64, [u8]>) -> Result<()> {
    for key in 100_000.. {
        map.insert(&key, &[7; 900])?;
    }
    Ok(())
}

/// The whole reservation asks for huge pages, in each process that opens the segment with the option.
#[cfg(target_os = "linux")]
#[test]
fn huge_pages_are_requested() {
    use sharemap::{SharedOptions, UnlinkOnDrop};

    need_atomics!();
    if !std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        println!("skipped: this kernel has no transparent huge pages");
        return;
    }
    let name = format!("segment-huge-{}", std::process::id());
    let _unlinked = UnlinkOnDrop::new(&name);
    // The length in kB, and the flags, of the mapping of the segment.
    let mapped = || {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines().skip_while(|line| !line.ends_with(&name));
        let mut value = |key: &str| {
            let line = lines.find(|line| line.starts_with(key)).expect("the segment is mapped");
            line.trim_start_matches(key).trim().to_owned()
        };
        (value("Size:"), value("VmFlags:"))
    };
    let asks = |flags: &str| flags.split(' ').any(|flag| flag == "hg");
    let options = SharedOptions::new();
    // A creator's mapping may have no name.
    drop(options.create_new_segment(&name, 1 << 20, 1 << 26).unwrap());
    let plain = options.open_segment(&name).unwrap();
    if mapped().1.is_empty() || std::env::var_os("SHAREMAP_EMULATED").is_some() {
        println!("skipped: the flags of a mapping are unknown here");
        return;
    }
    assert!(!asks(&mapped().1));
    // The process has one mapping, and the request is added to it.
    let huge = options.clone().transparent_huge_pages().open_segment(&name).unwrap();
    let (len, flags) = mapped();
    assert!(asks(&flags), "{flags}");
    assert_eq!(len, format!("{} kB", (1 << 26) / 1024), "all of the reservation");
    huge.set_value("answer", &42_u32).unwrap();
    assert_eq!(plain.value::<u32>("answer").unwrap(), Some(42));
    drop((plain, huge));
    let again = options.transparent_huge_pages().open_segment_read_only(&name).unwrap();
    assert!(asks(&mapped().1));
    assert_eq!(again.value::<u32>("answer").unwrap(), Some(42));
}
