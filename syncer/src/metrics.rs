//! The syncer's figures.

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use shared::sync::RelayEvent;
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
    /// Whether this relay leads.
    pub(crate) relay_leads: IntGaugeVec,
    /// Times that this relay came to lead.
    pub(crate) relay_terms: IntCounterVec,
    /// Entries trimmed.
    pub(crate) relay_trimmed: IntCounterVec,
    /// Groups removed.
    pub(crate) relay_retired: IntCounterVec,
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
    /// What the relay of `repo` noticed.
    pub(crate) fn relay(&self, repo: &str, event: RelayEvent) {
        let failed = |side: &str| self.relay_failures.with_label_values(&[repo, side]).inc();
        match event {
            RelayEvent::Ready(ready) => self.relay_up.set(i64::from(ready)),
            RelayEvent::Leads(leads) => {
                self.relay_leads.with_label_values(&[repo]).set(i64::from(leads));
                self.relay_terms.with_label_values(&[repo]).inc_by(u64::from(leads));
            }
            RelayEvent::Published(count) => self.relay_published.with_label_values(&[repo]).inc_by(count),
            RelayEvent::Refused(count) => self.relay_refused.with_label_values(&[repo]).inc_by(count),
            RelayEvent::Gap => self.relay_gaps.with_label_values(&[repo]).inc(),
            RelayEvent::CenterFailed => failed("center"),
            RelayEvent::StreamFailed => failed("redis"),
            RelayEvent::Trimmed(count) => self.relay_trimmed.with_label_values(&[repo]).inc_by(count),
            RelayEvent::Retired(count) => self.relay_retired.with_label_values(&[repo]).inc_by(count),
        }
    }

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
            relay_up: gauge(
                "relay_up",
                "1 while the relay reaches both the center and Redis, leading or standing by, otherwise 0.",
            ),
            relay_leads: gauge_vec(
                "relay_leads",
                "1 while this relay holds the lease and carries changes, 0 while it stands by.",
                &["repo"],
            ),
            relay_terms: counter_vec("relay_terms_total", "Times that this relay came to lead.", &["repo"]),
            relay_trimmed: counter_vec(
                "relay_trimmed_total",
                "Entries trimmed from a repository's Redis stream by count and age.",
                &["repo"],
            ),
            relay_retired: counter_vec(
                "relay_retired_groups_total",
                "Consumer groups of edges that were removed because their edge gave no sign of life.",
                &["repo"],
            ),
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
