//! A figure: a name, and a measurement that returns rows.

use crate::Setup;
use crate::measure::Reason;
use crate::report::Row;

/// Measures and returns the rows, or the reason for which this machine cannot measure them.
#[derive(Clone, Copy)]
pub struct Figure {
    pub name: &'static str,
    pub run: fn(&Setup) -> Result<Vec<Row>, Reason>,
}
