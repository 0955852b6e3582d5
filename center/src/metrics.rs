//! The figures of the HTTP side; repositories and the syncing parts keep their own.

use prometheus::IntCounterVec;
use shared::artefact::ArtefactKind;
use shared::telemetry::{HttpMetrics, counter_vec};

/// Counted where requests are answered.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Every request, by route and status.
    pub(crate) http: HttpMetrics,
    cache_requests: IntCounterVec,
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
        }
    }

    /// Counts an artefact that was found; `result` is the word of `X-Cache`.
    pub(crate) fn found(&self, repository: &str, artefact: ArtefactKind, result: &str) {
        let result = result.to_ascii_lowercase();
        self.cache_requests.with_label_values(&["center", repository, artefact.as_str(), &result]).inc();
    }
}
