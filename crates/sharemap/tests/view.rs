//! Views: each method compared with the same operation on a slice, and faults in each of them.

mod common;
#[path = "common/random.rs"]
mod random;

#[path = "view/elements.rs"]
mod elements;
#[path = "view/faults.rs"]
mod faults;
#[path = "view/finding.rs"]
mod finding;
#[path = "view/gathering.rs"]
mod gathering;
#[path = "view/limits.rs"]
mod limits;
#[path = "view/order.rs"]
mod order;
#[path = "view/properties.rs"]
mod properties;
#[path = "view/reading.rs"]
mod reading;
#[path = "view/searching.rs"]
mod searching;
#[path = "view/values.rs"]
mod values;
#[path = "view/writing.rs"]
mod writing;
