//! What is measured: a name, and a contest that gives rows.

use crate::Setup;
use crate::measure::Reason;
use crate::report::Row;

/// A contest and the rows it gives; a reason, if it cannot be held here.
#[derive(Clone, Copy)]
pub struct Figure {
    pub name: &'static str,
    pub run: fn(&Setup) -> Result<Vec<Row>, Reason>,
}
