//! Why a repository has no answer, or takes nothing.

use std::time::Duration;

use crate::store::StoreError;

/// Why there is no answer. The texts are one line, lower case, safe to show to a client, and do not repeat the prefix
/// (`not found: `, `gone: `, …) that the error table puts before them.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum RepoError {
    /// Every source that may answer says that it does not exist. 404
    #[error("not found: {0}")]
    NotFound(String),
    /// A tombstoned version of a local repository, or every source says gone. 410
    #[error("gone: {0}")]
    Gone(String),
    /// Refused by policy, here or at the upstream. 403
    #[error("blocked: {0}")]
    Blocked(String),
    /// What was sent for publishing breaks a rule. 400
    #[error("bad module: {0}")]
    BadModule(String),
    /// Other bytes for a version that exists, or a tombstoned one. 409
    #[error("conflict: {0}")]
    Conflict(String),
    /// The repository takes no uploads (remote, or virtual without a deployment repository). 405
    #[error("not writable: {0}")]
    NotWritable(String),
    /// An upstream's bytes are not the ones recorded or proven. 502
    #[error("integrity: {0}")]
    Integrity(String),
    /// An upstream's answer was wrong: malformed, truncated, an unexpected status. 502
    #[error("upstream: {0}")]
    Upstream(String),
    /// An upstream wants another credential than it was sent. 502
    #[error("credential: {0}")]
    Credential(String),
    /// Nobody could be asked. 503
    #[error("unavailable: {msg}")]
    Unavailable {
        /// What is unavailable.
        msg: String,
        /// When it is sensible to ask again.
        retry_after: Duration,
    },
    /// The upstream is too slow. 504
    #[error("timeout: {0}")]
    Timeout(String),
    /// Over a size limit. 413 on publish, 502 from upstream ([`RepoError::Upstream`] is used for that).
    #[error("too large: {0}")]
    TooLarge(String),
    /// The disk failed us; the detail is in the log. 503
    #[error("storage: {0}")]
    Storage(String),
}

impl RepoError {
    /// Whether this says "it does not exist" (not found or gone), as opposed to "I could not tell".
    pub(crate) const fn is_absent(&self) -> bool {
        matches!(self, Self::NotFound(_) | Self::Gone(_))
    }
}

impl From<StoreError> for RepoError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "storage failed");
        Self::Storage("the center's storage failed; see its log".to_owned())
    }
}
