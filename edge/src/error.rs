//! Every failure that a client can see, and the one table from failure to HTTP answer.
//!
//! The text for the client says what and why in our own words; an upstream's name, address or error goes to the log only.

use std::time::Duration;

use http::StatusCode;
use shared::fill::{FillError, FillErrorKind};
use shared::request::ParseError;

use crate::limit::TooMany;

/// `Retry-After` of an outage whose end nobody knows.
const RETRY_AFTER_SECONDS: u32 = 5;

/// Why a request is not answered with an artefact.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum EdgeError {
    /// A path that no `go` command sends.
    #[error("bad request: {0}")]
    BadPath(String),
    /// A path longer than any module's.
    #[error("bad request: {0}")]
    TargetTooLong(String),
    /// A header larger than any `go` command's.
    #[error("bad request: {0}")]
    HeaderTooLarge(String),
    /// A body, which no request here needs.
    #[error("bad request: {0}")]
    BodyTooLarge(String),
    /// Another method than GET and HEAD.
    #[error("method not allowed: only GET and HEAD are answered here")]
    Method,
    /// Every source that may answer says that it does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// It existed and was removed.
    #[error("gone: {0}")]
    Gone(String),
    /// A policy refuses it.
    #[error("blocked: {0}")]
    Blocked(String),
    /// The request came back to this edge.
    #[error("unavailable: the request came back to the edge that sent it")]
    Loop,
    /// The center's answer was wrong, or did not prove right.
    #[error("unavailable: {0}")]
    WrongAnswer(String),
    /// The client, or its tenant, asks for more than it may.
    #[error("unavailable: {}", .0.whose.reason())]
    TooMany(TooMany),
    /// Nobody could be asked.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// What the client is told.
        reason: String,
        /// When asking again makes sense, where that is known.
        retry_after: Option<Duration>,
    },
    /// The center took too long.
    #[error("unavailable: {0}")]
    TooSlow(String),
    /// Something here failed; the log has it.
    #[error("unavailable: {0}")]
    Internal(String),
}

/// How a failure is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ErrorAnswer {
    /// The status.
    pub(crate) status: StatusCode,
    /// `Retry-After`, seconds.
    pub(crate) retry_after_seconds: Option<u32>,
}

impl EdgeError {
    /// The table. 404 and 410 send `go` to the next entry of GOPROXY, so no outage may be among them.
    pub(crate) fn answer(&self) -> ErrorAnswer {
        let (status, retry_after_seconds) = match self {
            Self::BadPath(_) => (StatusCode::BAD_REQUEST, None),
            Self::TargetTooLong(_) => (StatusCode::URI_TOO_LONG, None),
            Self::HeaderTooLarge(_) => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, None),
            Self::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, None),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, None),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, None),
            Self::Gone(_) => (StatusCode::GONE, None),
            Self::Blocked(_) => (StatusCode::FORBIDDEN, None),
            Self::Loop => (StatusCode::LOOP_DETECTED, None),
            Self::WrongAnswer(_) => (StatusCode::BAD_GATEWAY, None),
            Self::TooMany(too_many) => (StatusCode::TOO_MANY_REQUESTS, Some(whole_seconds(too_many.retry_after))),
            Self::Unavailable { retry_after, .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, Some(retry_after.map_or(RETRY_AFTER_SECONDS, whole_seconds)))
            }
            Self::TooSlow(_) => (StatusCode::GATEWAY_TIMEOUT, None),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        ErrorAnswer { status, retry_after_seconds }
    }

    /// Whether it says nothing about the artefact, so that a held answer is better, however old.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::WrongAnswer(_)
            | Self::TooMany(_)
            | Self::Unavailable { .. }
            | Self::TooSlow(_)
            | Self::Internal(_) => true,
            Self::BadPath(_)
            | Self::TargetTooLong(_)
            | Self::HeaderTooLarge(_)
            | Self::BodyTooLarge(_)
            | Self::Method
            | Self::NotFound(_)
            | Self::Gone(_)
            | Self::Blocked(_)
            | Self::Loop => false,
        }
    }
}

impl From<FillError> for EdgeError {
    fn from(error: FillError) -> Self {
        let message = error.message;
        match error.kind {
            FillErrorKind::NotFound => Self::NotFound(message),
            FillErrorKind::Gone => Self::Gone(message),
            FillErrorKind::Forbidden => Self::Blocked(message),
            FillErrorKind::Integrity
            | FillErrorKind::Upstream
            | FillErrorKind::Credential
            | FillErrorKind::TooLarge => Self::WrongAnswer(message),
            FillErrorKind::Unavailable | FillErrorKind::Abandoned => {
                Self::Unavailable { reason: message, retry_after: error.retry_after }
            }
            FillErrorKind::Timeout => Self::TooSlow(message),
            FillErrorKind::Storage => Self::Internal(message),
        }
    }
}

impl From<TooMany> for EdgeError {
    fn from(too_many: TooMany) -> Self {
        Self::TooMany(too_many)
    }
}

/// Rounded up: who comes back at that time is not refused again.
fn whole_seconds(after: Duration) -> u32 {
    u32::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u32::MAX).max(1)
}

impl From<ParseError> for EdgeError {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::Malformed(reason) => Self::BadPath(reason),
            ParseError::NotFound(reason) => Self::NotFound(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Whose;

    #[test]
    fn no_outage_is_answered_404_or_410() {
        let kinds = [
            FillErrorKind::Integrity,
            FillErrorKind::Upstream,
            FillErrorKind::Unavailable,
            FillErrorKind::Timeout,
            FillErrorKind::TooLarge,
            FillErrorKind::Storage,
            FillErrorKind::Abandoned,
        ];
        for kind in kinds {
            let error = EdgeError::from(FillError::new(kind, "x"));
            assert!(error.is_outage(), "{kind:?}");
            assert!(error.answer().status.is_server_error(), "{kind:?}");
        }
    }

    #[test]
    fn when_to_ask_again_is_rounded_up() {
        let too_many = |millis| TooMany { whose: Whose::ClientFills, retry_after: Duration::from_millis(millis) };
        for (millis, seconds) in [(0, 1), (1000, 1), (1001, 2), (9999, 10)] {
            let answer = EdgeError::from(too_many(millis)).answer();
            assert_eq!(
                (answer.status, answer.retry_after_seconds),
                (StatusCode::TOO_MANY_REQUESTS, Some(seconds)),
                "{millis}"
            );
        }
        let unavailable = FillError::new(FillErrorKind::Unavailable, "x");
        assert_eq!(EdgeError::from(unavailable.clone()).answer().retry_after_seconds, Some(5));
        let later = unavailable.with_retry_after(Duration::from_millis(29_001));
        assert_eq!(EdgeError::from(later).answer().retry_after_seconds, Some(30));
    }

    #[test]
    fn what_is_known_keeps_its_status() {
        let status = |kind| EdgeError::from(FillError::new(kind, "x")).answer().status;
        assert_eq!(status(FillErrorKind::NotFound), StatusCode::NOT_FOUND);
        assert_eq!(status(FillErrorKind::Gone), StatusCode::GONE);
        assert_eq!(status(FillErrorKind::Forbidden), StatusCode::FORBIDDEN);
    }
}
