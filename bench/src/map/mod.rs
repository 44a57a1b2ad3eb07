//! The figures of mapping and guarded access, one file per group. This library's side uses only its
//! public interface, and `unsafe` only for guarded slices.

mod cold;
mod copies;
mod durable;
mod fault;
mod file_contents;
mod finders;
mod fresh;
mod hash;
mod huge;
pub mod native;
mod newlines;
mod open;
mod placed;
mod random;
mod rows;
mod slices;
mod streams;
mod sum;

pub use crate::figure::Figure;

/// Returns all figures in the order of the report.
pub fn figures() -> Vec<Figure> {
    let groups: [&[Figure]; 17] = [
        open::FIGURES,
        sum::FIGURES,
        native::FIGURES,
        hash::FIGURES,
        newlines::FIGURES,
        finders::FIGURES,
        streams::FIGURES,
        rows::FIGURES,
        random::FIGURES,
        copies::FIGURES,
        slices::FIGURES,
        fault::FIGURES,
        huge::FIGURES,
        fresh::FIGURES,
        cold::FIGURES,
        file_contents::FIGURES,
        durable::FIGURES,
    ];
    groups.concat()
}
