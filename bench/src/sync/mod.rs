//! The figures of locks between processes, a file for each group. Our side uses nothing but the safe
//! public interface of the library.

mod contended;
mod death;
mod uncontended;
mod wake;

use crate::figure::Figure;

/// All of them, in the order of the report.
pub fn figures() -> Vec<Figure> {
    [uncontended::FIGURES, contended::FIGURES, wake::FIGURES, death::FIGURES].concat()
}
