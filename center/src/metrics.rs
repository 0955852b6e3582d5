//! The figures of the HTTP side; repositories and the syncing parts keep their own.

use prometheus::{IntCounterVec, IntGauge};
use shared::artefact::ArtefactKind;
use shared::telemetry::{HttpMetrics, counter_vec, gauge};

/// Counted where requests are answered.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Every request, by route and status.
    pub(crate) http: HttpMetrics,
    cache_requests: IntCounterVec,
    certificate_expiry: IntGauge,
    certificate_loads: IntCounterVec,
}

impl Metrics {
    /// The center's figures.
    pub(crate) fn new() -> Self {
        Self {
            http: HttpMetrics::new("center"),
            cache_requests: counter_vec(
                "cache_requests_total",
                "Artefacts answered, by tier, repository, artefact and the part that the cache had in it.",
                &["tier", "repo", "artefact", "result"],
            ),
            certificate_expiry: gauge(
                "center_certificate_expiry_timestamp_seconds",
                "When the certificate of the TLS listener expires; 0 without one.",
            ),
            certificate_loads: counter_vec(
                "center_certificate_loads_total",
                "Certificates that were read, by outcome: `used`, `refused`.",
                &["outcome"],
            ),
        }
    }

    /// Counts an artefact that was found; `result` is the word of `X-Cache`.
    pub(crate) fn found(&self, repository: &str, artefact: ArtefactKind, result: &str) {
        let result = result.to_ascii_lowercase();
        self.cache_requests.with_label_values(&["center", repository, artefact.as_str(), &result]).inc();
    }

    /// Notes a certificate that was read: when it expires (Unix time in seconds), or that it was refused.
    #[expect(clippy::needless_pass_by_value, reason = "as the watch of the certificate hands it over")]
    pub(crate) fn certificate(&self, outcome: Result<i64, String>) {
        let word = if outcome.is_ok() { "used" } else { "refused" };
        self.certificate_loads.with_label_values(&[word]).inc();
        if let Ok(expires) = outcome {
            self.certificate_expiry.set(expires);
        }
    }
}
