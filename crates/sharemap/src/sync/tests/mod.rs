//! Tests of the algorithms: the explorer searches interleavings, buffered stores and deaths; the races run on
//! real processors; the faults are those of memory that is lost between two steps.

mod explorer;
mod faults;
pub(super) mod object;
mod races;
