//! The peers: what a program does without this library.

pub mod boost;
pub mod child;
pub mod count;
pub mod fault;
pub mod futex;
pub mod pthread;
pub mod raw;
pub mod served;
