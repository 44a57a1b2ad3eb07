//! The figures of mapping and guarded access, a file for each group. Our side uses nothing but the
//! safe public interface of the library.

mod cold;
mod contents;
mod copies;
mod durable;
mod fault;
mod fresh;
mod hash;
mod huge;
pub mod native;
mod newlines;
mod open;
mod random;
mod sum;

use crate::Setup;
use crate::measure::Reason;
use crate::report::Row;

/// A contest and the rows it gives; a reason, if it cannot be held here.
pub struct Figure {
    pub name: &'static str,
    pub run: fn(&Setup) -> Result<Vec<Row>, Reason>,
}

/// All of them, in the order of the report.
pub fn figures() -> Vec<Figure> {
    let groups: [&[Figure]; 13] = [
        open::FIGURES,
        sum::FIGURES,
        native::FIGURES,
        hash::FIGURES,
        newlines::FIGURES,
        random::FIGURES,
        copies::FIGURES,
        fault::FIGURES,
        huge::FIGURES,
        fresh::FIGURES,
        cold::FIGURES,
        contents::FIGURES,
        durable::FIGURES,
    ];
    let all = groups.into_iter().flatten();
    all.map(|figure| Figure { name: figure.name, run: figure.run }).collect()
}
