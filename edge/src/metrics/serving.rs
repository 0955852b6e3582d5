//! Connections, and the certificate.

use prometheus::{IntCounter, IntCounterVec, IntGauge};
use shared::telemetry::{counter, counter_vec, gauge};

/// Figures of listeners.
#[derive(Debug, Clone)]
pub(crate) struct ServingMetrics {
    refused_connections: IntCounterVec,
    /// Connections that could not be accepted for want of descriptors.
    pub(crate) accept_failures: IntCounter,
    /// When the certificate expires.
    pub(crate) certificate_expiry: IntGauge,
    certificate_loads: IntCounterVec,
}

impl ServingMetrics {
    pub(super) fn new() -> Self {
        Self {
            refused_connections: counter_vec(
                "edge_connections_refused_total",
                "Connections closed for what they are: too many in all (total) or of one client (client), a TLS handshake \
                 that failed (tls), a header that did not come in time (header), HTTP/2 abused (malformed, resets).",
                &["reason"],
            ),
            accept_failures: counter(
                "edge_accept_failures_total",
                "Times that a connection could not be accepted, mostly for want of file descriptors.",
            ),
            certificate_expiry: gauge(
                "edge_certificate_expiry_timestamp_seconds",
                "When the certificate of the TLS listener expires; 0 without one.",
            ),
            certificate_loads: counter_vec(
                "edge_certificate_loads_total",
                "Certificates read again because their files changed, by whether they could be used.",
                &["outcome"],
            ),
        }
    }

    /// Counts a connection that was closed for what it is.
    pub(crate) fn refused_connection(&self, reason: &str) {
        self.refused_connections.with_label_values(&[reason]).inc();
    }

    /// Counts a certificate that was read again.
    pub(crate) fn certificate_loaded(&self, usable: bool) {
        let outcome = if usable { "used" } else { "refused" };
        self.certificate_loads.with_label_values(&[outcome]).inc();
    }
}
