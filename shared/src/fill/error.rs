//! Why a fill failed.

use std::time::Duration;

/// The kinds of failure; each tier's error table gives them their HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FillErrorKind {
    /// Every source that may answer says it does not exist.
    NotFound,
    /// It existed and was withdrawn.
    Gone,
    /// A policy, or the upstream, refuses it.
    Forbidden,
    /// The bytes are not the recorded ones.
    Integrity,
    /// The upstream's answer was wrong or broke off.
    Upstream,
    /// The upstream wants another credential than it was sent.
    Credential,
    /// Nobody could be asked.
    Unavailable,
    /// The upstream was too slow.
    Timeout,
    /// The body is larger than is allowed.
    TooLarge,
    /// The body could not be stored.
    Storage,
    /// The filling task went away without an end.
    Abandoned,
}

/// Why a fill failed; every reader gets a copy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FillError {
    /// What went wrong.
    pub kind: FillErrorKind,
    /// One line that may be shown to a client: no host names, no credentials.
    pub message: String,
    /// When asking again makes sense.
    pub retry_after: Option<Duration>,
}

impl FillError {
    /// An error with a line that may be shown to a client.
    pub fn new(kind: FillErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// The same, with a hint when to ask again.
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// The filling task ended without saying how.
    pub fn abandoned() -> Self {
        Self::new(FillErrorKind::Abandoned, "the fetch was abandoned")
    }
}
