//! A figure: a name, and a measurement that returns rows.

use std::path::PathBuf;

use crate::measure::{Cpus, Effort};
use crate::reason::Reason;
use crate::report::Row;

/// The arguments of every figure.
pub struct Setup {
    pub effort: Effort,
    pub cpus: Cpus,
    /// A directory on disk.
    pub dir: PathBuf,
}

/// Measures and returns the rows, or the reason for which this machine cannot measure them.
#[derive(Clone, Copy)]
pub struct Figure {
    pub name: &'static str,
    pub run: fn(&Setup) -> Result<Vec<Row>, Reason>,
}
