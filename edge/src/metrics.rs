//! The edge's figures. The text given with each is its help at `/metrics`.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge};
use shared::telemetry::{HttpMetrics, RouteMetrics, counter, counter_vec, gauge, histogram, histogram_vec};

use crate::cache::Stats;

/// The states of a breaker.
const BREAKER_STATES: [&str; 3] = ["closed", "open", "half-open"];

/// Handles on the registered figures.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    http: HttpMetrics,
    cache_requests: IntCounterVec,
    upstream_requests: IntCounterVec,
    upstream_rtt: prometheus::HistogramVec,
    breaker_state: prometheus::IntGaugeVec,
    integrity_failures: IntCounterVec,
    fetch_duration: prometheus::HistogramVec,
    /// Lines of the access log that stderr did not take in time.
    pub(crate) access_log_lost: IntCounter,
    /// Open client connections.
    pub(crate) connections: IntGauge,
    /// Bodies that broke off after their header was sent.
    pub(crate) broken_responses: IntCounter,
    /// Artefacts that pre-warming looked after.
    pub(crate) prewarm_artefacts: IntCounterVec,
    /// Changes applied.
    pub(crate) changes: IntCounterVec,
    /// Holes in the change stream.
    pub(crate) gaps: IntCounter,
    /// What the manifest showed to have been missed.
    pub(crate) repairs: IntCounterVec,
    /// From the center's record of a change to its application here.
    pub(crate) sync_duration: Histogram,
    cache_evictions: IntCounter,
    cache_damaged: IntCounter,
    cache_bytes: prometheus::IntGaugeVec,
    cache_objects: prometheus::IntGaugeVec,
}

impl Metrics {
    /// Registers them, or finds those that are registered.
    pub(crate) fn new() -> Self {
        Self {
            http: HttpMetrics::new("edge"),
            cache_requests: counter_vec(
                "cache_requests_total",
                "Requests that the cache answered or filled, by what came of it.",
                &["tier", "repo", "artefact", "result"],
            ),
            upstream_requests: counter_vec(
                "upstream_requests_total",
                "Requests to upstreams, by what came of them: `answered`, or how they failed.",
                &["upstream", "outcome"],
            ),
            upstream_rtt: histogram_vec(
                "upstream_rtt_seconds",
                "From a request to an upstream to the first byte of its answer.",
                &["upstream"],
                &[0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 35.0],
            ),
            breaker_state: shared::telemetry::gauge_vec(
                "breaker_state",
                "1 for the state that an upstream's breaker is in: closed, open or half-open.",
                &["upstream", "state"],
            ),
            integrity_failures: counter_vec(
                "integrity_failures_total",
                "Bodies that were refused because they are not what was promised.",
                &["reason"],
            ),
            fetch_duration: histogram_vec(
                "module_fetch_duration_seconds",
                "From the beginning of a fetch to the end of its body, proven and stored.",
                &["tier", "artefact", "source"],
                &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0],
            ),
            access_log_lost: counter(
                "access_log_lost_total",
                "Lines of the access log that were dropped because stderr did not take them in time.",
            ),
            connections: gauge("edge_connections", "Open client connections."),
            broken_responses: counter(
                "edge_broken_responses_total",
                "Responses that broke off after their header was sent.",
            ),
            prewarm_artefacts: counter_vec(
                "prewarm_artefacts_total",
                "Artefacts that pre-warming looked after, by what came of them.",
                &["result"],
            ),
            changes: counter_vec("changes_total", "Change records applied, by the way they came.", &["channel"]),
            gaps: counter("gaps_total", "Holes found in the change stream and closed from the feed."),
            repairs: counter_vec(
                "edge_repairs_total",
                "Missed changes that the comparison with the center's manifest found and repaired.",
                &["what"],
            ),
            sync_duration: histogram(
                "sync_duration_seconds",
                "From the center's record of a change to its application at this edge.",
                &[0.01, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0],
            ),
            cache_evictions: counter("cache_evictions_total", "Entries evicted from disk for space."),
            cache_damaged: counter("cache_damaged_total", "Entries found damaged and removed."),
            cache_bytes: shared::telemetry::gauge_vec("cache_bytes", "Bytes held, by tier.", &["tier"]),
            cache_objects: shared::telemetry::gauge_vec("cache_objects", "Objects held, by tier.", &["tier"]),
        }
    }

    /// The request metrics of one route.
    pub(crate) fn of_route(&self, route: &'static str) -> RouteMetrics {
        self.http.of_route(route)
    }

    /// Counts requests by what came of them at the cache.
    pub(crate) fn cache_requests(&self, repo: &str, artefact: &str, result: &str) -> IntCounter {
        self.cache_requests.with_label_values(&["edge", repo, artefact, result])
    }

    /// Notes a body that came from a center.
    pub(crate) fn fetched(&self, artefact: &str, took: Duration) {
        self.fetch_duration.with_label_values(&["edge", artefact, "center"]).observe(took.as_secs_f64());
    }

    /// Counts what came of a request to an upstream.
    pub(crate) fn upstream_request(&self, upstream: &str, outcome: &str) {
        self.upstream_requests.with_label_values(&[upstream, outcome]).inc();
    }

    /// Counts the time to the first byte of an upstream's answer.
    pub(crate) fn upstream_first_byte(&self, upstream: &str, took: Duration) {
        self.upstream_rtt.with_label_values(&[upstream]).observe(took.as_secs_f64());
    }

    /// Shows the state of an upstream's breaker.
    pub(crate) fn breaker_state(&self, upstream: &str, state: &str) {
        for known in BREAKER_STATES {
            self.breaker_state.with_label_values(&[upstream, known]).set(i64::from(known == state));
        }
    }

    /// An upstream has left the settings.
    pub(crate) fn upstream_gone(&self, upstream: &str) {
        for state in BREAKER_STATES {
            // It has none if nobody has looked at the figures since it came.
            let _ = self.breaker_state.remove_label_values(&[upstream, state]);
        }
    }

    /// Takes over what the cache counts itself.
    pub(crate) fn cache_stats(&self, stats: &Stats) {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.cache_bytes.with_label_values(&["memory"]).set(signed(stats.memory_bytes));
        self.cache_bytes.with_label_values(&["disk"]).set(signed(stats.disk_bytes));
        self.cache_objects.with_label_values(&["memory"]).set(signed(stats.memory_objects));
        self.cache_objects.with_label_values(&["disk"]).set(signed(stats.disk_objects));
        // The cache's counts only grow, so the difference is what came since the last look.
        let grow = |counter: &IntCounter, count: u64| counter.inc_by(count.saturating_sub(counter.get()));
        grow(&self.cache_evictions, stats.evictions);
        grow(&self.cache_damaged, stats.damaged);
    }

    /// Counts a refused body.
    pub(crate) fn integrity_failure(&self, reason: &str) {
        self.integrity_failures.with_label_values(&[reason]).inc();
    }
}
