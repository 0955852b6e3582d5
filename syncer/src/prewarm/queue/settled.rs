//! What came of one job.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::lane::{Failed, Job};
use super::log::Line;
use crate::prewarm::summary::Tally;
use crate::prewarm::target::Outcome;
use crate::prewarm::wanted::Parts;

/// What a job's artefacts came to, together.
pub(super) struct Settled {
    /// What the edge holds.
    pub(super) got: Parts,
    /// What it fetched of that.
    filled: Parts,
    /// The same, counted.
    pub(super) tally: Tally,
    /// What it does not hold, and why.
    pub(super) failed: Option<Failed>,
}

impl Settled {
    /// Puts them together.
    pub(super) fn of(outcomes: &[Outcome]) -> Self {
        let mut this = Self { got: Parts::NONE, filled: Parts::NONE, tally: Tally::default(), failed: None };
        for (part, outcome) in outcomes {
            match outcome {
                Ok(got) => {
                    this.got = this.got | *part;
                    this.tally.count(got.was_warm, got.bytes);
                    if !got.was_warm {
                        this.filled = this.filled | *part;
                    }
                }
                Err(failure) => {
                    let error = format!(".{}: {}", part.extension(), failure.reason);
                    let failed = this.failed.get_or_insert(Failed { parts: Parts::NONE, error, is_final: true });
                    failed.parts = failed.parts | *part;
                    failed.is_final &= failure.is_final;
                }
            }
        }
        this
    }

    /// How many failed.
    pub(super) fn failed_count(&self) -> usize {
        self.failed.as_ref().map_or(0, |failed| failed.parts.count())
    }

    /// The lines of the log.
    pub(super) fn lines(&self, edge: &str, job: &Job, is_dead: bool, now: SystemTime) -> Vec<Line> {
        let time = OffsetDateTime::from(now).format(&Rfc3339).unwrap_or_default();
        let line = |result: &str, parts: Parts, bytes, error| Line {
            time: time.clone(),
            edge: edge.to_owned(),
            key: job.key.clone(),
            causes: job.causes.clone(),
            result: result.to_owned(),
            artefacts: parts.names(),
            bytes,
            error,
        };
        let mut lines = Vec::new();
        if !self.filled.is_empty() {
            lines.push(line("filled", self.filled, self.tally.filled_bytes, None));
        }
        let held = self.got & !self.filled;
        if !held.is_empty() {
            lines.push(line("held", held, 0, None));
        }
        if let Some(failed) = &self.failed {
            let result = if is_dead { "dead" } else { "failed" };
            lines.push(line(result, failed.parts, 0, Some(failed.error.clone())));
        }
        lines
    }
}
