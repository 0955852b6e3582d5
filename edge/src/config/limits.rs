//! What one edge takes on at most.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::{ByteSize, Period};

/// What one edge takes on at most.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitSettings {
    /// Client connections; further ones wait in the kernel's queue.
    pub(crate) connections_max: usize,
    /// Requests to centers at one time; further ones wait.
    pub(crate) upstream_fetches_max: usize,
    /// How long a fetch waits for its turn before it is answered 503.
    pub(crate) upstream_queue: Period,
    /// How long a center may take to its first byte.
    pub(crate) upstream_first_byte: Period,
    /// How long a center may pause inside a body.
    pub(crate) upstream_stall: Period,
    /// Largest body that is taken from a center.
    pub(crate) body_bytes_max: ByteSize,
    /// How long a client may take to send a request's header.
    pub(crate) client_header: Period,
    /// How long an idle client connection is kept.
    pub(crate) client_idle: Period,
    /// How long one write to a client may take.
    pub(crate) client_write: Period,
    /// How long running downloads may go on after SIGTERM; a second SIGTERM ends them at once.
    pub(crate) shutdown_grace: Period,
    /// How long after SIGTERM connections are still accepted while `/readyz` says 503 already, so that a load balancer notices.
    pub(crate) drain_delay: Period,
    /// How long running downloads may go on in the old process after a hand-over.
    pub(crate) handover_grace: Period,
    /// Threads that serve; 0: one for each core.
    pub(crate) serving_threads: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            upstream_fetches_max: 200,
            upstream_queue: Period::secs(10),
            upstream_first_byte: Period::secs(35),
            upstream_stall: Period::secs(30),
            body_bytes_max: ByteSize::gib(1),
            client_header: Period::secs(10),
            client_idle: Period::secs(60),
            client_write: Period::secs(120),
            shutdown_grace: Period::secs(10),
            drain_delay: Period::secs(0),
            handover_grace: Period::secs(600),
            serving_threads: 0,
        }
    }
}
