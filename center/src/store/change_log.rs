//! The change log of a repository: records numbered without holes, each in the same batch as the change it tells of.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use shared::change::{Change, ChangeId};
use tokio::sync::watch;

use super::{Store, StoreError};

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

/// The logs in use, by repository, as this process knows them. What stands here is committed: readers look nowhere else for the
/// head.
#[derive(Default)]
pub(super) struct Logs {
    by_repository: Mutex<HashMap<String, LogState>>,
    observers: RwLock<Vec<Observer>>,
}

/// Is told of what others committed, and now and then of what was committed here.
type Observer = Box<dyn Fn(&Change) + Send + Sync>;

impl Logs {
    /// The committed head of a log; none if it is not open.
    pub(super) fn head(&self, repository: &str) -> Option<LogHead> {
        self.by_repository.lock().get(repository).map(|state| state.head)
    }

    /// Shows a head that is now committed. One that was committed before what is shown changes nothing.
    pub(super) fn advance(&self, repository: &str, head: LogHead) {
        if let Some(state) = self.by_repository.lock().get_mut(repository)
            && (head.epoch, head.seq, head.oldest) > (state.head.epoch, state.head.seq, state.head.oldest)
        {
            let oldest = if head.epoch == state.head.epoch { head.oldest.max(state.head.oldest) } else { head.oldest };
            state.head = LogHead { oldest, ..head };
            state.watch.send_replace(head.id());
        }
    }

    /// Tells of a change that another process committed, before its id is shown as the head.
    pub(super) fn observe(&self, change: &Change) {
        self.observers.read().iter().for_each(|observer| observer(change));
    }

    /// The names of the open logs.
    pub(super) fn names(&self) -> Vec<String> {
        self.by_repository.lock().keys().cloned().collect()
    }
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
        let logs = self.store.inner.logs.by_repository.lock();
        logs.get(&self.repository).map_or_else(|| watch::channel(ChangeId::ZERO).1, |state| state.watch.subscribe())
    }

    /// The records after an id, oldest first, at most `limit`. [`ChangeId::ZERO`] stands for the beginning as long as
    /// nothing was trimmed.
    pub(crate) async fn read_after(&self, after: ChangeId, limit: usize) -> Result<Vec<Change>, ReadError> {
        let unknown = || ReadError::Unknown { repository: self.repository.clone(), after };
        let head = self.store.log_head(&self.repository).ok_or_else(unknown)?;
        let from_beginning = after == ChangeId::ZERO;
        if !from_beginning && after.epoch != head.epoch || after.seq > head.seq || after.seq + 1 < head.oldest {
            return Err(unknown());
        }
        let changes = self.store.inner.engine.changes(&self.repository, after.seq + 1, head.seq, limit).await?;
        // A trim may have run between the check and the reading.
        match changes.first() {
            Some(first) if first.id.seq != after.seq + 1 => Err(unknown()),
            _ => Ok(changes),
        }
    }
}

impl Store {
    /// Has every change that another replica commits told, before anybody here can see its id.
    pub(crate) fn observe(&self, observer: impl Fn(&Change) + Send + Sync + 'static) {
        self.inner.logs.observers.write().push(Box::new(observer));
    }

    /// Takes over at once what other replicas have committed.
    pub(crate) async fn refresh(&self) -> Result<(), StoreError> {
        self.inner.engine.refresh().await
    }

    /// Opens the log of a repository, which is created with a new epoch if there is none.
    pub(crate) async fn open_log(&self, repository: &str) -> Result<ChangeLog, StoreError> {
        if self.log_head(repository).is_none() {
            let head = self.inner.engine.open_log(repository).await?;
            let state = LogState { head, watch: watch::channel(head.id()).0 };
            // Whoever was here first may have moved on already.
            self.inner.logs.by_repository.lock().entry(repository.to_owned()).or_insert(state);
        }
        self.change_log(repository)
    }

    /// The log of a repository, opened before.
    pub(crate) fn change_log(&self, repository: &str) -> Result<ChangeLog, StoreError> {
        if self.log_head(repository).is_none() {
            return Err(StoreError::no_log(repository));
        }
        Ok(ChangeLog { store: self.clone(), repository: repository.to_owned() })
    }

    /// The committed head of a log.
    pub(super) fn log_head(&self, repository: &str) -> Option<LogHead> {
        self.inner.logs.head(repository)
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
