//! `sharemap-bench budget`: user instructions of the shortest operations, counted exactly.
//!
//! A time differs from run to run and from processor to processor. The number of instructions does not, so it
//! shows a path that has grown by a few. It depends on the compiler: the limits name theirs, and another
//! compiler prints its counts without judging them.

mod steps;

use std::cell::RefCell;
use std::hint::black_box;

use sharemap::channel::Spsc;
use sharemap::containers::HashMap;
use sharemap::{Location, MappingMut, Mutex, Offset, RwLock, Segment, Shared};

use crate::reason::{Reason, why};
use steps::Steps;

/// The compiler of the limits below, as `rustc --version` prints it.
const TOOLCHAIN: &str = "rustc 1.95.0";

/// An operation, and the most user instructions that it may take.
struct Budget {
    name: &'static str,
    limit: u64,
}

const LOCK: Budget = Budget { name: "mutex: lock, add 1, unlock", limit: 73 };
const NESTED: Budget = Budget { name: "two mutexes of one object, nested", limit: 162 };
const READ: Budget = Budget { name: "rwlock: read, unlock", limit: 69 };
const WRITE: Budget = Budget { name: "rwlock: write, add 1, unlock", limit: 76 };
const GET: Budget = Budget { name: "view: get of a u64", limit: 16 };
const SET: Budget = Budget { name: "view: set of a u64", limit: 15 };
const FOLD: Budget = Budget { name: "view: fold of 16 KiB of u64", limit: 2024 };

// Some more than usual: by the seed, a tag can be like another key's.
const FIND: Budget = Budget { name: "map: get of a u64 that is present", limit: 106 };
const MISS: Budget = Budget { name: "map: get of a u64 that is absent", limit: 101 };
const FIND_TEXT: Budget = Budget { name: "map: get by a str of 18 bytes", limit: 320 };
const NAMED: Budget = Budget { name: "segment: named value", limit: 416 };

const ATTACH: Budget = Budget { name: "segment: attach and detach 32 bytes", limit: 569 };
const INSERT: Budget = Budget { name: "map: insert of a u64 that is present", limit: 330 };
const REPLACE: Budget = Budget { name: "map: insert of a str that is present", limit: 1570 };
const MESSAGE: Budget = Budget { name: "spsc: send and receive a u64", limit: 156 };

/// Counts every operation. Fails if one takes more instructions than its limit.
pub fn run() -> Result<(), Reason> {
    let compiled_by = env!("SHAREMAP_RUSTC_VERSION");
    // A fold chooses its vectors by the processor.
    let judged = compiled_by.starts_with(TOOLCHAIN) && has_avx2();
    if !judged {
        println!(
            "not judged: {compiled_by}; the limits are those of {TOOLCHAIN} on x86-64 with AVX2"
        );
    }
    let mut exceeded = Vec::new();
    let steps = match Steps::new() {
        Ok(steps) => steps,
        Err(reason) => {
            println!("skipped: children may not be traced: {reason}");
            return Ok(());
        }
    };
    for (budget, operation) in operations()? {
        let count = steps.count(operation)?;
        println!("{:40} {count:4} of {:4}", budget.name, budget.limit);
        if count > budget.limit {
            exceeded.push(budget.name);
        }
    }
    match (judged, exceeded.is_empty()) {
        (true, false) => Err(format!("over the budget: {}", exceeded.join("; "))),
        _ => Ok(()),
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    std::is_x86_feature_detected!("avx2")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_avx2() -> bool {
    false
}

/// Makes so many calls of the operation, in a loop.
type Operation = Box<dyn Fn(u32)>;

fn operations() -> Result<Vec<(Budget, Operation)>, Reason> {
    type Object = (Mutex<u64>, Mutex<u64>, RwLock<u64>);
    let object: &'static Shared<Object> = Box::leak(Box::new(
        Shared::create_new(Location::anonymous(), || {
            (Mutex::new(0), Mutex::new(0), RwLock::new(0))
        })
        .map_err(why)?,
    ));
    let map = Box::leak(Box::new(MappingMut::anonymous(1 << 16).map_err(why)?));
    let view = &*Box::leak(Box::new(map.view::<u64>().map_err(why)?));
    let block = &*Box::leak(Box::new(map.view_at::<u64>(0, 2048).map_err(why)?));
    let Maps { segment, place, words, texts, long } = &*Box::leak(Box::new(maps()?));
    let channel = Spsc::<u64>::create_new(Location::anonymous(), 64).map_err(why)?;
    let ends = RefCell::new((None, None));
    macro_rules! repeated {
        ($($operation:tt)*) => {
            Box::new(move |repeats| {
                for _ in 0..repeats {
                    $($operation)*
                }
            })
        };
    }
    Ok(vec![
        (LOCK, repeated! { *black_box(object).0.lock().unwrap() += 1; }),
        (
            NESTED,
            repeated! {
                let object = black_box(object);
                let mut outer = object.0.lock().unwrap();
                let mut inner = object.1.lock().unwrap();
                *outer += 1;
                *inner += 1;
            },
        ),
        (READ, repeated! { black_box(*black_box(object).2.read().unwrap()); }),
        (WRITE, repeated! { *black_box(object).2.write().unwrap() += 1; }),
        (GET, repeated! { black_box(black_box(view).get(black_box(7)).unwrap()); }),
        (SET, repeated! { black_box(view).set(black_box(7), 1).unwrap(); }),
        (FIND, repeated! { black_box(black_box(words).get(black_box(&1)).unwrap()); }),
        (MISS, repeated! { black_box(black_box(words).get(black_box(&u64::MAX)).unwrap()); }),
        (FIND_TEXT, repeated! { black_box(black_box(texts).get(black_box(NAME)).unwrap()); }),
        (
            NAMED,
            repeated! { black_box(black_box(segment).value::<u64>(black_box(NAME)).unwrap()); },
        ),
        (
            ATTACH,
            repeated! {
                black_box(segment).attach(black_box(*place), black_box(&[7; 4])).unwrap();
                black_box(segment).detach(black_box(*place)).unwrap();
            },
        ),
        (INSERT, repeated! { black_box(words).insert(black_box(&1), black_box(&8)).unwrap(); }),
        (REPLACE, repeated! { black_box(long).insert(black_box(NAME), black_box(NAME)).unwrap(); }),
        (
            MESSAGE,
            Box::new(move |repeats| {
                // In the child, which a copy of its parent's ends would not serve.
                let (sender, receiver) = &mut *ends.borrow_mut();
                let sender = sender.get_or_insert_with(|| channel.sender().unwrap());
                let receiver = receiver.get_or_insert_with(|| channel.receiver().unwrap());
                for _ in 0..repeats {
                    black_box(&mut *sender).send(black_box(&7)).unwrap();
                    black_box(black_box(&mut *receiver).recv().unwrap());
                }
            }),
        ),
        (
            FOLD,
            repeated! {
                let sum = black_box(block).iter().try_fold(0_u64, |sum, element| {
                    element.map(|element| sum.wrapping_add(element))
                });
                black_box(sum.unwrap());
            },
        ),
    ])
}

/// A name of 18 bytes.
const NAME: &str = "object/name/123456";

/// A segment, and what operations use of it.
struct Maps {
    segment: Segment,
    /// A place for the offset of an object.
    place: Offset<Offset<[u64; 4]>>,
    words: HashMap<u64, u64>,
    texts: HashMap<str, u64>,
    long: HashMap<str, str>,
}

/// Makes a segment with a named value, a map of words, and two of text with one key.
fn maps() -> Result<Maps, Reason> {
    let segment = Segment::create_new(Location::anonymous(), 1 << 20, 1 << 26).map_err(why)?;
    segment.set_value(NAME, &7_u64).map_err(why)?;
    let place = segment.allocate(&Offset::NONE).map_err(why)?;
    let words = segment.hash_map("words").map_err(why)?;
    // So many that each lock has a page.
    for key in 0..500 {
        words.insert(&key, &7).map_err(why)?;
    }
    let texts = segment.hash_map("texts").map_err(why)?;
    texts.insert(NAME, &7).map_err(why)?;
    let long = segment.hash_map("long").map_err(why)?;
    long.insert(NAME, NAME).map_err(why)?;
    Ok(Maps { segment, place, words, texts, long })
}
