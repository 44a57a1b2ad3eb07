//! Tests of the algorithms: the explorer searches interleavings, buffered stores and deaths; the races run on
//! real processors.

mod explorer;
mod races;
