//! How far a run is: a bar on a terminal, a line for each tenth elsewhere. Both on stderr; the summary has stdout.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

/// Shown while artefacts are fetched.
pub(crate) enum Progress {
    /// For people.
    Bar(ProgressBar),
    /// For logs.
    Lines {
        /// Artefacts that are finished.
        done: AtomicUsize,
        /// All of them.
        total: usize,
    },
}

impl Progress {
    /// Begins; `total` artefacts are to be done.
    pub(crate) fn start(total: usize) -> Self {
        if !stderr().is_terminal() {
            return Self::Lines { done: AtomicUsize::new(0), total };
        }
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} artefacts {elapsed} (left: {eta})");
        Self::Bar(ProgressBar::new(total as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// One more is done.
    pub(crate) fn step(&self) {
        match self {
            Self::Bar(bar) => bar.inc(1),
            Self::Lines { done, total } => {
                let now = done.fetch_add(1, Ordering::Relaxed) + 1;
                if now * 10 / total != (now - 1) * 10 / total {
                    self.line(&format!("{now}/{total} artefacts"));
                }
            }
        }
    }

    /// A message between.
    pub(crate) fn line(&self, text: &str) {
        match self {
            Self::Bar(bar) => bar.println(text),
            // Nobody may be listening any more; the work goes on.
            Self::Lines { .. } => drop(writeln!(stderr().lock(), "{text}")),
        }
    }

    /// Ends; the bar goes.
    pub(crate) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
