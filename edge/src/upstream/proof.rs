//! What a center says of a body in its header, and whether the body keeps it.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, StatusCode, header};
use reqwest::Method;
use shared::change::ChangeId;
use shared::digest::Digest;
use shared::fill::{FillError, FillErrorKind};

use super::Fetch;
use crate::app::App;
use crate::respond;

/// What the header says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    /// From `Repr-Digest`, as header or trailer.
    pub(crate) digest: Option<Digest>,
    /// From `Content-Length`.
    pub(crate) len: Option<u64>,
    /// From `Last-Modified`; without one, the time at which it came.
    pub(crate) modified: SystemTime,
    /// From `X-Change-Id`.
    pub(crate) change_id: Option<ChangeId>,
}

impl Promise {
    /// What the header promises.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let len = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            digest: repr_digest(headers),
            len,
            modified: text("last-modified").and_then(respond::parse_date).unwrap_or_else(SystemTime::now),
            change_id: text("x-change-id").and_then(|id| id.parse().ok()),
        }
    }

    /// What the trailers add. One that contradicts the header leaves nothing that could be kept, so the check fails.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        self.digest = self.digest.or_else(|| repr_digest(trailers));
    }

    /// Whether the body keeps the promise.
    pub(super) fn check(&self, digest: Digest, len: u64) -> Result<(), FillError> {
        let Some(promised) = self.digest else {
            let message = "the center's answer cannot be proven right";
            return Err(FillError::new(FillErrorKind::Integrity, message));
        };
        if self.len.is_some_and(|promised| promised != len) {
            return Err(FillError::new(FillErrorKind::Upstream, "the center's answer ended early"));
        }
        if promised != digest {
            tracing::error!(%promised, got = %digest, "a body differs from its digest");
            let message = "the center's answer differs from its digest";
            return Err(FillError::new(FillErrorKind::Integrity, message));
        }
        Ok(())
    }
}

/// Asks the center by HEAD what the body's digest is.
pub(super) async fn digest_of(app: &Arc<App>, fetch: &Fetch) -> Result<Option<Digest>, FillError> {
    let mut attempts = app.upstream.attempts(&fetch.route);
    let taken = app.upstream.ask(&mut attempts, Method::HEAD, &fetch.path, fetch.headers(app, None)).await?;
    // There is no body to wait for.
    taken.attempt.succeeded();
    if taken.response.status() != StatusCode::OK {
        return Ok(None);
    }
    Ok(repr_digest(taken.response.headers()))
}

fn repr_digest(headers: &HeaderMap) -> Option<Digest> {
    Digest::parse_repr_digest(headers.get("repr-digest")?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(digest: Option<Digest>, len: Option<u64>) -> Promise {
        Promise { digest, len, modified: SystemTime::UNIX_EPOCH, change_id: None }
    }

    #[test]
    fn nothing_is_proven_without_a_digest() {
        let promise = promise(None, Some(1));
        assert_eq!(promise.check(Digest::of(b"a"), 1).unwrap_err().kind, FillErrorKind::Integrity);
    }

    #[test]
    fn digest_and_length_must_both_hold() {
        let promise = promise(Some(Digest::of(b"a")), Some(1));
        assert!(promise.check(Digest::of(b"a"), 1).is_ok());
        assert_eq!(promise.check(Digest::of(b"b"), 1).unwrap_err().kind, FillErrorKind::Integrity);
        assert_eq!(promise.check(Digest::of(b"a"), 2).unwrap_err().kind, FillErrorKind::Upstream);
    }

    #[test]
    fn a_trailer_does_not_replace_a_header() {
        let mut promise = promise(Some(Digest::of(b"a")), None);
        let mut trailers = HeaderMap::new();
        trailers.insert("repr-digest", Digest::of(b"b").repr_digest().parse().unwrap());
        promise.trailers(&trailers);
        assert_eq!(promise.digest, Some(Digest::of(b"a")));
    }
}
