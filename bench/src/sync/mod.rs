//! The figures of locks between processes, one file per group. This library's side uses only its
//! safe public interface.

mod contended;
mod death;
mod uncontended;
mod wake;

use crate::figure::Figure;

/// Returns all figures in the order of the report.
pub fn figures() -> Vec<Figure> {
    [uncontended::FIGURES, contended::FIGURES, wake::FIGURES, death::FIGURES].concat()
}
