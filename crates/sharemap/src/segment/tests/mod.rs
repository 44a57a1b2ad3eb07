//! Tests of changes and of their completion.

mod explorer;
mod heap;
mod hostile;
mod like_hashes;
mod map;
mod prefix;
mod small;
mod storm;
mod toy;
