//! The one table from what went wrong to what HTTP says.
//!
//! Handlers return a [`Failure`]; [`Failure::row`] turns it into status, word and text. `envelope` writes the body, because only
//! it knows the request's id: one line of text for the `go` command, a problem document (RFC 9457) under `/api/v1/`.
//! `go` goes on to the next GOPROXY entry on 404 and 410 alone, so no outage may ever stand beside those.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use shared::access::Denied;
use shared::fill::{FillError, FillErrorKind};
use shared::request::ParseError;

use crate::repository::RepoError;
use crate::store::StoreError;
use crate::sumdb::{OriginError, SumdbError};

/// Everything that can end a request without its answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A repository has no answer.
    Repository(RepoError),
    /// A checksum database has none.
    Sumdb(SumdbError),
    /// The path is not one of a module.
    Path(ParseError),
    /// The token is missing or allows too little.
    Denied(Denied),
    /// The method is not one of this path; these are.
    Method(&'static str),
    /// The administration knows no such repository.
    NoRepository(String),
    /// A `go` command was pointed at a repository that is not here.
    NotServed(String),
    /// A `go` command was pointed at the center without a repository.
    NoBase,
    /// There is nothing at this path.
    NoRoute,
    /// A parameter or header is malformed.
    BadRequest(String),
    /// The request has been here before.
    Loop,
    /// An upload is larger than is taken.
    UploadTooLarge(u64),
    /// An upload stopped.
    UploadStalled,
    /// What was uploaded is not what the client says it is.
    Checksum(String),
    /// This center has not yet seen the change that the client has.
    Behind,
    /// The feed cannot continue from there.
    History(String),
    /// A precondition of the request does not hold.
    Precondition,
    /// Our own fault; the detail is in the log.
    Internal(String),
}

/// One row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// The status.
    pub(crate) status: StatusCode,
    /// What the line begins with: `not found`, `unavailable`, …
    pub(crate) word: &'static str,
    /// The rest of the line.
    pub(crate) text: String,
    /// A header that belongs to the status.
    header: Option<(HeaderName, HeaderValue)>,
    /// Said in `Proxy-Status` where this center is well and whoever it asks is not.
    beyond: Option<&'static str>,
}

impl Row {
    fn new(status: StatusCode, word: &'static str, text: impl Into<String>) -> Self {
        Self { status, word, text: text.into(), header: None, beyond: None }
    }

    fn beyond(self, error: &'static str) -> Self {
        Self { beyond: Some(error), ..self }
    }

    fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.header = HeaderValue::from_str(value).ok().map(|value| (name, value));
        self
    }

    fn retry_after(self, after: Duration) -> Self {
        self.with(RETRY_AFTER, &after.as_secs().max(1).to_string())
    }
}

/// Who failed (RFC 9209). By it an edge tells a center that cannot reach one of its sources from one that is in trouble itself,
/// and goes on asking it for everything else.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const WRONG: &str = "modtier-center; error=http_protocol_error";
const AWAY: &str = "modtier-center; error=destination_unavailable";
const SLOW: &str = "modtier-center; error=http_response_timeout";

/// When nothing better is known of when a center will be able to answer.
const RETRY_SOON: Duration = Duration::from_secs(5);

impl Failure {
    /// The row of the table.
    pub(crate) fn row(self) -> Row {
        match self {
            Self::Repository(error) => repository_row(error),
            Self::Sumdb(error) => sumdb_row(error),
            Self::Path(ParseError::Malformed(why)) | Self::BadRequest(why) => {
                Row::new(StatusCode::BAD_REQUEST, "bad request", why)
            }
            Self::Path(ParseError::NotFound(why)) => Row::new(StatusCode::NOT_FOUND, "not found", why),
            Self::Denied(denied @ Denied::Unauthenticated) => {
                Row::new(StatusCode::UNAUTHORIZED, "unauthorized", denied.to_string())
                    .with(WWW_AUTHENTICATE, "Basic realm=\"modtier\"")
            }
            Self::Denied(denied @ Denied::Forbidden) => {
                Row::new(StatusCode::FORBIDDEN, "forbidden", denied.to_string())
            }
            Self::Method(allowed) => {
                Row::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed", format!("use {allowed}"))
                    .with(ALLOW, allowed)
            }
            Self::NoRepository(name) => {
                Row::new(StatusCode::NOT_FOUND, "not found", format!("there is no repository {name:?}"))
            }
            // 404 would send `go` to its next proxy, private names with it, for what is a slip in a configuration.
            Self::NotServed(name) => {
                Row::new(StatusCode::FORBIDDEN, "blocked", format!("there is no repository {name:?} here"))
            }
            Self::NoBase => {
                Row::new(StatusCode::FORBIDDEN, "blocked", "modules are served below /api/go/<repository>/ here")
            }
            Self::NoRoute => Row::new(StatusCode::NOT_FOUND, "not found", "there is nothing at this path"),
            Self::Loop => Row::new(
                StatusCode::LOOP_DETECTED,
                "loop",
                "this center is its own upstream; correct its configuration",
            ),
            Self::UploadTooLarge(limit) => {
                Row::new(StatusCode::PAYLOAD_TOO_LARGE, "too large", format!("a module zip may have {limit} bytes"))
            }
            Self::UploadStalled => Row::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the upload stopped"),
            Self::Checksum(why) => Row::new(StatusCode::BAD_REQUEST, "checksum", why),
            Self::Behind => Row::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "this center has not yet seen the change asked for",
            )
            .retry_after(Duration::from_secs(1)),
            Self::History(why) => Row::new(StatusCode::GONE, "gone", why),
            Self::Precondition => Row::new(
                StatusCode::PRECONDITION_FAILED,
                "precondition failed",
                "the stored bytes are not the ones named by If-Match",
            ),
            Self::Internal(detail) => {
                tracing::error!(detail, "a request failed inside the center");
                Row::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error", "the center failed; see its log")
            }
        }
    }
}

fn repository_row(error: RepoError) -> Row {
    match error {
        RepoError::NotFound(why) => Row::new(StatusCode::NOT_FOUND, "not found", why),
        RepoError::Gone(why) => Row::new(StatusCode::GONE, "gone", why),
        RepoError::Blocked(why) => Row::new(StatusCode::FORBIDDEN, "blocked", why),
        RepoError::BadModule(why) => Row::new(StatusCode::BAD_REQUEST, "bad module", why),
        RepoError::Conflict(why) => Row::new(StatusCode::CONFLICT, "conflict", why),
        RepoError::NotWritable(why) => {
            Row::new(StatusCode::METHOD_NOT_ALLOWED, "not writable", why).with(ALLOW, READ_METHODS)
        }
        RepoError::Integrity(why) => Row::new(StatusCode::BAD_GATEWAY, "integrity", why).beyond(WRONG),
        RepoError::Upstream(why) | RepoError::Credential(why) => {
            Row::new(StatusCode::BAD_GATEWAY, "upstream", why).beyond(WRONG)
        }
        RepoError::Unavailable { msg, retry_after } => {
            Row::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", msg).retry_after(retry_after).beyond(AWAY)
        }
        RepoError::Timeout(why) => Row::new(StatusCode::GATEWAY_TIMEOUT, "timeout", why).beyond(SLOW),
        RepoError::TooLarge(why) => Row::new(StatusCode::PAYLOAD_TOO_LARGE, "too large", why),
        RepoError::Storage(why) => {
            Row::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", why).retry_after(RETRY_SOON)
        }
    }
}

fn sumdb_row(error: SumdbError) -> Row {
    let error = match error {
        SumdbError::NotProxied(why) | SumdbError::NoSuchPath(why) => {
            return Row::new(StatusCode::NOT_FOUND, "not found", why);
        }
        SumdbError::Private(why) => return Row::new(StatusCode::FORBIDDEN, "blocked", why),
        SumdbError::Origin(error) => error,
    };
    match error {
        OriginError::NotFound(why) => Row::new(StatusCode::NOT_FOUND, "not found", why),
        OriginError::Gone(why) => Row::new(StatusCode::GONE, "gone", why),
        OriginError::Refused(why) => Row::new(StatusCode::FORBIDDEN, "blocked", why),
        OriginError::Wrong(why) => Row::new(StatusCode::BAD_GATEWAY, "upstream", why).beyond(WRONG),
        OriginError::Timeout(why) => Row::new(StatusCode::GATEWAY_TIMEOUT, "timeout", why).beyond(SLOW),
        OriginError::Unavailable { message, retry_after } => {
            Row::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).retry_after(retry_after).beyond(AWAY)
        }
        OriginError::Storage => {
            Row::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string()).retry_after(RETRY_SOON)
        }
    }
}

/// The methods of everything that is only read.
pub(crate) const READ_METHODS: &str = "GET, HEAD";

impl From<RepoError> for Failure {
    fn from(error: RepoError) -> Self {
        Self::Repository(error)
    }
}

impl From<FillError> for Failure {
    fn from(error: FillError) -> Self {
        let FillError { kind, message, retry_after } = error;
        let unavailable = |msg| RepoError::Unavailable { msg, retry_after: retry_after.unwrap_or(RETRY_SOON) };
        Self::Repository(match kind {
            FillErrorKind::NotFound => RepoError::NotFound(message),
            FillErrorKind::Gone => RepoError::Gone(message),
            FillErrorKind::Forbidden => RepoError::Blocked(message),
            FillErrorKind::Integrity => RepoError::Integrity(message),
            FillErrorKind::Credential => RepoError::Credential(message),
            FillErrorKind::Upstream | FillErrorKind::TooLarge => RepoError::Upstream(message),
            FillErrorKind::Unavailable => unavailable(message),
            FillErrorKind::Timeout => RepoError::Timeout(message),
            // Given up in this process: nobody beyond it is to blame.
            FillErrorKind::Storage | FillErrorKind::Abandoned => RepoError::Storage(message),
        })
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Repository(error.into())
    }
}

impl From<SumdbError> for Failure {
    fn from(error: SumdbError) -> Self {
        Self::Sumdb(error)
    }
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        Self::Path(error)
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl IntoResponse for Failure {
    /// Status and headers; the envelope finds the row in the extensions and writes the body.
    fn into_response(self) -> Response {
        let mut row = self.row();
        let mut response = Response::new(Body::empty());
        *response.status_mut() = row.status;
        if let Some((name, value)) = row.header.take() {
            response.headers_mut().insert(name, value);
        }
        if let Some(error) = row.beyond {
            response.headers_mut().insert(PROXY_STATUS, HeaderValue::from_static(error));
        }
        response.extensions_mut().insert(row);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_absent_is_404_or_410() {
        let why = String::new;
        let outages = [
            Failure::Repository(RepoError::Blocked(why())),
            Failure::Repository(RepoError::Integrity(why())),
            Failure::Repository(RepoError::Upstream(why())),
            Failure::Repository(RepoError::Credential(why())),
            Failure::Repository(RepoError::Unavailable { msg: why(), retry_after: RETRY_SOON }),
            Failure::Repository(RepoError::Timeout(why())),
            Failure::Repository(RepoError::Storage(why())),
            Failure::Sumdb(SumdbError::Private(why())),
            Failure::Sumdb(SumdbError::Origin(OriginError::Wrong(why()))),
            Failure::Sumdb(SumdbError::Origin(OriginError::Timeout(why()))),
            Failure::Sumdb(SumdbError::Origin(OriginError::Refused(why()))),
            Failure::Sumdb(SumdbError::Origin(OriginError::Storage)),
            Failure::Sumdb(SumdbError::Origin(OriginError::Unavailable { message: why(), retry_after: RETRY_SOON })),
            Failure::Behind,
            Failure::Internal(why()),
        ];
        for failure in outages {
            let name = format!("{failure:?}");
            let status = failure.row().status;
            assert!(status != StatusCode::NOT_FOUND && status != StatusCode::GONE, "{name}");
        }
    }

    #[test]
    fn what_fails_beyond_this_center_is_told_from_its_own_failures() {
        let status = |error: RepoError| Failure::from(error).into_response().headers().get(PROXY_STATUS).cloned();
        let why = String::new;
        let unavailable = RepoError::Unavailable { msg: why(), retry_after: RETRY_SOON };
        for error in [RepoError::Upstream(why()), RepoError::Integrity(why()), RepoError::Timeout(why()), unavailable] {
            let name = format!("{error:?}");
            assert!(
                status(error).is_some_and(|value| value.as_bytes().starts_with(b"modtier-center; error=")),
                "{name}"
            );
        }
        assert_eq!(status(RepoError::Storage(why())), None);
        assert_eq!(status(RepoError::NotFound(why())), None);
    }

    #[test]
    fn an_outage_says_when_to_come_back() {
        let error = RepoError::Unavailable { msg: "x".into(), retry_after: Duration::from_millis(10) };
        let response = Failure::from(error).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
    }
}
