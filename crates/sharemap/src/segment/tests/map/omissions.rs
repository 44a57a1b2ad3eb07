//! Each store of each operation of the script is left out once. It must be noticed, or write a word that nothing reads.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{FORMS, Moment, script};
use crate::segment::census;
use crate::segment::heap::SpanKind;
use crate::segment::tests::prefix::{Access, Hole, Prefix};
use crate::segment::tests::small::{HEAP, Operation, area, check};
use crate::testing::leaves_out_searches;

/// How a store that was left out was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Noticed {
    /// The operation, or one of the following, is wrong.
    Afterwards,
    /// A death in the operation is not completed.
    ByDeath,
    /// Not at all, as what was prepared is given up, and the word is written again in the same operation.
    Rewritten,
    /// Not at all, as what was prepared is given up, and its memory is free.
    GivenUp,
    /// Not at all, as nothing reads the word before it is written again.
    Unread,
    /// Not at all, although the word is read.
    Never,
}

/// Returns `true` if `at` lies in a block that is free.
fn is_free_block(moment: &Moment, at: u64) -> bool {
    let machine = Prefix::of(&moment.image);
    let Some(span) = HEAP.span_of(at) else { return false };
    let SpanKind::Class(entry) = HEAP.kind(&machine, span).unwrap() else { return false };
    let blocks = HEAP.blocks(span, entry.class);
    let Some(from) = at.checked_sub(blocks.at) else { return false };
    let block = blocks.at + from / blocks.size * blocks.size;
    let census = census::take(&machine, HEAP, &[area(&machine, 0)]).unwrap();
    !census.allocated.contains(&block)
}

/// Leaves out a store of an operation, but of those to locks, to their list and to the commit word, and runs the
/// following operations. Returns how that was noticed, and where the store was.
fn leave_out(moment: &Moment, script: &[Operation], store: u64) -> (Noticed, Option<Hole>) {
    let (operation, rest) = (script[0], &script[1..]);
    let (mut place, mut is_free) = (None, false);
    let whole = catch_unwind(AssertUnwindSafe(|| {
        let (after, _, hole) = moment.run(operation, Some(store))?;
        place = hole;
        is_free = hole.is_some_and(|hole| is_free_block(&after, hole.at));
        after.run_all(rest)
    }));
    let Some(hole) = place.filter(|_| matches!(whole, Ok(Ok(())))) else {
        return (Noticed::Afterwards, place);
    };
    if !matches!(catch_unwind(|| moment.kill(operation, Some(store))), Ok(Ok(_))) {
        return (Noticed::ByDeath, place);
    }
    let scribbled = catch_unwind(AssertUnwindSafe(|| {
        let (mut after, ..) = moment.run(operation, None)?;
        after.image[hole.at as usize..][..8].fill(0x5a);
        let found = check(&after.handle.copy(), &Prefix::of(&after.image))?;
        assert_eq!(found.values, after.model);
        after.run_all(rest)
    }));
    let is_unread = hole.next == Access::None && matches!(scribbled, Ok(Ok(())));
    let how = match hole {
        Hole { is_stored_again: true, .. } => Noticed::Rewritten,
        _ if is_free => Noticed::GivenUp,
        _ if is_unread => Noticed::Unread,
        _ => Noticed::Never,
    };
    (how, place)
}

/// Each store of each operation is needed, or writes a word that nothing reads.
#[test]
fn every_store_left_out_is_found() {
    if leaves_out_searches() {
        return;
    }
    let is_long = std::env::var_os("SHAREMAP_LONG").is_some_and(|long| long == "1");
    // Samples, and all in the long form.
    let step = match (is_long, cfg!(debug_assertions)) {
        (true, _) => 1,
        (false, false) => 7,
        (false, true) => 101,
    };
    for form in FORMS {
        let (mut moment, script, mut number) = (Moment::first(form), script(), 0);
        let mut noticed = BTreeMap::new();
        for index in 0..script.len() {
            let (after, stores, _) = moment.run(script[index], None).unwrap();
            for store in 0..stores {
                number += 1;
                if number % step != 0 {
                    continue;
                }
                let (how, place) = leave_out(&moment, &script[index..], store);
                *noticed.entry(how).or_insert(0) += 1;
                assert_ne!(
                    how,
                    Noticed::Never,
                    "store {store} of {:?}, number {index}, at {place:x?}, in a map of {form:?}",
                    script[index]
                );
            }
            moment = after;
        }
        println!("{form:?}, one of {step} of {number} stores left out: {noticed:?}");
        assert!(noticed[&Noticed::Afterwards] > 3);
    }
}
