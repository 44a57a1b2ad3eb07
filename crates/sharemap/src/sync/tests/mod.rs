//! Tests of the algorithms: the explorer searches interleavings, buffered stores and deaths; the races run on
//! real processors.

mod explorer;
pub(super) mod object;
mod races;
