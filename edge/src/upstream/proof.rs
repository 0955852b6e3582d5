//! What a center says of a body in its header, and whether the body keeps it.

use std::time::SystemTime;

use http::{HeaderMap, StatusCode, header};
use reqwest::Method;
use shared::change::ChangeId;
use shared::digest::Digest;
use shared::fill::{FillError, FillErrorKind};

use super::Fetch;
use crate::app::App;
use crate::respond;

/// The header with a caveat's word, on the way to the client too.
pub(crate) const CAVEAT: &str = "x-modtier-caveat";

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
    /// From `Cache-Control: no-store`: the center says that something is missing from it.
    pub(crate) no_store: bool,
    /// From `X-Modtier-Caveat`: what.
    pub(crate) caveat: Option<Caveat>,
}

/// What whoever relies on an answer should know. One with a caveat is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caveat {
    /// A source could not be asked, and its part is missing.
    Partial,
    /// The checksum database could not be asked.
    Unverified,
}

impl Caveat {
    const ALL: [Self; 2] = [Self::Partial, Self::Unverified];

    /// The word in the header.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::Unverified => "unverified",
        }
    }
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
            no_store: text("cache-control") == Some("no-store"),
            caveat: text(CAVEAT).and_then(|word| Caveat::ALL.into_iter().find(|caveat| caveat.as_str() == word)),
        }
    }

    /// What the trailers add. One that contradicts the header leaves nothing that could be kept, so the check fails.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        self.digest = self.digest.or_else(|| repr_digest(trailers));
    }

    /// Whether an answer that says this of its body can be the same body.
    pub(super) fn goes_on_with(&self, digest: Option<Digest>, len: Option<u64>) -> bool {
        fn agree<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
            one.zip(other).is_none_or(|(one, other)| one == other)
        }
        agree(self.digest, digest) && agree(self.len, len)
    }

    /// Adds what another answer says of the same body.
    pub(super) fn learn(&mut self, digest: Option<Digest>, len: Option<u64>) {
        self.digest = self.digest.or(digest);
        self.len = self.len.or(len);
    }

    /// Whether the body keeps the promise.
    pub(super) fn check(&self, digest: Digest, len: u64) -> Result<(), FillError> {
        let Some(promised) = self.digest else {
            let message = "the center's answer cannot be proven right";
            return Err(FillError::new(FillErrorKind::Integrity, message));
        };
        if self.len.is_some_and(|promised| promised != len) {
            return Err(FillError::new(FillErrorKind::Upstream, "the center's answer has not the length that it said"));
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
pub(super) async fn digest_of(app: &App, fetch: &Fetch) -> Result<Option<Digest>, FillError> {
    let mut attempts = app.upstream.attempts(fetch);
    let taken = app.upstream.ask(&mut attempts, Method::HEAD, &fetch.path, fetch.headers(app, None)).await?;
    // There is no body to wait for.
    taken.attempt.succeeded();
    if taken.response.status() != StatusCode::OK {
        return Ok(None);
    }
    Ok(repr_digest(taken.response.headers()))
}

/// The length of the whole body, if the answer is its part from byte `from` to its end.
pub(super) fn part_of(headers: &HeaderMap, from: u64) -> Option<u64> {
    let said = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (part, whole) = said.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = part.split_once('-')?;
    let whole: u64 = whole.parse().ok()?;
    let is_the_rest = first.parse() == Ok(from) && last.parse::<u64>().ok()?.checked_add(1) == Some(whole);
    is_the_rest.then_some(whole)
}

fn repr_digest(headers: &HeaderMap) -> Option<Digest> {
    Digest::parse_repr_digest(headers.get("repr-digest")?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(digest: Option<Digest>, len: Option<u64>) -> Promise {
        Promise { digest, len, modified: SystemTime::UNIX_EPOCH, change_id: None, no_store: false, caveat: None }
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
    fn only_the_rest_of_the_body_is_gone_on_with() {
        let said = |range: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, range.parse().unwrap());
            part_of(&headers, 10)
        };
        assert_eq!(said("bytes 10-99/100"), Some(100));
        for wrong in
            ["bytes 9-99/100", "bytes 11-99/100", "bytes 10-98/100", "bytes 10-99/*", "bytes */100", "10-99/100"]
        {
            assert_eq!(said(wrong), None, "{wrong}");
        }
        assert_eq!(part_of(&HeaderMap::new(), 10), None);
    }

    #[test]
    fn answers_that_contradict_each_other_are_of_other_bodies() {
        let (a, b) = (Some(Digest::of(b"a")), Some(Digest::of(b"b")));
        assert!(promise(a, Some(1)).goes_on_with(a, Some(1)));
        assert!(promise(None, None).goes_on_with(a, Some(1)));
        assert!(promise(a, Some(1)).goes_on_with(None, None));
        assert!(!promise(a, None).goes_on_with(b, None));
        assert!(!promise(a, Some(1)).goes_on_with(a, Some(2)));
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
