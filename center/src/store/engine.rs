//! The seam to what keeps the metadata: ordered keys in families, and change logs without holes. RocksDB is the
//! engine of a single center, PostgreSQL that of several replicas.
//!
//! An engine knows nothing of modules. What a commit means is decided above it, by a function of what stands there now: an
//! engine whose transactions may collide calls it again with what stands there then.

mod postgres;
mod rocks;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use shared::change::Change;

pub(super) use self::postgres::{Address, Postgres};
pub(super) use self::rocks::Rocks;
use super::StoreError;
use super::change_log::LogHead;
use super::standing::Standing;

/// Where a value stands: its family and its key.
pub(super) type Place = (&'static str, Vec<u8>);

/// A key with its value.
pub(super) type Entry = (Vec<u8>, Bytes);

/// What a commit writes, all of it or nothing.
#[derive(Debug, Clone, Default)]
pub(super) struct Batch {
    /// Values to write.
    pub(super) puts: Vec<(Place, Bytes)>,
    /// Keys to remove, before anything is written.
    pub(super) deletes: Vec<Place>,
    /// The logs that tell of it.
    pub(super) logs: Vec<String>,
    /// What each of them is told. The engine gives the numbers and sets `id` and `repo`.
    pub(super) changes: Vec<Change>,
    /// Whether it must be on disk before the commit returns.
    pub(super) sync: bool,
}

/// What a commit does, given the values that stand at the places it read; none if there is nothing to write. It may be asked again: a
/// transaction that failed is run anew.
pub(super) type Decide<'a> = &'a mut (dyn FnMut(Vec<Option<Bytes>>) -> Result<Option<Batch>, StoreError> + Send);

/// Proof of a lease, which ends where somebody else takes it over.
#[derive(Debug, Clone)]
pub(super) struct Fence {
    /// What is held.
    key: String,
    /// Given to one holder only.
    token: i64,
}

/// Who else may use the database while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// The other replicas, where the engine knows of such.
    Shared,
    /// Nobody.
    Alone,
}

/// Keeps the metadata.
#[async_trait]
pub(super) trait Engine: Send + Sync {
    /// The value at a key.
    async fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The entries whose keys begin with `prefix` and lie beyond `after` (empty: from the first), at most `limit`, in the order of
    /// their keys.
    async fn scan(
        &self,
        family: &'static str,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;

    /// Writes one value, whatever stands there. With `sync` it is on disk when this returns.
    async fn put(&self, family: &'static str, key: &[u8], value: Bytes, sync: bool) -> Result<(), StoreError>;

    /// Reads some places, decides and writes, with nobody else writing those places in between; with a fence, only while its lease
    /// is held ([`StoreError::Fenced`]). When this returns, the heads of the logs are shown.
    async fn commit(&self, reads: &[Place], fence: Option<&Fence>, decide: Decide<'_>) -> Result<(), StoreError>;

    /// The head of a log, which is created with a new epoch if there is none.
    async fn open_log(&self, repository: &str) -> Result<LogHead, StoreError>;

    /// The records of a log with numbers from `first` to `last`, in their order, at most `limit`.
    async fn changes(&self, repository: &str, first: u64, last: u64, limit: usize) -> Result<Vec<Change>, StoreError>;

    /// Every log with its committed head, also those that are not open.
    async fn logs(&self) -> Result<Vec<(String, LogHead)>, StoreError>;

    /// Adds records to a log that bear their numbers already, and sets its head. For a store that nobody else has open.
    async fn copy_log(&self, repository: &str, head: LogHead, changes: &[Change]) -> Result<(), StoreError>;

    /// Removes a log and its records. For a store that nobody else has open.
    async fn drop_log(&self, repository: &str) -> Result<(), StoreError>;

    /// Fails if somebody else may have used what was opened for one alone.
    async fn still_alone(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes the records of a log that are both beyond the newest `kept` and older than `before_s` (Unix seconds).
    async fn trim(&self, repository: &str, kept: u64, before_s: u64) -> Result<(), StoreError>;

    /// The records of versions that were read of late, as they stand. None where other processes write too: they would not say so.
    fn standing(&self) -> Option<Arc<Standing>> {
        None
    }

    /// Takes over at once what other processes have committed.
    async fn refresh(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Gives up what only one process may hold, so that the next one can take it. An engine of several processes has nothing to give
    /// up, and goes on.
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Takes it back.
    async fn reopen(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Takes the lease of a key, for ten seconds; none while somebody else holds it. An engine of one process has none to give:
    /// whoever shares that process needs none.
    async fn take_lease(&self, key: &str) -> Result<Option<Fence>, StoreError> {
        Ok(Some(Fence { key: key.to_owned(), token: 0 }))
    }

    /// Holds on to a lease for ten more seconds; false if somebody else has it by now.
    async fn renew_lease(&self, _: &Fence) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// Gives a lease back.
    async fn end_lease(&self, _: &Fence) -> Result<(), StoreError> {
        Ok(())
    }
}
