//! What stands around every request and answer: the request's id, the loop check, the headers that always are there, the body of
//! a failure, and one line in the log and in the metrics once the last byte is gone.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT, VIA, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use http_body::{Frame, SizeHint};
use shared::telemetry::HttpMetrics;

use crate::app::App;
use crate::error::Row;

/// Names a request in answers and logs.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The name under which an answer is counted; handlers put it into the answer's extensions. There are few of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route(pub(crate) &'static str);

/// Who is on the other end, set by `serve`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What stands around one request, begun before it is answered.
pub(crate) struct Envelope {
    record: Record,
    is_api: bool,
}

impl Envelope {
    /// That of a request.
    pub(crate) fn of(app: &App, request: &Request) -> Self {
        let headers = request.headers();
        let path = request.uri().path();
        let record = Record {
            started: Instant::now(),
            metrics: app.metrics.http.clone(),
            id: request_id(headers),
            method: request.method().clone(),
            path: path.to_owned(),
            version: request.version(),
            peer: request.extensions().get::<Peer>().copied(),
            agent: headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or("-").to_owned(),
            route: "other",
            status: 0,
            bytes: 0,
            failed: false,
        };
        Self { is_api: path.starts_with("/api/v1/"), record }
    }

    /// Puts the answer into it.
    pub(crate) fn around(self, app: &App, response: Response) -> Response {
        let Self { mut record, is_api } = self;
        let (mut head, mut body) = response.into_parts();
        if let Some(row) = head.extensions.remove::<Row>() {
            let (content_type, text) = if is_api { problem(&row, &record.id) } else { line(&row, &record.id) };
            head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            // What GET would say, also where HEAD sends none of it.
            head.headers.insert(CONTENT_LENGTH, text.len().into());
            body = if record.method == Method::HEAD { Body::empty() } else { Body::from(text) };
        }
        if let Ok(id) = HeaderValue::from_str(&record.id) {
            head.headers.insert(X_REQUEST_ID, id);
        }
        head.headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        head.headers.insert(VIA, app.via.value());
        record.status = head.status.as_u16();
        record.route = head.extensions.get::<Route>().map_or("other", |route| route.0);
        Response::from_parts(head, Body::new(Recorded { body, record }))
    }
}

/// The one line that the `go` command prints.
fn line(row: &Row, id: &str) -> (&'static str, String) {
    let text: String = row.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    ("text/plain; charset=utf-8", format!("{}: {text} (request {id})\n", row.word))
}

/// A problem document, RFC 9457.
fn problem(row: &Row, id: &str) -> (&'static str, String) {
    let document = serde_json::json!({
        "type": "about:blank",
        "title": row.word,
        "status": row.status.as_u16(),
        "detail": row.text,
        "request_id": id,
    });
    ("application/problem+json", format!("{document}\n"))
}

/// The id that an edge gave the request, if it is one that can stand in a log line, or a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(X_REQUEST_ID).and_then(|id| id.to_str().ok());
    let usable = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    given.filter(usable).map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned)
}

/// How this center calls itself in `Via`: another name at each start, so that no two are ever the same.
#[derive(Debug, Clone)]
pub(crate) struct Via {
    token: String,
    value: HeaderValue,
}

impl Via {
    /// A new name.
    pub(crate) fn new() -> Self {
        let token = format!("modtier-center-{:016x}", rand::random::<u64>());
        let value =
            HeaderValue::from_str(&format!("1.1 {token}")).expect("letters, digits and dashes are a header value");
        Self { token, value }
    }

    /// The header's value, for requests upstream and answers.
    pub(crate) fn value(&self) -> HeaderValue {
        self.value.clone()
    }

    /// Whether a request has passed through here before.
    pub(crate) fn came_back(&self, headers: &HeaderMap) -> bool {
        headers
            .get_all(VIA)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|hop| hop.split_whitespace().nth(1) == Some(self.token.as_str()))
    }
}

/// What is logged of a request.
struct Record {
    started: Instant,
    metrics: HttpMetrics,
    id: String,
    method: Method,
    path: String,
    version: Version,
    peer: Option<Peer>,
    agent: String,
    route: &'static str,
    status: u16,
    bytes: u64,
    failed: bool,
}

/// A body that logs when it is done or dropped.
struct Recorded {
    body: Body,
    record: Record,
}

impl HttpBody for Recorded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            Poll::Ready(Some(Err(_))) => self.record.failed = true,
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let record = &self.record;
        let took = record.started.elapsed();
        record.metrics.observe(record.route, record.status, took);
        tracing::info!(
            target: "access",
            request_id = record.id,
            client = record.peer.map(|peer| peer.0.to_string()).unwrap_or_default(),
            method = %record.method,
            path = record.path,
            version = ?record.version,
            status = record.status,
            bytes = record.bytes,
            duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            agent = record.agent,
            aborted = record.failed,
            "request"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_hop_is_a_loop() {
        let (own, other) = (Via::new(), Via::new());
        let mut headers = HeaderMap::new();
        assert!(!own.came_back(&headers));
        headers.append(VIA, other.value());
        headers.append(VIA, HeaderValue::from_static("1.1 edge, 2 modtier-center"));
        assert!(!own.came_back(&headers));
        headers.append(VIA, HeaderValue::from_str(&format!("1.0 fred, {}", own.value.to_str().unwrap())).unwrap());
        assert!(own.came_back(&headers));
    }

    #[test]
    fn a_request_id_that_could_forge_a_line_is_replaced() {
        let with = |id: &'static [u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
            request_id(&headers)
        };
        assert_eq!(with(b"edge-1.a_B"), "edge-1.a_B");
        assert_ne!(with(b"a b"), "a b");
        assert_ne!(with(b""), "");
        assert_eq!(with(&[b'a'; 65]).len(), 16);
    }
}
