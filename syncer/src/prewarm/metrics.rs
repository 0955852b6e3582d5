//! The figures of pre-warming.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};
use shared::telemetry::{counter, counter_vec, gauge_vec};

use super::summary::Tally;

/// All of them; made once and handed around.
#[derive(Debug, Clone)]
pub(crate) struct PrewarmMetrics {
    artefacts: IntCounterVec,
    bytes: IntCounterVec,
    waiting: IntGaugeVec,
    dead: IntGaugeVec,
    /// Versions that a full queue refused.
    pub(crate) refused: IntCounter,
    /// Projects, lists and other sources that were read.
    pub(crate) sources: IntCounterVec,
}

impl PrewarmMetrics {
    /// Registers the figures.
    pub(crate) fn new() -> Self {
        Self {
            artefacts: counter_vec(
                "prewarm_sync_total",
                "Artefacts that an edge was asked to hold: skipped as it held them, sent as it fetched them, failed to be tried again, or dead.",
                &["edge", "result"],
            ),
            bytes: counter_vec("prewarm_sync_bytes_total", "Bytes that an edge was made to fetch.", &["edge"]),
            waiting: gauge_vec("prewarm_waiting", "Versions that wait to be made warm at an edge.", &["edge"]),
            dead: gauge_vec("prewarm_dead", "Versions that were given up for an edge.", &["edge"]),
            refused: counter("prewarm_refused_total", "Versions that a full queue of pre-warming refused."),
            sources: counter_vec(
                "prewarm_sources_total",
                "Times that a source of pre-warming was read, by its kind and by what came of it: whole, partly or failed.",
                &["kind", "result"],
            ),
        }
    }

    /// Counts what came of a job.
    pub(crate) fn count(&self, edge: &str, tally: Tally, failed: usize, is_dead: bool) {
        let count = |result: &str, count: u64| self.artefacts.with_label_values(&[edge, result]).inc_by(count);
        count("sent", tally.filled);
        count("skipped", tally.held);
        count(if is_dead { "dead" } else { "failed" }, failed as u64);
        self.bytes.with_label_values(&[edge]).inc_by(tally.filled_bytes);
    }

    /// Shows how long an edge's queue is.
    pub(crate) fn show(&self, edge: &str, waiting: usize, dead: usize) {
        let shown = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.waiting.with_label_values(&[edge]).set(shown(waiting));
        self.dead.with_label_values(&[edge]).set(shown(dead));
    }
}
