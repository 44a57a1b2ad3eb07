//! Progress bars on standard error, shown on a terminal and for long work only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// The time before a bar is shown.
const PATIENCE: Duration = Duration::from_millis(400);

/// The progress of work, in bytes done of a total. Dropping it removes the bar.
pub(crate) struct Progress {
    label: &'static str,
    total: u64,
    done: u64,
    begun: Instant,
    bar: Option<ProgressBar>,
    wanted: bool,
}

impl Progress {
    /// Begins work of `total` bytes; 0 means that the total is unknown.
    #[allow(clippy::disallowed_methods, reason = "only asks whether it is a terminal")]
    pub(crate) fn new(label: &'static str, total: u64) -> Self {
        Self {
            label,
            total,
            done: 0,
            begun: Instant::now(),
            bar: None,
            wanted: std::io::stderr().is_terminal(),
        }
    }

    /// Begins work that prints data. No bar is shown if the data goes to a terminal.
    #[allow(clippy::disallowed_methods, reason = "only asks whether it is a terminal")]
    pub(crate) fn beside_data(label: &'static str, total: u64) -> Self {
        let mut progress = Self::new(label, total);
        progress.wanted &= !std::io::stdout().is_terminal();
        progress
    }

    /// Adds `bytes` to what is done, and updates the bar.
    pub(crate) fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        if !self.wanted {
            return;
        }
        if self.bar.is_none() && self.begun.elapsed() > PATIENCE {
            self.bar = Some(bar(self.label, self.total));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(label: &'static str, total: u64) -> ProgressBar {
    let target = ProgressDrawTarget::stderr();
    let (bar, template) = if total == 0 {
        let bar = ProgressBar::with_draw_target(None, target);
        (bar, "{msg} {binary_bytes} {binary_bytes_per_sec}")
    } else {
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = "{msg} [{wide_bar}] {binary_bytes} of {binary_total_bytes}, {eta} left";
        (bar, template)
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(label);
    bar
}
