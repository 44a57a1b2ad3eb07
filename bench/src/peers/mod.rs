//! The peers: what a program does without this library.

pub mod archive;
pub mod boost;
pub mod child;
pub mod churn;
pub mod count;
pub mod fault;
pub mod futex;
pub mod lmdb;
pub mod pthread;
pub mod raw;
pub mod redb;
pub mod ring;
pub mod served;
pub mod shared;
pub mod stream;
