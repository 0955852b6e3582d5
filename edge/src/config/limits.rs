//! What one edge takes on at most.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::{ByteSize, Period};

use crate::limit::{PaceLimits, QueueLimits};

/// More threads than any machine has processors; each costs memory and descriptors.
const SERVING_THREADS_MAX: usize = 4096;

/// What one edge takes on at most.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitSettings {
    /// Client connections; further ones wait in the kernel's queue.
    pub(crate) connections_max: usize,
    /// Fetches from centers at one time; further ones wait, those that a client waits for before refreshes.
    pub(crate) upstream_fetches_max: usize,
    /// How many fetches may wait, and as many refreshes; further ones are answered 503 at once.
    pub(crate) upstream_queue_max: usize,
    /// How long a fetch waits for its turn before it is answered 503.
    pub(crate) upstream_queue: Period,
    /// How long a center may take to its first byte.
    pub(crate) upstream_first_byte: Period,
    /// How long a center may pause inside a body. Then the next center goes on with it.
    pub(crate) upstream_stall: Period,
    /// What a center must send in a second, on average over `upstream_rate_window`; less, and the next center goes on. 0: anything.
    pub(crate) upstream_rate_min: ByteSize,
    /// What the average of `upstream_rate_min` is taken over.
    pub(crate) upstream_rate_window: Period,
    /// Largest body that is taken from a center.
    pub(crate) body_bytes_max: ByteSize,
    /// Fills that one client may begin in a second; the excess waits in that client's own queue. A client is an IPv4 address, or a /64 of IPv6. Raise
    /// it where all clients come through one address. Hits and fills that others began cost nothing. 0: any number.
    pub(crate) client_fills: u32,
    /// How long a fill may wait in its client's queue; what would wait longer is answered 429 at once.
    pub(crate) client_fills_queue: Period,
    /// How many fills may wait in the queues of all clients together; while so many wait, what would have to wait is answered 429.
    pub(crate) fills_waiting_max: usize,
    /// Requests for artefacts that one client may send in a second; the excess is answered 429, which `go` does not repeat. 0: any number.
    pub(crate) client_requests: u32,
    /// Requests for artefacts that one tenant's clients together may send in a second; the excess is answered 429. 0: any number.
    pub(crate) tenant_requests: u32,
    /// How long a fill that a client began goes on when no client waits for it any more.
    pub(crate) unattended_fill: Period,
    /// A fill of more bytes than this ends when no client waits for it any more; smaller ones go on, and the next client finds them.
    pub(crate) unattended_fill_bytes_max: ByteSize,
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
    /// Threads that serve, 4096 at most; 0: one for each core.
    pub(crate) serving_threads: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            upstream_fetches_max: 200,
            upstream_queue_max: 2_000,
            upstream_queue: Period::secs(10),
            upstream_first_byte: Period::secs(35),
            upstream_stall: Period::secs(30),
            upstream_rate_min: ByteSize::kib(8),
            upstream_rate_window: Period::secs(30),
            body_bytes_max: ByteSize::gib(1),
            client_fills: 100,
            client_fills_queue: Period::secs(10),
            fills_waiting_max: 20_000,
            client_requests: 0,
            tenant_requests: 0,
            unattended_fill: Period::secs(600),
            unattended_fill_bytes_max: ByteSize::mib(256),
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

impl LimitSettings {
    /// What a center must keep to while it sends a body.
    pub(crate) fn pace(&self) -> PaceLimits {
        PaceLimits {
            stall: self.upstream_stall.get(),
            rate_min: self.upstream_rate_min.bytes(),
            window: self.upstream_rate_window.get(),
        }
    }

    /// How fetches wait for a place.
    pub(crate) fn queue(&self) -> QueueLimits {
        QueueLimits {
            places: self.upstream_fetches_max,
            line_max: self.upstream_queue_max,
            wait: self.upstream_queue.get(),
        }
    }

    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.connections_max == 0 || self.upstream_fetches_max == 0 {
            return Err("limits: connections_max and upstream_fetches_max must be above 0".into());
        }
        if self.serving_threads > SERVING_THREADS_MAX {
            return Err(format!("limits: serving_threads must be at most {SERVING_THREADS_MAX}"));
        }
        if self.upstream_rate_min.bytes() > 0 && self.upstream_rate_window.get() < Duration::from_secs(1) {
            return Err("limits: upstream_rate_window must be at least 1s".into());
        }
        Ok(())
    }
}
