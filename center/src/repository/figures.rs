//! What the repositories count for Prometheus.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGaugeVec};
use shared::telemetry;

/// The counters. Registered once, with the repositories.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    integrity_failures: IntCounterVec,
    upstream_requests: IntCounterVec,
    private_fetches: HistogramVec,
    breaker_state: IntGaugeVec,
}

/// Why bytes were refused.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// The zip breaks a rule.
    BadZip,
    /// Another hash is on record.
    Identity,
    /// The checksum database has another hash.
    ChecksumDatabase,
}

impl Refusal {
    const fn as_str(self) -> &'static str {
        match self {
            Self::BadZip => "bad_zip",
            Self::Identity => "identity",
            Self::ChecksumDatabase => "checksum_database",
        }
    }
}

impl Figures {
    pub(super) fn new() -> Self {
        Self {
            integrity_failures: telemetry::counter_vec(
                "integrity_failures_total",
                "Bodies that were refused because they are not what is recorded or proven.",
                &["reason"],
            ),
            upstream_requests: telemetry::counter_vec(
                "upstream_requests_total",
                "Requests to upstreams, by the repository that asked and what came of them.",
                &["upstream", "outcome"],
            ),
            private_fetches: telemetry::histogram_vec(
                "private_fetch_duration_seconds",
                "How long fetches of private modules took, their wait for a turn included, by repository, what was fetched and what came of it.",
                &["repo", "what", "outcome"],
                &[0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0],
            ),
            breaker_state: telemetry::gauge_vec(
                "breaker_state",
                "Whether an upstream's breaker is in a state, by repository and number of the server: 1 or 0.",
                &["upstream", "state"],
            ),
        }
    }

    /// Counts and audits a refusal.
    pub(super) fn refused(&self, repository: &str, what: &str, refusal: Refusal, detail: &str) {
        self.integrity_failures.with_label_values(&[refusal.as_str()]).inc();
        tracing::error!(target: "audit", repository, what, reason = refusal.as_str(), detail, "integrity failure");
    }

    /// Notes a fetch of a private module.
    pub(super) fn fetched(&self, repository: &str, what: &str, outcome: &str, took: Duration) {
        self.private_fetches.with_label_values(&[repository, what, outcome]).observe(took.as_secs_f64());
    }

    /// Counts a request to an upstream.
    pub(super) fn asked(&self, repository: &str, outcome: &str) {
        self.upstream_requests.with_label_values(&[repository, outcome]).inc();
    }
    /// Shows the state of a server's breaker.
    pub(super) fn breaker(&self, repository: &str, number: usize, phase: &str) {
        let upstream = format!("{repository}/{number}");
        for state in ["closed", "open", "half_open"] {
            self.breaker_state.with_label_values(&[&upstream, state]).set(i64::from(state == phase));
        }
    }
}
