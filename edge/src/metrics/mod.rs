//! The edge's figures. The text given with each is its help at `/metrics`.

mod cache;
mod serving;
mod sync;

use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec, IntGauge};
use shared::telemetry::{HttpMetrics, RouteMetrics, counter, counter_vec, gauge, histogram_vec};

pub(crate) use self::cache::CacheMetrics;
pub(crate) use self::serving::ServingMetrics;
pub(crate) use self::sync::SyncMetrics;
use crate::limit::{Limits, Whose};

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
    /// What became of connections, and of the certificate.
    pub(crate) serving: ServingMetrics,
    /// Bodies that broke off after their header was sent.
    pub(crate) broken_responses: IntCounter,
    /// Artefacts that pre-warming looked after.
    pub(crate) prewarm_artefacts: IntCounterVec,
    /// How far changes are followed.
    pub(crate) sync: SyncMetrics,
    /// What the cache holds.
    pub(crate) cache: CacheMetrics,
    limited: IntCounterVec,
    failovers: IntCounterVec,
    waiting: prometheus::IntGaugeVec,
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
            serving: ServingMetrics::new(),
            broken_responses: counter(
                "edge_broken_responses_total",
                "Responses that broke off after their header was sent.",
            ),
            prewarm_artefacts: counter_vec(
                "prewarm_artefacts_total",
                "Artefacts that pre-warming looked after, by what came of them.",
                &["result"],
            ),
            sync: SyncMetrics::new(),
            cache: CacheMetrics::new(),
            limited: counter_vec(
                "edge_limited_total",
                "Requests answered 429, by the limit they were over.",
                &["limit"],
            ),
            failovers: counter_vec(
                "edge_failovers_total",
                "Bodies that another upstream went on with, by how: `resumed` in the middle, or `restarted`.",
                &["how"],
            ),
            waiting: shared::telemetry::gauge_vec(
                "edge_fills_waiting",
                "Fills that wait: for their client's rate, for a place among the fetches, or for one in the background.",
                &["for"],
            ),
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

    /// Counts a request over a limit.
    pub(crate) fn over_limit(&self, whose: Whose) {
        self.limited.with_label_values(&[whose.as_str()]).inc();
    }

    /// Counts a body that another upstream went on with.
    pub(crate) fn failover(&self, how: &str) {
        self.failovers.with_label_values(&[how]).inc();
    }

    /// Takes over how many fills wait.
    pub(crate) fn fills_waiting(&self, limits: &Limits) {
        let (rate, place, background) = limits.waiting();
        for (line, count) in [("rate", rate), ("place", place), ("background", background)] {
            self.waiting.with_label_values(&[line]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Counts a refused body.
    pub(crate) fn integrity_failure(&self, reason: &str) {
        self.integrity_failures.with_label_values(&[reason]).inc();
    }
}
