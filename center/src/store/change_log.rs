//! The change log of a repository: records numbered without holes, each in the same batch as the change it tells of.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use rocksdb::{Direction, IteratorMode, WriteBatch};
use serde::{Deserialize, Serialize};
use shared::change::{Change, ChangeId};
use tokio::sync::watch;

use super::metadata::decode;
use super::{Store, StoreError, family, keys};

/// What is persisted of a log beside its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LogHead {
    /// When the log was created: Unix time in milliseconds.
    pub(super) epoch: u64,
    /// The last number given; 0 if none.
    pub(super) seq: u64,
    /// The smallest number that is kept (1 while nothing was trimmed).
    pub(super) oldest: u64,
}

impl LogHead {
    pub(super) const fn id(self) -> ChangeId {
        ChangeId { epoch: self.epoch, seq: self.seq }
    }
}

struct LogState {
    head: LogHead,
    watch: watch::Sender<ChangeId>,
}

/// The logs in use, by repository. What stands here is committed: readers look nowhere else for the head.
#[derive(Default)]
pub(super) struct Logs {
    by_repository: HashMap<String, LogState>,
}

/// Why records after an id cannot be read: the reader must reconcile by manifest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The id is older than what is kept, beyond the head, or of another epoch.
    #[error("change {after} is not in the log of {repository:?}: reconcile by the manifest")]
    Unknown {
        /// The repository.
        repository: String,
        /// The id asked for.
        after: ChangeId,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One repository's log.
#[derive(Clone)]
pub(crate) struct ChangeLog {
    store: Store,
    repository: String,
}

impl ChangeLog {
    /// The id of the last record.
    pub(crate) fn head(&self) -> ChangeId {
        self.store.log_head(&self.repository).map_or(ChangeId::ZERO, LogHead::id)
    }

    /// The id of the first record that is kept; one beyond the head if the log is empty.
    pub(crate) fn oldest(&self) -> ChangeId {
        let head = self.store.log_head(&self.repository);
        head.map_or(ChangeId::ZERO, |head| ChangeId { epoch: head.epoch, seq: head.oldest })
    }

    /// Follows the head, for the long poll.
    pub(crate) fn watch(&self) -> watch::Receiver<ChangeId> {
        let logs = self.store.inner.logs.lock();
        logs.by_repository
            .get(&self.repository)
            .map_or_else(|| watch::channel(ChangeId::ZERO).1, |state| state.watch.subscribe())
    }

    /// The records after an id, oldest first, at most `limit`. [`ChangeId::ZERO`] stands for the beginning as long as
    /// nothing was trimmed.
    pub(crate) fn read_after(&self, after: ChangeId, limit: usize) -> Result<Vec<Change>, ReadError> {
        let unknown = || ReadError::Unknown { repository: self.repository.clone(), after };
        let head = self.store.log_head(&self.repository).ok_or_else(unknown)?;
        let from_beginning = after == ChangeId::ZERO;
        if !from_beginning && after.epoch != head.epoch || after.seq > head.seq || after.seq + 1 < head.oldest {
            return Err(unknown());
        }
        let (db, first) = (&self.store.inner.db, keys::change(&self.repository, after.seq + 1));
        let prefix = keys::repository(&self.repository);
        let mode = IteratorMode::From(&first, Direction::Forward);
        let mut changes: Vec<Change> = Vec::new();
        for entry in db.iterator_cf(self.store.family(family::CHANGES), mode).take(limit) {
            let (key, value) = entry.map_err(StoreError::from)?;
            if !key.starts_with(&prefix) {
                break;
            }
            let change: Change = decode(&key, &value)?;
            if change.id.seq > head.seq {
                break;
            }
            changes.push(change);
        }
        // A trim may have run between the check and the reading.
        match changes.first() {
            Some(first) if first.id.seq != after.seq + 1 => Err(unknown()),
            _ => Ok(changes),
        }
    }
}

impl Store {
    /// The log of a repository, created with a new epoch if there is none.
    pub(crate) fn change_log(&self, repository: &str) -> Result<ChangeLog, StoreError> {
        let mut logs = self.inner.logs.lock();
        if !logs.by_repository.contains_key(repository) {
            let head = self.open_log(repository)?;
            let state = LogState { head, watch: watch::channel(head.id()).0 };
            logs.by_repository.insert(repository.to_owned(), state);
        }
        Ok(ChangeLog { store: self.clone(), repository: repository.to_owned() })
    }

    fn open_log(&self, repository: &str) -> Result<LogHead, StoreError> {
        if let Some(head) = self.record(family::LOGS, repository.as_bytes())? {
            return Ok(head);
        }
        let head = LogHead { epoch: now_ms(), seq: 0, oldest: 1 };
        let mut options = rocksdb::WriteOptions::default();
        options.set_sync(true);
        self.inner.db.put_cf_opt(self.family(family::LOGS), repository, encode(&head), &options)?;
        Ok(head)
    }

    /// The committed head of a log.
    pub(super) fn log_head(&self, repository: &str) -> Option<LogHead> {
        self.inner.logs.lock().by_repository.get(repository).map(|state| state.head)
    }

    /// Adds a record to a batch and returns the head that the log has once the batch is written. `change.id` and
    /// `change.repo` are set here. Only under the commit lock.
    pub(super) fn append(
        &self,
        batch: &mut WriteBatch,
        repository: &str,
        head: LogHead,
        mut change: Change,
    ) -> LogHead {
        let head = LogHead { seq: head.seq + 1, ..head };
        change.id = head.id();
        repository.clone_into(&mut change.repo);
        batch.put_cf(self.family(family::CHANGES), keys::change(repository, head.seq), encode(&change));
        batch.put_cf(self.family(family::LOGS), repository, encode(&head));
        head
    }

    /// Shows a head that is now committed.
    pub(super) fn advance(&self, repository: &str, head: LogHead) {
        let mut logs = self.inner.logs.lock();
        if let Some(state) = logs.by_repository.get_mut(repository) {
            state.head = head;
            state.watch.send_replace(head.id());
        }
    }
}

/// Records are plain structures of strings and numbers.
pub(super) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record of strings and numbers always serialises")
}

/// Now as Unix time in milliseconds.
pub(crate) fn now_ms() -> u64 {
    to_ms(SystemTime::now())
}

/// A time as Unix time in milliseconds; 0 if it lies before 1970.
pub(crate) fn to_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The time of a Unix time in milliseconds.
pub(crate) fn from_ms(ms: u64) -> SystemTime {
    UNIX_EPOCH + std::time::Duration::from_millis(ms)
}
