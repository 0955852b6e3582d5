//! From what the cache or a fill has to an [`Answer`].

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use shared::artefact::{ArtefactKind, CACHE_CONTROL_IMMUTABLE, CACHE_CONTROL_MUTABLE};
use shared::fill::{Fill, FillError, FillErrorKind, MEMORY_MAX};
use shared::request::{Request, SumdbPart};

use super::Ask;
use crate::app::App;
use crate::cache::{Entry, EntryBody, Status};
use crate::error::EdgeError;
use crate::respond::{Answer, Body, FileBody, Growing, Passing, XCache};
use crate::upstream::{BodyHead, CAVEAT, Caveat, FillHead, Passed, Piece};

/// A frame for a 200 of this request; the body and what is known of it are still to be set.
fn blank(request: &Request, x_cache: XCache, body: Body) -> Answer {
    let (content_type, cache_control, ranges) = match request {
        Request::Module(module) => {
            let kind = module.artefact.kind();
            (kind.content_type(), kind.cache_control(false), kind == ArtefactKind::Zip)
        }
        Request::Sumdb(sumdb) => match sumdb.part {
            SumdbPart::Supported | SumdbPart::Latest => ("text/plain; charset=utf-8", CACHE_CONTROL_MUTABLE, false),
            // A record, once in the database, never changes.
            SumdbPart::Lookup { .. } => ("text/plain; charset=utf-8", CACHE_CONTROL_IMMUTABLE, false),
            SumdbPart::Tile(_) => ("application/octet-stream", CACHE_CONTROL_IMMUTABLE, false),
        },
    };
    let mut answer = Answer::text(StatusCode::OK, content_type, String::new());
    answer.cache_control = cache_control;
    answer.x_cache = Some(x_cache);
    answer.ranges = ranges;
    answer.body = body;
    answer
}

/// Answers from the cache. `label` says otherwise than HIT how the answer came about.
pub(super) fn from_held(app: &App, ask: &Ask, request: &Request, entry: &Entry, label: Option<XCache>) -> Answer {
    let message = &entry.meta.message;
    let missing = match entry.status {
        Status::Found => None,
        Status::NotFound => Some(EdgeError::NotFound(message.clone())),
        Status::Gone => Some(EdgeError::Gone(message.clone())),
    };
    if let Some(error) = missing {
        let mut answer = Answer::error(&error, &ask.request_id);
        answer.x_cache = Some(XCache::Negative);
        return answer;
    }
    let body = match &entry.body {
        EntryBody::Memory(bytes) => Body::Whole(bytes.clone()),
        EntryBody::File(file) => Body::File(FileBody { file: Arc::clone(file), len: entry.meta.len }),
        EntryBody::Empty => Body::Whole(Bytes::new()),
    };
    let mut answer = blank(request, label.unwrap_or(XCache::Hit), body);
    answer.kept = label.is_none().then(|| Arc::clone(&entry.meta));
    answer.digest = Some(entry.meta.digest);
    answer.modified = Some(entry.meta.modified);
    answer.age_seconds = Some(app.cache.age(&entry.meta).as_secs());
    answer.change_id = entry.meta.change_id;
    answer
}

/// Answers from a fill that has its head.
///
/// Where the client must know length or digest first, or the body is small, it waits for the end: a small body's bytes
/// are all held back until they are proven, so nothing is lost, and a failure still finds an unsent header.
pub(super) async fn from_fill(
    app: &App,
    ask: &Ask,
    request: &Request,
    fill: &Arc<Fill<FillHead>>,
    head: &FillHead,
) -> Result<Answer, FillError> {
    let FillHead::Body(head) = head else {
        return Err(FillError::abandoned());
    };
    let x_cache = if app.cache.disk_trouble().is_some() { XCache::Bypass } else { XCache::Miss };
    if must_wait(ask, request, head) {
        fill.done().await?;
    }
    let mut reader = fill.reader();
    // The first bytes, or the failure, before any header is sent.
    let first = reader.next().await?;
    let (digest, len) = match head.proven.get() {
        Some((digest, len)) => (Some(*digest), Some(*len)),
        None => (head.digest, head.len),
    };
    let body = Body::Growing(Box::new(Growing { first, reader, len }));
    let mut answer = blank(request, x_cache, body);
    answer.digest = digest;
    answer.modified = Some(head.modified);
    answer.age_seconds = Some(0);
    answer.change_id = head.change_id;
    mark(&mut answer, head.no_store, head.caveat);
    Ok(answer)
}

/// Says on what the center said of a body that nobody is to keep.
fn mark(answer: &mut Answer, no_store: bool, caveat: Option<Caveat>) {
    if no_store {
        answer.cache_control = "no-store";
    }
    if let Some(caveat) = caveat {
        answer.extra.push((HeaderName::from_static(CAVEAT), HeaderValue::from_static(caveat.as_str())));
    }
}

/// Answers from a body that passes through.
pub(super) async fn from_passed(ask: &Ask, request: &Request, passed: Passed) -> Result<Answer, EdgeError> {
    let Passed { promise, mut pieces } = passed;
    let first = match pieces.recv().await {
        Some(Piece::Bytes(bytes)) => Some(bytes),
        Some(Piece::End) => None,
        Some(Piece::Failed(error)) => return Err(error.into()),
        None => return Err(EdgeError::from(FillError::abandoned())),
    };
    if ask.needs_length && promise.len.is_none() {
        let message = "the cache cannot store, and this client cannot read a body of unknown length";
        return Err(FillError::new(FillErrorKind::Unavailable, message).into());
    }
    let body = Body::Passing(Box::new(Passing { first, pieces, len: promise.len }));
    let mut answer = blank(request, XCache::Bypass, body);
    answer.digest = promise.digest;
    answer.modified = Some(promise.modified);
    answer.change_id = promise.change_id;
    answer.age_seconds = Some(0);
    answer.ranges = false;
    mark(&mut answer, promise.no_store, promise.caveat);
    Ok(answer)
}

fn must_wait(ask: &Ask, request: &Request, head: &BodyHead) -> bool {
    let conditions = &ask.conditions;
    let names_a_digest = conditions.if_none_match.is_some() || conditions.if_match.is_some();
    let needs_digest = names_a_digest && head.digest.is_none();
    let is_zip = matches!(request, Request::Module(module) if module.artefact.kind() == ArtefactKind::Zip);
    let is_small = head.len.map_or(!is_zip, |len| len <= MEMORY_MAX);
    ask.is_head() || conditions.range.is_some() || needs_digest || is_small || (ask.needs_length && head.len.is_none())
}
