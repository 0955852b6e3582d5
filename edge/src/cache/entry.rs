//! An answer that is held, and the row that stands for it in the index.

use std::any::Any;
use std::fs::File;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shared::change::ChangeId;
use shared::digest::Digest;

/// Whether the artefact exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// It does, and the body is here.
    Found,
    /// Every source that may answer says that it does not.
    NotFound,
    /// It did once.
    Gone,
}

impl Status {
    /// Whether it is a recorded "not found".
    pub(crate) const fn is_negative(self) -> bool {
        match self {
            Self::Found => false,
            Self::NotFound | Self::Gone => true,
        }
    }
}

/// What is known of an answer besides its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    /// SHA-256 of the body; of no bytes for negatives.
    pub(crate) digest: Digest,
    /// Length of the body in bytes.
    pub(crate) len: u64,
    /// Unix milliseconds by the cache's clock: stored, or last confirmed by a 304. See [`super::Cache::age`].
    pub(crate) stored_at_ms: u64,
    /// `Last-Modified`.
    pub(crate) modified: SystemTime,
    /// The repository's head when a mutable answer was computed.
    pub(crate) change_id: Option<ChangeId>,
    /// A negative's reason, for the client.
    pub(crate) message: String,
    /// Whether a token was needed to read it.
    pub(crate) private: bool,
    /// What answering made of it.
    pub(crate) kept: Kept,
}

/// Something that is made of an entry once and kept for as long as the entry is in memory. It belongs to that very value:
/// a copy, which may be about to be changed, starts without it, and no two entries differ by it.
#[derive(Default)]
pub(crate) struct Kept(OnceLock<Box<dyn Any + Send + Sync>>);

impl Kept {
    /// What is kept, made by `make` the first time. All callers mean the same type.
    pub(crate) fn get_or_make<T, E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E>
    where
        T: Any + Send + Sync,
    {
        if self.0.get().is_none() {
            // Another thread may have been quicker: then its own is kept, which is equal.
            let _ = self.0.set(Box::new(make()?));
        }
        let kept = self.0.get().and_then(|kept| kept.downcast_ref());
        Ok(kept.expect("it was set above, and only one type is ever kept"))
    }
}

impl Clone for Kept {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Kept {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Kept {}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "Kept" } else { "Nothing" })
    }
}

impl Meta {
    /// What a fill knows of a body that it has proven. The time of storing is set by the commit.
    pub(crate) fn filled(digest: Digest, len: u64, modified: SystemTime, change_id: Option<ChangeId>) -> Self {
        Self {
            digest,
            len,
            stored_at_ms: 0,
            modified,
            change_id,
            message: String::new(),
            private: false,
            kept: Kept::default(),
        }
    }
}

/// The bytes of an entry.
#[derive(Debug, Clone)]
pub(crate) enum EntryBody {
    /// All in memory.
    Memory(Bytes),
    /// An open file of [`Meta::len`] bytes; readable also after the entry was evicted. Read by position, not by cursor.
    File(Arc<File>),
    /// A negative has none.
    Empty,
}

/// An answer that is held. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Whether the artefact exists.
    pub(crate) status: Status,
    /// What is known besides the body.
    pub(crate) meta: Arc<Meta>,
    /// The body.
    pub(crate) body: EntryBody,
}

/// How an entry stands in the index: small, so that making it stale is a small write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) status: Status,
    pub(super) digest: Digest,
    pub(super) len: u64,
    pub(super) stored_at_ms: u64,
    pub(super) modified_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) change_id: Option<ChangeId>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    #[serde(default)]
    pub(super) private: bool,
    /// A change made it stale, whatever its age.
    #[serde(default)]
    pub(super) stale: bool,
    /// The era its fill began in; see [`super::generation`].
    pub(super) era: u64,
}

impl Row {
    pub(super) fn of(status: Status, meta: &Meta, stale: bool, era: u64) -> Self {
        Self {
            status,
            digest: meta.digest,
            len: meta.len,
            stored_at_ms: meta.stored_at_ms,
            modified_ms: unix_ms(meta.modified),
            change_id: meta.change_id,
            message: meta.message.clone(),
            private: meta.private,
            stale,
            era,
        }
    }

    pub(super) fn meta(&self) -> Meta {
        Meta {
            digest: self.digest,
            len: self.len,
            stored_at_ms: self.stored_at_ms,
            modified: UNIX_EPOCH + Duration::from_millis(self.modified_ms),
            change_id: self.change_id,
            message: self.message.clone(),
            private: self.private,
            kept: Kept::default(),
        }
    }

    /// The index's value. JSON: a later build may add members, and an older one passes over them.
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers, strings and flags always serialise")
    }

    /// `None` for what no build wrote: the entry is damaged.
    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }
}

pub(super) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_back_and_garbage_does_not() {
        let modified = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        let meta = Meta {
            stored_at_ms: 17,
            message: "unknown revision \"x\"\n".to_owned(),
            ..Meta::filled(Digest::of(b"body"), 4, modified, Some(ChangeId { epoch: 3, seq: 9 }))
        };
        let row = Row::of(Status::Gone, &meta, true, 5);
        assert_eq!(Row::decode(&row.encode()), Some(row.clone()));
        assert_eq!(row.meta(), meta);
        assert_eq!(Row::decode(b"{}"), None);
        assert_eq!(Row::decode(&row.encode()[1..]), None);
    }
}
