//! Count and duration of HTTP requests, the same in every tier.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::metrics::{counter_vec, histogram_vec};

/// Upper bounds in seconds: a hit in memory takes well under a millisecond, a cold zip many seconds.
const DURATION_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// The request metrics of one tier (`edge`, `center`, `syncer`).
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    tier: &'static str,
    requests: IntCounterVec,
    duration: HistogramVec,
}

impl HttpMetrics {
    /// The metrics of `tier`.
    pub fn new(tier: &'static str) -> Self {
        Self {
            tier,
            requests: counter_vec(
                "http_requests_total",
                "HTTP requests answered, by tier, route and status code.",
                &["tier", "route", "code"],
            ),
            duration: histogram_vec(
                "http_request_duration_seconds",
                "Time from the request's header to the end of its response, by tier and route.",
                &["tier", "route"],
                &DURATION_BUCKETS,
            ),
        }
    }

    /// Counts one answered request. `route` is the name of a route, of which there are few; never a path.
    pub fn observe(&self, route: &str, code: u16, duration: Duration) {
        self.requests.with_label_values(&[self.tier, route, code_label(code, &mut [0; 3])]).inc();
        self.duration.with_label_values(&[self.tier, route]).observe(duration.as_secs_f64());
    }

    /// The metrics of one route, for those who count so often that finding them by label each time costs something.
    pub fn of_route(&self, route: &'static str) -> RouteMetrics {
        RouteMetrics {
            tier: self.tier,
            route,
            requests: self.requests.clone(),
            by_code: std::iter::repeat_with(OnceLock::new).take(CODES).collect(),
            duration: self.duration.with_label_values(&[self.tier, route]),
        }
    }
}

/// Status codes have three digits; the first is 1 to 5.
const CODES: usize = 600;

/// The request metrics of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    tier: &'static str,
    route: &'static str,
    requests: IntCounterVec,
    by_code: Box<[OnceLock<IntCounter>]>,
    duration: Histogram,
}

impl RouteMetrics {
    /// Counts one answered request.
    pub fn observe(&self, code: u16, duration: Duration) {
        let find = || self.requests.with_label_values(&[self.tier, self.route, code_label(code, &mut [0; 3])]);
        match self.by_code.get(usize::from(code)) {
            Some(counter) => counter.get_or_init(find).inc(),
            None => find().inc(),
        }
        self.duration.observe(duration.as_secs_f64());
    }
}

fn code_label(code: u16, digits: &mut [u8; 3]) -> &str {
    for (place, divisor) in digits.iter_mut().zip([100, 10, 1]) {
        *place = b'0' + u8::try_from(code / divisor % 10).unwrap_or_default();
    }
    std::str::from_utf8(digits).unwrap_or("000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_and_timed() {
        let metrics = HttpMetrics::new("test");
        metrics.observe("zip", 206, Duration::from_millis(3));
        metrics.of_route("zip").observe(206, Duration::from_millis(3));
        let text = crate::telemetry::render();
        assert!(text.contains("modtier_http_requests_total{code=\"206\",route=\"zip\",tier=\"test\"} 2\n"), "{text}");
        assert!(
            text.contains("modtier_http_request_duration_seconds_count{route=\"zip\",tier=\"test\"} 2\n"),
            "{text}"
        );
    }
}
