//! How changes arrive, and what the comparison with the manifest found.

use prometheus::{Histogram, IntCounter, IntCounterVec};
use shared::telemetry::{counter, counter_vec, histogram};

/// Handles on the figures of the change channel.
#[derive(Debug, Clone)]
pub(crate) struct SyncMetrics {
    /// Changes applied.
    pub(crate) changes: IntCounterVec,
    /// Holes in the change stream.
    pub(crate) gaps: IntCounter,
    /// Comparisons with the whole manifest because no record led on.
    pub(crate) resyncs: IntCounterVec,
    /// What the manifest showed to have been missed.
    pub(crate) repairs: IntCounterVec,
    /// From the center's record of a change to its application here.
    pub(crate) duration: Histogram,
}

impl SyncMetrics {
    pub(super) fn new() -> Self {
        Self {
            changes: counter_vec("changes_total", "Change records applied, by the way they came.", &["channel"]),
            gaps: counter("gaps_total", "Holes found in the change stream and closed from the feed."),
            resyncs: counter_vec(
                "resyncs_total",
                "Times that everything was compared with the center's manifest because no record led on: `new` (nothing was applied \
                 here yet), `epoch` (the center's log is another one), `gone` (the log no longer goes on from the cursor).",
                &["reason"],
            ),
            repairs: counter_vec(
                "edge_repairs_total",
                "Missed changes that the comparison with the center's manifest found and repaired.",
                &["what"],
            ),
            duration: histogram(
                "sync_duration_seconds",
                "From the center's record of a change to its application at this edge.",
                &[0.01, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
            ),
        }
    }
}
