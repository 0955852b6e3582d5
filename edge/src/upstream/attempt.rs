//! Asking one center after another until one answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::StatusCode;
use shared::fill::{FillError, FillErrorKind};
use tokio::sync::OwnedSemaphorePermit;

use super::pool::Center;
use crate::metrics::Metrics;

/// The centers that one fetch may ask, best first. Each is taken at most once.
#[derive(Debug)]
pub(crate) struct Attempts {
    left: std::vec::IntoIter<Arc<Center>>,
    metrics: Metrics,
}

/// A response and the place it occupies until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The response.
    pub(crate) response: reqwest::Response,
    /// Whose it is, and where the verdict on its body goes.
    pub(crate) attempt: Attempt,
    pub(super) _permit: OwnedSemaphorePermit,
}

/// One request to one center: it counts as in flight until it is dropped.
///
/// The first verdict stands. Whoever reads the body gives it; an answer that has none to read was judged when it came.
#[derive(Debug)]
pub(crate) struct Attempt {
    center: Arc<Center>,
    metrics: Metrics,
    judged: AtomicBool,
}

/// How a center fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection.
    Connect,
    /// A connection, but no agreement on its keys.
    Tls,
    /// No first byte in time.
    FirstByte,
    /// The connection broke, before the answer or within it, or the body stopped.
    Reset,
    /// A status of 500 or above.
    ServerError,
    /// Bytes other than were promised.
    Hash,
}

impl Attempts {
    /// These centers in this order.
    pub(super) fn new(centers: Vec<Arc<Center>>, metrics: Metrics) -> Self {
        Self { left: centers.into_iter(), metrics }
    }

    /// The next center to ask.
    pub(super) fn next(&mut self) -> Option<Attempt> {
        let center = self.left.next()?;
        center.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Attempt { center, metrics: self.metrics.clone(), judged: AtomicBool::new(false) })
    }
}

impl Attempt {
    /// Whom it asks.
    pub(super) fn center(&self) -> &Center {
        &self.center
    }

    /// The center did not do what it should.
    pub(super) fn failed(&self, failure: Failure) {
        self.judge(failure.as_str());
    }

    /// The answer came whole, or says by its status all there is to say.
    pub(super) fn succeeded(&self) {
        self.judge("answered");
    }

    /// Judges an answer whose status leaves nothing to wait for.
    pub(super) fn judge_status(&self, status: StatusCode) {
        if status.is_server_error() {
            self.failed(Failure::ServerError);
        } else if status != StatusCode::OK && status != StatusCode::PARTIAL_CONTENT {
            self.succeeded();
        }
    }

    /// Judges by what came of the body. What failed on this side says nothing about the center.
    pub(super) fn judge_body(&self, came: &Result<(), FillError>) {
        match came.as_ref().map_err(|error| error.kind) {
            Ok(()) => self.succeeded(),
            Err(FillErrorKind::Integrity) => self.failed(Failure::Hash),
            Err(FillErrorKind::Upstream | FillErrorKind::Timeout) => self.failed(Failure::Reset),
            Err(
                FillErrorKind::NotFound
                | FillErrorKind::Gone
                | FillErrorKind::Forbidden
                | FillErrorKind::Unavailable
                | FillErrorKind::TooLarge
                | FillErrorKind::Storage
                | FillErrorKind::Abandoned,
            ) => {}
        }
    }

    fn judge(&self, outcome: &str) {
        if !self.judged.swap(true, Ordering::Relaxed) {
            self.metrics.upstream_request(self.center.name(), outcome);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.center.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Failure {
    /// Its name in figures.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::FirstByte => "first_byte",
            Self::Reset => "reset",
            Self::ServerError => "server_error",
            Self::Hash => "hash",
        }
    }

    /// How a request failed that got no answer.
    pub(super) fn of(error: &reqwest::Error) -> Self {
        if error.is_connect() {
            if is_tls(error) { Self::Tls } else { Self::Connect }
        } else if error.is_timeout() {
            Self::FirstByte
        } else {
            Self::Reset
        }
    }

    /// What the client is told of it: never an address.
    pub(super) fn to_error(self) -> FillError {
        let (kind, message) = match self {
            Self::Connect | Self::Tls => (FillErrorKind::Unavailable, "the center cannot be reached"),
            Self::FirstByte => (FillErrorKind::Timeout, "the center did not answer in time"),
            Self::Reset => (FillErrorKind::Unavailable, "the center broke the connection"),
            Self::ServerError => (FillErrorKind::Upstream, "the center failed"),
            Self::Hash => (FillErrorKind::Integrity, "the center's answer differs from its digest"),
        };
        FillError::new(kind, message)
    }
}

fn is_tls(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // The handshake's error comes wrapped into one of input and output.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || matches!(wrapped, Some(inner) if inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    false
}
