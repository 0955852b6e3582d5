//! How far a run is: a bar on a terminal, a line for each tenth elsewhere. Both on stderr; the summary has stdout.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

/// Shown while long work is done.
#[derive(Debug)]
pub struct Progress {
    unit: &'static str,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// For people.
    Bar(ProgressBar),
    /// For logs: how many are finished, of how many.
    Lines(AtomicUsize, usize),
}

impl Progress {
    /// Begins; `total` of what `unit` names, such as `artefacts`, are to be done.
    pub fn start(total: usize, unit: &'static str) -> Self {
        if !stderr().is_terminal() {
            return Self { unit, form: Form::Lines(AtomicUsize::new(0), total) };
        }
        let style =
            ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {unit} {{elapsed}} (left: {{eta}})"));
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self { unit, form: Form::Bar(ProgressBar::new(total as u64).with_style(style)) }
    }

    /// One more is done.
    pub fn step(&self) {
        match &self.form {
            Form::Bar(bar) => bar.inc(1),
            Form::Lines(done, total) => {
                let now = done.fetch_add(1, Ordering::Relaxed) + 1;
                if now * 10 / (*total).max(1) != (now - 1) * 10 / (*total).max(1) {
                    self.line(&format!("{now}/{total} {}", self.unit));
                }
            }
        }
    }

    /// A message between.
    pub fn line(&self, text: &str) {
        match &self.form {
            Form::Bar(bar) => bar.println(text),
            // Nobody may be listening any more; the work goes on.
            Form::Lines(..) => drop(writeln!(stderr().lock(), "{text}")),
        }
    }

    /// Ends; the bar goes.
    pub fn finish(&self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}
