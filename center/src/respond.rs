//! From a repository's answer to an HTTP response: headers, conditions, ranges, and bodies that grow while they are sent.
//!
//! A body that fails half way ends in an error of the stream, on which hyper drops the HTTP/1 connection or resets the HTTP/2
//! stream: never in a clean end.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED, TE, TRAILER,
};
use http::request::Parts;
use http::response::Builder;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body::Frame;
use http_body_util::StreamBody;
use shared::artefact::{Artefact, ArtefactKind};
use shared::digest::{Digest, Hasher};
use shared::fill::{Fill, FillError, Reader};
use std::ops::Range;
use std::sync::Arc;

use crate::app::App;
use crate::conditional::{Decision, Held, decide, format_date};
use crate::error::Failure;
use crate::repository::{Answer, Body as Content, CacheStatus, Caveat, FillHead};
use crate::store::OpenBlob;

/// How the store took part.
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
/// The repository's head when a mutable answer was computed.
const X_CHANGE_ID: HeaderName = HeaderName::from_static("x-change-id");
/// What an answer lacks; see docs/repositories.md.
const X_MODTIER_CAVEAT: HeaderName = HeaderName::from_static("x-modtier-caveat");
/// SHA-256 of the whole body, RFC 9530.
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

impl CacheStatus {
    /// The word in `X-Cache`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss => "MISS",
            Self::Stale => "STALE",
            Self::Revalidated => "REVALIDATED",
            Self::Negative => "NEGATIVE",
        }
    }
}

impl Caveat {
    /// The word in `X-Modtier-Caveat`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::Unverified => "unverified",
        }
    }
}

/// Answers a request for an artefact.
pub(crate) async fn artefact(
    app: &App,
    artefact: &Artefact,
    request: &Parts,
    answer: Answer,
) -> Result<Response, Failure> {
    let kind = artefact.kind();
    let private = !app.access.is_anonymous(shared::access::Grant::Read);
    let lifetime = if answer.caveat.is_some() { "no-store" } else { kind.cache_control(private) };
    let mut head = Response::builder()
        .header(CONTENT_TYPE, kind.content_type())
        .header(CACHE_CONTROL, lifetime)
        .header(X_CACHE, answer.cache.as_str())
        .header(LAST_MODIFIED, format_date(answer.modified));
    if let Some(caveat) = answer.caveat {
        head = head.header(X_MODTIER_CAVEAT, caveat.as_str());
    }
    if let Some(id) = answer.change_id {
        head = head.header(X_CHANGE_ID, id.to_string());
    }
    let (digest, len) = match &answer.body {
        Content::Bytes(bytes) => (answer.digest.unwrap_or_else(|| Digest::of(bytes)), bytes.len() as u64),
        Content::Blob(open) => (open.blob.digest, open.blob.len),
        Content::Filling(fill) => return growing(head, request, fill, answer.len).await,
    };
    let etag = digest.etag();
    let ranges = kind == ArtefactKind::Zip;
    head = head.header(ETAG, &etag).header(REPR_DIGEST, digest.repr_digest());
    if ranges {
        head = head.header(ACCEPT_RANGES, "bytes");
    }
    // RFC 9110 section 14.2: a range means something with GET alone.
    let facts = Held { etag: &etag, modified: answer.modified, len, ranges: ranges && request.method == Method::GET };
    let (status, range) = match decide(&request.headers, facts) {
        Decision::Whole => (StatusCode::OK, 0..len),
        Decision::Part(range) => {
            head = head.header(CONTENT_RANGE, format!("bytes {}-{}/{len}", range.start, range.end - 1));
            (StatusCode::PARTIAL_CONTENT, range)
        }
        Decision::NotModified => return build(head.status(StatusCode::NOT_MODIFIED), Body::empty()),
        Decision::PreconditionFailed => return Err(Failure::Precondition),
        Decision::Unsatisfiable => {
            head = head.header(CONTENT_RANGE, format!("bytes */{len}")).header(CONTENT_LENGTH, 0);
            return build(head.status(StatusCode::RANGE_NOT_SATISFIABLE), Body::empty());
        }
    };
    head = head.status(status).header(CONTENT_LENGTH, range.end - range.start);
    if request.method == Method::HEAD {
        return build(head, Body::empty());
    }
    let body = match answer.body {
        Content::Bytes(bytes) => Body::from(slice(&bytes, &range)?),
        Content::Blob(open) => blob_body(app, open, range).await?,
        Content::Filling(_) => return Err(Failure::Internal("a body began to fill while it was answered".to_owned())),
    };
    build(head, body)
}

/// Answers with a small body that is there.
pub(crate) fn small(
    request: &Parts,
    body: Bytes,
    content_type: &'static str,
    cache_control: &'static str,
    cache: &'static str,
) -> Response {
    let digest = Digest::of(&body);
    let etag = digest.etag();
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    headers.insert(X_CACHE, HeaderValue::from_static(cache));
    for (name, value) in [(ETAG, etag.clone()), (REPR_DIGEST, digest.repr_digest())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    let facts = Held { etag: &etag, modified: std::time::SystemTime::now(), len: body.len() as u64, ranges: false };
    if decide(&request.headers, facts) == Decision::NotModified {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if request.method != Method::HEAD {
        *response.body_mut() = Body::from(body);
    }
    response
}

fn slice(bytes: &Bytes, range: &Range<u64>) -> Result<Bytes, Failure> {
    let at = |position: u64| usize::try_from(position).map_err(|error| Failure::Internal(error.to_string()));
    Ok(bytes.slice(at(range.start)?..at(range.end)?))
}

async fn blob_body(app: &App, open: OpenBlob, range: Range<u64>) -> Result<Body, Failure> {
    let digest = open.blob.digest;
    let stream = app.store.blobs().read_open(open, range).await?;
    Ok(Body::from_stream(stream.inspect(move |part| {
        if let Err(error) = part {
            tracing::error!(%error, %digest, "a stored body could not be read to its end");
        }
    })))
}

/// Answers from a body that is still being filled.
async fn growing(
    head: Builder,
    request: &Parts,
    fill: &Arc<Fill<FillHead>>,
    len: Option<u64>,
) -> Result<Response, Failure> {
    let mut reader = fill.reader();
    // The first bytes, or the failure, before a status is sent: what is refused early is refused with its reason.
    let first = reader.next().await?;
    let trailers = takes_trailers(request);
    let mut head = head.status(StatusCode::OK);
    if trailers {
        head = head.header(TRAILER, "Repr-Digest");
    } else if let Some(len) = len {
        // HTTP/1.1 has trailers only where there is no length.
        head = head.header(CONTENT_LENGTH, len);
    }
    if request.method == Method::HEAD {
        return build(head, Body::empty());
    }
    let state = Growing { first, reader: Some(reader), hasher: trailers.then(Hasher::default), sent: 0, len };
    let frames = futures_util::stream::unfold(state, Growing::step);
    build(head, Body::new(StreamBody::new(frames)))
}

/// Whether the client said that it wants trailers; in HTTP/1.1 hyper sends them only then.
fn takes_trailers(request: &Parts) -> bool {
    let wants = |value: &HeaderValue| {
        value.to_str().is_ok_and(|value| value.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers")))
    };
    request.version >= Version::HTTP_11 && request.headers.get_all(TE).iter().any(wants)
}

/// A client's place in a growing body.
struct Growing {
    /// Read before the header was sent.
    first: Option<Bytes>,
    /// None once everything is said.
    reader: Option<Reader<FillHead>>,
    hasher: Option<Hasher>,
    sent: u64,
    /// What was promised as Content-Length, if anything was.
    len: Option<u64>,
}

type Step = (Result<Frame<Bytes>, FillError>, Growing);

impl Growing {
    async fn step(mut self) -> Option<Step> {
        let reader = self.reader.as_mut()?;
        let next = match self.first.take() {
            Some(chunk) => Ok(Some(chunk)),
            None => reader.next().await,
        };
        match next {
            Ok(Some(chunk)) => {
                self.sent += chunk.len() as u64;
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(&chunk);
                }
                Some((Ok(Frame::data(chunk)), self))
            }
            Ok(None) => {
                self.reader = None;
                if self.len.is_some_and(|len| len != self.sent) {
                    let error = FillError::abandoned();
                    return Some((Err(error), self));
                }
                // These are the proven bytes: a fill ends well only after its commit.
                let digest = self.hasher.take()?.digest();
                let mut trailers = HeaderMap::new();
                trailers.insert(REPR_DIGEST, HeaderValue::from_str(&digest.repr_digest()).ok()?);
                Some((Ok(Frame::trailers(trailers)), self))
            }
            Err(error) => {
                self.reader = None;
                Some((Err(error), self))
            }
        }
    }
}

fn build(head: Builder, body: Body) -> Result<Response, Failure> {
    head.body(body).map_err(|error| Failure::Internal(error.to_string()))
}
