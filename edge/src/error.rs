//! Every failure that a client can see, and the one table from failure to HTTP answer.
//!
//! The text for the client says what and why in our own words; an upstream's name, address or error goes to the log only.

use http::StatusCode;
use shared::fill::{FillError, FillErrorKind};
use shared::request::ParseError;

/// Why a request is not answered with an artefact.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum EdgeError {
    /// A path that no `go` command sends.
    #[error("bad request: {0}")]
    BadPath(String),
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
    /// Nobody could be asked.
    #[error("unavailable: {0}")]
    Unavailable(String),
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
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, None),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, None),
            Self::Gone(_) => (StatusCode::GONE, None),
            Self::Blocked(_) => (StatusCode::FORBIDDEN, None),
            Self::Loop => (StatusCode::LOOP_DETECTED, None),
            Self::WrongAnswer(_) => (StatusCode::BAD_GATEWAY, None),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, Some(5)),
            Self::TooSlow(_) => (StatusCode::GATEWAY_TIMEOUT, None),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        ErrorAnswer { status, retry_after_seconds }
    }

    /// Whether it says nothing about the artefact, so that a held answer is better, however old.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::WrongAnswer(_) | Self::Unavailable(_) | Self::TooSlow(_) | Self::Internal(_) => true,
            Self::BadPath(_) | Self::Method | Self::NotFound(_) | Self::Gone(_) | Self::Blocked(_) | Self::Loop => {
                false
            }
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
            FillErrorKind::Integrity | FillErrorKind::Upstream | FillErrorKind::TooLarge => Self::WrongAnswer(message),
            FillErrorKind::Unavailable | FillErrorKind::Abandoned => Self::Unavailable(message),
            FillErrorKind::Timeout => Self::TooSlow(message),
            FillErrorKind::Storage => Self::Internal(message),
        }
    }
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
    fn what_is_known_keeps_its_status() {
        let status = |kind| EdgeError::from(FillError::new(kind, "x")).answer().status;
        assert_eq!(status(FillErrorKind::NotFound), StatusCode::NOT_FOUND);
        assert_eq!(status(FillErrorKind::Gone), StatusCode::GONE);
        assert_eq!(status(FillErrorKind::Forbidden), StatusCode::FORBIDDEN);
    }
}
