//! From an [`Answer`] to bytes on the connection: headers, HEAD, 304, ranges, and the body from memory, file or a fill.
//!
//! **No clean end for a failed body.** When a body fails after its header was sent, [`send`] says [`Sent::Broken`] and the
//! caller drops the session without finishing it: with `Content-Length` the connection closes short, with chunks the last
//! one never comes. Either way the client knows.

mod body;
mod date;
mod plan;
mod validators;

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::InvalidHeaderValue;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use shared::change::ChangeId;
use shared::digest::Digest;

pub(crate) use self::body::{Body, FileBody, Growing, Passing};
pub(crate) use self::date::parse as parse_date;
pub(crate) use self::plan::{Conditions, Plan, Subject, plan};
use self::validators::Validators;
use crate::cache::Meta;
use crate::error::EdgeError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const BYTES: HeaderValue = HeaderValue::from_static("bytes");
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");
/// Room for this many headers, so that none has to be moved when the next one is added.
const HEADERS: usize = 20;

/// Where an answer came from, as `X-Cache` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XCache {
    /// Held and fresh.
    Hit,
    /// Fetched for this request, or for another that this one joined.
    Miss,
    /// Held, older than its period.
    Stale,
    /// Held, and the center confirmed it just now.
    Revalidated,
    /// A recorded "not found".
    Negative,
    /// Fetched past the cache, which cannot store.
    Bypass,
}

impl XCache {
    /// How many there are.
    pub(crate) const COUNT: usize = 6;

    /// All of them.
    pub(crate) const ALL: [Self; Self::COUNT] =
        [Self::Hit, Self::Miss, Self::Stale, Self::Revalidated, Self::Negative, Self::Bypass];

    /// Whether the answer was here: a "not found" and a stale one are answers as well.
    pub(crate) const fn is_hit(self) -> bool {
        match self {
            Self::Hit | Self::Stale | Self::Revalidated | Self::Negative => true,
            Self::Miss | Self::Bypass => false,
        }
    }

    /// The header's value.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss => "MISS",
            Self::Stale => "STALE",
            Self::Revalidated => "REVALIDATED",
            Self::Negative => "NEGATIVE",
            Self::Bypass => "BYPASS",
        }
    }

    /// The same in figures and log.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Negative => "negative",
            Self::Bypass => "bypass",
        }
    }
}

/// An answer before the client's conditions are applied.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status when nothing of the conditions applies.
    pub(crate) status: StatusCode,
    /// `Content-Type`.
    pub(crate) content_type: &'static str,
    /// `Cache-Control`.
    pub(crate) cache_control: &'static str,
    /// `X-Cache`; none where no cache was asked.
    pub(crate) x_cache: Option<XCache>,
    /// SHA-256 of the body, for `ETag`, where known.
    pub(crate) digest: Option<Digest>,
    /// `Last-Modified`, where known.
    pub(crate) modified: Option<SystemTime>,
    /// `Age` in seconds.
    pub(crate) age_seconds: Option<u64>,
    /// `X-Change-Id`: the change that a mutable answer reflects.
    pub(crate) change_id: Option<ChangeId>,
    /// Whether ranges are answered.
    pub(crate) ranges: bool,
    /// Of an entry in memory that is a plain hit: it keeps its validators as text for the next client.
    pub(crate) kept: Option<Arc<Meta>>,
    /// Headers that only few answers have.
    pub(crate) extra: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub(crate) body: Body,
}

impl Answer {
    /// A short text of our own.
    pub(crate) fn text(status: StatusCode, content_type: &'static str, text: String) -> Self {
        Self {
            status,
            content_type,
            cache_control: "no-store",
            x_cache: None,
            digest: None,
            modified: None,
            age_seconds: None,
            change_id: None,
            ranges: false,
            kept: None,
            extra: Vec::new(),
            body: Body::Whole(text.into()),
        }
    }

    /// A failure: one line that the `go` command prints.
    pub(crate) fn error(error: &EdgeError, request_id: &str) -> Self {
        let answer = error.answer();
        let line = format!("{error} (request {request_id})\n");
        let mut this = Self::text(answer.status, "text/plain; charset=utf-8", line);
        if let Some(seconds) = answer.retry_after_seconds {
            this.extra.push((header::RETRY_AFTER, seconds.into()));
        }
        if answer.status == StatusCode::METHOD_NOT_ALLOWED {
            let allowed = HeaderValue::from_static("GET, HEAD");
            this.extra.push((header::ALLOW, allowed));
        }
        this
    }

    fn subject(&self) -> Subject {
        Subject { digest: self.digest, modified: self.modified, len: self.body.len(), ranges: self.ranges }
    }
}

/// What every response of one request carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Envelope<'a> {
    /// `X-Request-Id`.
    pub(crate) request_id: &'a str,
    /// Who answers.
    pub(crate) signature: &'a Signature,
    /// Whether the method is HEAD.
    pub(crate) head: bool,
    /// `Strict-Transport-Security`, on a connection with TLS.
    pub(crate) hsts: Option<&'static str>,
}

/// How an edge signs its answers.
#[derive(Debug)]
pub(crate) struct Signature {
    /// `X-Served-By`.
    served_by: HeaderValue,
    /// `Via`.
    via: HeaderValue,
}

impl Signature {
    /// Of the edge with this id; fails for an id that no header can hold.
    pub(crate) fn of(edge_id: &str) -> Result<Self, InvalidHeaderValue> {
        Ok(Self { served_by: HeaderValue::from_str(edge_id)?, via: HeaderValue::try_from(format!("1.1 {edge_id}"))? })
    }
}

/// How sending ended.
#[derive(Debug)]
pub(crate) enum Sent {
    /// All of it went out; the connection may serve another request.
    Complete {
        /// The status sent.
        status: StatusCode,
        /// Bytes of the body.
        bytes: u64,
    },
    /// It broke off: the session must be dropped, never finished.
    Broken {
        /// The status sent.
        status: StatusCode,
        /// Bytes of the body that went out.
        bytes: u64,
        /// Why, for the log.
        reason: String,
    },
}

/// Applies the client's conditions to the answer and sends it.
pub(crate) async fn send(
    session: &mut ServerSession,
    envelope: &Envelope<'_>,
    conditions: &Conditions,
    answer: Answer,
    reads: &tokio::runtime::Handle,
) -> Sent {
    let plan = if answer.status == StatusCode::OK { plan(conditions, &answer.subject()) } else { Plan::Whole };
    let status = match &plan {
        Plan::Whole => answer.status,
        Plan::NotModified => StatusCode::NOT_MODIFIED,
        Plan::Part(_) => StatusCode::PARTIAL_CONTENT,
        Plan::NotTheSame => StatusCode::PRECONDITION_FAILED,
        Plan::NoSuchPart => StatusCode::RANGE_NOT_SATISFIABLE,
    };
    let written = match head_of(status, &plan, envelope, &answer) {
        Ok(head) => session.write_response_header(Box::new(head)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = written {
        let reason = format!("writing the header: {error}");
        return Sent::Broken { status, bytes: 0, reason };
    }
    let part: Option<Range<u64>> = match plan {
        Plan::NotModified | Plan::NotTheSame | Plan::NoSuchPart => None,
        Plan::Whole => Some(0..u64::MAX),
        Plan::Part(range) => Some(range),
    };
    match part {
        Some(range) if !envelope.head => match answer.body.write(session, range, reads).await {
            Ok(bytes) => Sent::Complete { status, bytes },
            Err(broken) => Sent::Broken { status, bytes: broken.bytes, reason: broken.reason },
        },
        Some(_) | None => Sent::Complete { status, bytes: 0 },
    }
}

/// The header: what follows from the answer, and what is this client's.
fn head_of(
    status: StatusCode,
    plan: &Plan,
    envelope: &Envelope<'_>,
    answer: &Answer,
) -> pingora_core::Result<ResponseHeader> {
    // Names are written as HTTP/2 writes them: keeping their case would double the work for each response.
    let mut head = ResponseHeader::build_no_case(status, Some(HEADERS))?;
    head.insert_header(X_SERVED_BY, envelope.signature.served_by.clone())?;
    head.insert_header(header::VIA, envelope.signature.via.clone())?;
    head.insert_header(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF)?;
    head.insert_header(header::CACHE_CONTROL, HeaderValue::from_static(answer.cache_control))?;
    if let Some(x_cache) = answer.x_cache {
        head.insert_header(X_CACHE, HeaderValue::from_static(x_cache.as_str()))?;
    }
    match &answer.kept {
        Some(entry) => entry.kept.get_or_make(|| Validators::of(answer))?.add_to(&mut head, plan)?,
        None => Validators::of(answer)?.add_to(&mut head, plan)?,
    }
    if answer.ranges {
        head.insert_header(header::ACCEPT_RANGES, BYTES)?;
    }
    for (name, value) in &answer.extra {
        head.insert_header(name.clone(), value.clone())?;
    }
    frame(&mut head, plan, answer)?;
    head.insert_header(REQUEST_ID, envelope.request_id)?;
    if let Some(hsts) = envelope.hsts {
        head.insert_header(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(hsts))?;
    }
    if let Some(age) = answer.age_seconds {
        head.insert_header(header::AGE, age)?;
    }
    Ok(head)
}

/// The headers that say what body follows.
fn frame(head: &mut ResponseHeader, plan: &Plan, answer: &Answer) -> pingora_core::Result<()> {
    let len = answer.body.len();
    match plan {
        Plan::NotModified => return Ok(()),
        Plan::NotTheSame => {
            head.insert_header(header::CONTENT_LENGTH, 0)?;
            return Ok(());
        }
        Plan::NoSuchPart => {
            let whole = len.unwrap_or(0);
            head.insert_header(header::CONTENT_RANGE, format!("bytes */{whole}"))?;
            head.insert_header(header::CONTENT_LENGTH, 0)?;
            return Ok(());
        }
        Plan::Part(range) => {
            let whole = len.unwrap_or(range.end);
            let last = range.end.saturating_sub(1);
            let text = format!("bytes {}-{last}/{whole}", range.start);
            head.insert_header(header::CONTENT_RANGE, text)?;
            head.insert_header(header::CONTENT_LENGTH, range.end - range.start)?;
        }
        Plan::Whole => match len {
            Some(len) => head.insert_header(header::CONTENT_LENGTH, len)?,
            None => head.insert_header(header::TRANSFER_ENCODING, CHUNKED)?,
        },
    }
    head.insert_header(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type))?;
    Ok(())
}
