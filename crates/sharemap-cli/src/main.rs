//! The `sharemap` command.

fn main() {}
