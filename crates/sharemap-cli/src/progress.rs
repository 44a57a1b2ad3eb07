//! Progress on standard error, where a person looks at it, and only for work that takes a while.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Work shorter than this shows nothing.
const PATIENCE: Duration = Duration::from_millis(400);

/// Bytes done of a total.
pub(crate) struct Progress {
    label: &'static str,
    total: u64,
    done: u64,
    begun: Instant,
    bar: Option<ProgressBar>,
    wanted: bool,
}

impl Progress {
    /// `total` of 0: not known.
    #[allow(clippy::disallowed_methods, reason = "asked whether a person looks")]
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

    /// For commands whose data may go to the same terminal, where a bar would be in the way.
    #[allow(clippy::disallowed_methods, reason = "asked whether a person looks")]
    pub(crate) fn beside_data(label: &'static str, total: u64) -> Self {
        let mut progress = Self::new(label, total);
        progress.wanted &= !std::io::stdout().is_terminal();
        progress
    }

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
