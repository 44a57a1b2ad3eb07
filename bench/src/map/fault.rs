//! One load from a page that is gone, from the instruction until the error is dropped.

use std::hint::black_box;

use sharemap::{ErrorKind, Mapping};

use super::Figure;
use crate::figure::Setup;
use crate::measure::Contest;
use crate::peers::{fault, served::Served};
use crate::reason::{Reason, why};
use crate::report::{Goal, Row, Unit};
use crate::samples;

const NAME: &str = "one caught fault";

pub const FIGURES: &[Figure] = &[Figure { name: NAME, run: rows }];

fn rows(setup: &Setup) -> Result<Vec<Row>, Reason> {
    let file = samples::in_memory(2 * 4096)?;
    let map = Mapping::map(&file).map_err(why)?;
    let view = map.view::<u64>().map_err(why)?;
    file.set_len(4096).map_err(why)?;
    let mut peer = Served::start(fault::NAME)?;
    let outcome = Contest::new()
        .timed_side(fault::NAME, move |repeats| peer.run(repeats))
        .side("get", || match black_box(view).get(512) {
            Err(error) if error.kind() == ErrorKind::Fault => Ok(()),
            Err(error) => Err(why(error)),
            Ok(word) => Err(format!("the load of a missing page returned {word}")),
        })
        .run(setup.effort)?;
    let goal = Some(Goal::at_most(1.3));
    Ok(vec![outcome.row(NAME, Unit::Nanoseconds, "get", fault::NAME, goal)])
}
