//! The other side of every row: what a program does without this library.

pub mod fault;
pub mod raw;
pub mod served;
