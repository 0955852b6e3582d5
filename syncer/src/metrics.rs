//! The syncer's figures.

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use shared::telemetry::{counter, counter_vec, float_gauge_vec, gauge, gauge_vec};

/// All of them; made once and handed around.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Records that this relay has added.
    pub(crate) relay_published: IntCounterVec,
    /// Records that were in the stream already.
    pub(crate) relay_refused: IntCounterVec,
    /// Holes that the relay had to leave.
    pub(crate) relay_gaps: IntCounterVec,
    /// Sessions that ended.
    pub(crate) relay_failures: IntCounterVec,
    /// Whether the relay works.
    pub(crate) relay_up: IntGauge,
    /// Seconds an edge is behind.
    pub(crate) sync_lag: GaugeVec,
    /// Whether an edge answers.
    pub(crate) edge_up: IntGaugeVec,
    /// Modules that the center was asked to look for upstream.
    pub(crate) watch_requests: IntCounterVec,
    /// Versions that appeared upstream.
    pub(crate) watch_versions: IntCounter,
}

impl Metrics {
    /// Registers the figures.
    pub(crate) fn new() -> Self {
        Self {
            relay_published: counter_vec(
                "relay_published_total",
                "Change records that this relay added to a repository's Redis stream.",
                &["repo"],
            ),
            relay_refused: counter_vec(
                "relay_refused_total",
                "Change records that Redis refused because the stream held them already.",
                &["repo"],
            ),
            relay_gaps: counter_vec(
                "relay_gaps_total",
                "Times that the center no longer kept the records after the stream's last one, so that edges catch up from the feed.",
                &["repo"],
            ),
            relay_failures: counter_vec(
                "relay_failures_total",
                "Times that the relay lost the center or Redis, by which one.",
                &["repo", "side"],
            ),
            relay_up: gauge("relay_up", "1 while the relay reaches both the center and Redis, otherwise 0."),
            sync_lag: float_gauge_vec(
                "sync_lag_seconds",
                "Age of the oldest change record of the center that an edge has not applied, in seconds; 0 when it has applied all.",
                &["edge", "repo"],
            ),
            watch_requests: counter_vec(
                "watch_requests_total",
                "Modules that the center was asked to look for upstream, by what came of it: changed, unchanged, failed.",
                &["outcome"],
            ),
            watch_versions: counter(
                "watch_new_versions_total",
                "Versions of modules asked for often that appeared upstream and were sent to the edges.",
            ),
            edge_up: gauge_vec("edge_up", "1 while an edge tells the syncer how far it is, otherwise 0.", &["edge"]),
        }
    }
}
