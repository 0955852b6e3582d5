//! Answers out of the store.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use shared::change::ChangeId;
use shared::digest::Digest;
use shared::fill::{FillError, FillErrorKind};

use super::{Answer, Body, CacheStatus, RepoError};
use crate::store::{Store, Stored, from_ms};

/// After how long it is sensible to ask again, where nobody said.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(5);

impl Answer {
    /// A body computed here.
    pub(super) fn computed(body: Bytes, modified: SystemTime, cache: CacheStatus) -> Self {
        let digest = Digest::of(&body);
        Self::known(body, digest, modified, cache)
    }

    /// A body in memory with its SHA-256.
    pub(super) const fn known(body: Bytes, digest: Digest, modified: SystemTime, cache: CacheStatus) -> Self {
        Self {
            digest: Some(digest),
            len: Some(body.len() as u64),
            modified,
            change_id: None,
            cache,
            body: Body::Bytes(body),
            private: false,
            caveat: None,
        }
    }

    /// A stored body; none if the store lost it, which the caller heals by fetching it again.
    pub(super) async fn stored(store: &Store, stored: &Stored, cache: CacheStatus) -> Result<Option<Self>, RepoError> {
        let body = if stored.is_small() {
            store.small_for_client(&stored.digest).await?.map(Body::Bytes)
        } else {
            store.blobs().open_blob(&stored.blob()).await?.map(Body::Blob)
        };
        Ok(body.map(|body| Self {
            digest: Some(stored.digest),
            len: Some(stored.len),
            modified: from_ms(stored.modified_ms),
            change_id: None,
            cache,
            body,
            private: false,
            caveat: None,
        }))
    }

    /// The whole body, of an artefact that is small by nature.
    pub(super) async fn bytes(&self, store: &Store) -> Result<Bytes, RepoError> {
        let lost = || RepoError::Storage("a stored body is missing".to_owned());
        match &self.body {
            Body::Bytes(bytes) => Ok(bytes.clone()),
            Body::Blob(open) => {
                let blob = open.blob;
                let stored = Stored { digest: blob.digest, len: blob.len, modified_ms: 0, generation: blob.generation };
                store.load(&stored).await?.ok_or_else(lost)
            }
            Body::Filling(_) => Err(RepoError::Storage("a body is not complete yet".to_owned())),
        }
    }

    /// The same, as of a head of the asked repository's log.
    pub(super) const fn reflecting(mut self, head: ChangeId) -> Self {
        self.change_id = Some(head);
        self
    }
}

impl From<FillError> for RepoError {
    fn from(error: FillError) -> Self {
        let (msg, retry_after) = (error.message, error.retry_after.unwrap_or(RETRY_AFTER));
        match error.kind {
            FillErrorKind::NotFound => Self::NotFound(msg),
            FillErrorKind::Gone => Self::Gone(msg),
            FillErrorKind::Forbidden => Self::Blocked(msg),
            FillErrorKind::Integrity => Self::Integrity(msg),
            FillErrorKind::Credential => Self::Credential(msg),
            FillErrorKind::Upstream | FillErrorKind::TooLarge => Self::Upstream(msg),
            FillErrorKind::Unavailable | FillErrorKind::Abandoned => Self::Unavailable { msg, retry_after },
            FillErrorKind::Timeout => Self::Timeout(msg),
            FillErrorKind::Storage => Self::Storage(msg),
        }
    }
}

impl From<RepoError> for FillError {
    fn from(error: RepoError) -> Self {
        let (kind, message) = match error {
            RepoError::NotFound(msg) => (FillErrorKind::NotFound, msg),
            RepoError::Gone(msg) => (FillErrorKind::Gone, msg),
            RepoError::Blocked(msg) => (FillErrorKind::Forbidden, msg),
            RepoError::Integrity(msg) => (FillErrorKind::Integrity, msg),
            RepoError::Credential(msg) => (FillErrorKind::Credential, msg),
            RepoError::Upstream(msg)
            | RepoError::BadModule(msg)
            | RepoError::Conflict(msg)
            | RepoError::NotWritable(msg) => (FillErrorKind::Upstream, msg),
            RepoError::TooLarge(msg) => (FillErrorKind::TooLarge, msg),
            RepoError::Unavailable { msg, retry_after } => {
                return Self::new(FillErrorKind::Unavailable, msg).with_retry_after(retry_after);
            }
            RepoError::Timeout(msg) => (FillErrorKind::Timeout, msg),
            RepoError::Storage(msg) => (FillErrorKind::Storage, msg),
        };
        Self::new(kind, message)
    }
}
