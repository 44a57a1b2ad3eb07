//! The rows of the report, as JSON for programs and as a table for people.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::trace::Cost;

/// The unit of a figure.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    Nanoseconds,
    /// Nanoseconds per element, for operations on this many elements.
    NanosecondsEach(u64),
    Microseconds,
    Milliseconds,
    /// GB/s (10⁹ bytes), for operations on this many bytes.
    Rate(u64),
    /// Millions of elements per second, for operations on this many elements.
    Millions(u64),
}

impl Unit {
    pub fn rate(bytes: usize) -> Self {
        Self::Rate(bytes as u64)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds | Self::NanosecondsEach(_) => "ns",
            Self::Microseconds => "us",
            Self::Milliseconds => "ms",
            Self::Rate(_) => "GB/s",
            Self::Millions(_) => "M/s",
        }
    }

    pub fn better(self) -> &'static str {
        if matches!(self, Self::Rate(_) | Self::Millions(_)) { "higher" } else { "lower" }
    }

    pub fn of_seconds(self, seconds: f64) -> f64 {
        match self {
            Self::Nanoseconds => seconds * 1e9,
            Self::NanosecondsEach(count) => seconds * 1e9 / count as f64,
            Self::Microseconds => seconds * 1e6,
            Self::Milliseconds => seconds * 1e3,
            Self::Rate(bytes) => bytes as f64 / seconds / 1e9,
            Self::Millions(count) => count as f64 / seconds / 1e6,
        }
    }
}

/// The ratio to reach: an upper bound for times, a lower bound for rates.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    pub bound: f64,
}

impl Goal {
    pub fn at_most(bound: f64) -> Self {
        Self { bound }
    }

    pub fn at_least(bound: f64) -> Self {
        Self { bound }
    }

    /// Returns `true` if the better end of the ratio's interval reaches the goal.
    pub fn reached_by(self, unit: Unit, [low, high]: [f64; 2]) -> bool {
        if unit.better() == "lower" { low <= self.bound } else { high >= self.bound }
    }
}

/// One figure beside one peer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub figure: String,
    pub unit: String,
    /// `lower` or `higher`.
    pub better: String,
    /// The median of this library's rounds.
    pub ours: Option<f64>,
    /// The first and third quartile of this library's rounds.
    pub spread: Option<[f64; 2]>,
    pub peer: Option<f64>,
    pub peer_name: String,
    /// The median of the ratios of the rounds, this library's to the peer's.
    pub ratio: Option<f64>,
    /// The 95 % interval of that median.
    pub interval: Option<[f64; 2]>,
    /// The ratio to reach; `None` if the row only reports.
    pub goal: Option<f64>,
    pub met: Option<bool>,
    /// The reason for missing figures.
    pub skipped: Option<String>,
    pub rounds: usize,
    /// The cost of one operation regardless of the machine, if it consists mostly of system calls.
    pub costs: Option<Costs>,
}

/// The costs of both sides.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Costs {
    pub ours: Cost,
    pub peer: Cost,
}

impl Row {
    pub fn skipped(figure: &str, reason: impl Into<String>) -> Self {
        Self {
            figure: figure.to_owned(),
            unit: String::new(),
            better: String::new(),
            ours: None,
            spread: None,
            peer: None,
            peer_name: String::new(),
            ratio: None,
            interval: None,
            goal: None,
            met: None,
            skipped: Some(reason.into()),
            rounds: 0,
            costs: None,
        }
    }

    /// Adds the cost of an operation in instructions and system calls.
    pub fn with_costs(mut self, ours: &Cost, peer: &Cost) -> Self {
        self.costs = Some(Costs { ours: ours.clone(), peer: peer.clone() });
        self
    }

    /// Returns `true` if the whole interval reaches the goal, not only its better end.
    fn surely(&self) -> bool {
        let (Some([low, high]), Some(goal)) = (self.interval, self.goal) else {
            return false;
        };
        if self.better == "lower" { high <= goal } else { low >= goal }
    }

    fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) if self.surely() => "met",
            Some(true) => "met (within noise)",
            Some(false) => "MISSED",
            None => "",
        }
    }
}

/// Formats all rows as one JSON array.
pub fn json(rows: &[Row]) -> String {
    serde_json::to_string_pretty(rows).expect("rows are plain data")
}

/// Formats all rows as a table, followed by the reasons for skipped rows.
pub fn table(rows: &[Row]) -> String {
    let head = ["figure", "ours", "spread", "peer", "", "ratio", "95 % interval", "goal", ""];
    let mut cells = vec![head.map(str::to_owned)];
    for row in rows.iter().filter(|row| row.skipped.is_none()) {
        cells.push(line(row));
    }
    let mut widths = [0; 9];
    for line in &cells {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &cells {
        let mut out = String::new();
        for (column, (width, cell)) in widths.iter().zip(line).enumerate() {
            let left = matches!(column, 0 | 4 | 8);
            let _ = if left {
                write!(out, "{cell:<width$}  ")
            } else {
                write!(out, "{cell:>width$}  ")
            };
        }
        let _ = writeln!(text, "{}", out.trim_end());
    }
    let mut figure = "";
    for row in rows {
        let Some(costs) = &row.costs else { continue };
        if figure != row.figure {
            figure = &row.figure;
            let _ = writeln!(text, "\n{figure}:\n  ours: {}", costs.ours);
        }
        let _ = writeln!(text, "  {}: {}", row.peer_name, costs.peer);
    }
    for row in rows {
        if let Some(reason) = &row.skipped {
            let _ = writeln!(text, "\nskipped: {}: {reason}", row.figure);
        }
    }
    let goals = rows.iter().filter(|row| row.met.is_some()).count();
    let met = rows.iter().filter(|row| row.met == Some(true)).count();
    let skipped = rows.iter().filter(|row| row.skipped.is_some()).count();
    let _ = writeln!(text, "\n{met} of {goals} goals met, {skipped} skipped");
    text
}

fn line(row: &Row) -> [String; 9] {
    let value = |x: Option<f64>| x.map(number).unwrap_or_default();
    let sign = if row.better == "lower" { "≤" } else { "≥" };
    [
        row.figure.clone(),
        format!("{} {}", value(row.ours), row.unit),
        row.spread.map(|[a, b]| format!("{}–{}", number(a), number(b))).unwrap_or_default(),
        value(row.peer),
        row.peer_name.clone(),
        row.ratio.map(|r| format!("{r:.3}")).unwrap_or_default(),
        row.interval.map(|[a, b]| format!("{a:.3}–{b:.3}")).unwrap_or_default(),
        row.goal.map(|g| format!("{sign} {g:.2}")).unwrap_or_default(),
        row.verdict().to_owned(),
    ]
}

/// Formats `x` with three or four significant digits.
fn number(x: f64) -> String {
    match x.abs() {
        x if x >= 1000.0 => format!("{:.0}", x),
        x if x >= 100.0 => format!("{:.1}", x),
        x if x >= 1.0 => format!("{:.2}", x),
        x => format!("{:.3}", x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A goal is reached if the better end of the interval reaches it.
    #[test]
    fn a_goal_is_reached_by_the_better_end_of_the_interval() {
        let time = Goal::at_most(1.02);
        assert!(time.reached_by(Unit::Microseconds, [1.01, 1.05]));
        assert!(!time.reached_by(Unit::Microseconds, [1.03, 1.05]));
        let rate = Goal::at_least(0.97);
        assert!(rate.reached_by(Unit::rate(8), [0.90, 0.98]));
        assert!(!rate.reached_by(Unit::rate(8), [0.90, 0.96]));
    }

    /// The JSON rows have the fields that the README documents.
    #[test]
    fn json_has_the_documented_fields() {
        let text = json(&[Row::skipped("x", "no disk")]);
        for field in [
            "figure",
            "unit",
            "better",
            "ours",
            "spread",
            "peer",
            "peer_name",
            "ratio",
            "goal",
            "met",
            "skipped",
        ] {
            assert!(text.contains(&format!("\"{field}\"")), "{field} is missing");
        }
    }
}
