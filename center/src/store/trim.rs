//! Trimming of the change logs: 7 days and at least 100,000 records are kept.

use rocksdb::{Direction, IteratorMode, WriteBatch};
use shared::change::Change;

use super::change_log::{LogHead, encode, now_ms};
use super::metadata::decode;
use super::{Store, StoreError, family, keys};

/// How long records are kept at least, in seconds.
const KEPT_SECONDS_MIN: u64 = 7 * 24 * 3600;

/// How many records are kept at least.
const KEPT_RECORDS_MIN: u64 = 100_000;

/// A log is looked at each time its number is a multiple of this.
const TRIM_EVERY: u64 = 10_000;

impl Store {
    /// Trims the logs whose turn it is. Only under the commit lock. A failure is logged: a long log does no harm.
    pub(super) fn trim_sometimes(&self, logs: &[String]) {
        for log in logs {
            let due = self.log_head(log).is_some_and(|head| head.seq.is_multiple_of(TRIM_EVERY));
            if due
                && let Err(error) = self.trim(log, KEPT_RECORDS_MIN, (now_ms() / 1000).saturating_sub(KEPT_SECONDS_MIN))
            {
                tracing::warn!(log, %error, "the change log could not be trimmed");
            }
        }
    }

    /// Removes the records that are both beyond the newest `kept` and older than `before_s` (Unix seconds).
    fn trim(&self, log: &str, kept: u64, before_s: u64) -> Result<(), StoreError> {
        let Some(head) = self.log_head(log) else {
            return Ok(());
        };
        let limit = (head.seq + 1).saturating_sub(kept);
        let oldest = self.first_younger(log, head, limit, before_s)?;
        if oldest <= head.oldest {
            return Ok(());
        }
        let trimmed = LogHead { oldest, ..head };
        let mut batch = WriteBatch::default();
        let changes = self.family(family::CHANGES);
        batch.delete_range_cf(changes, keys::change(log, head.oldest), keys::change(log, oldest));
        batch.put_cf(self.family(family::LOGS), log, encode(&trimmed));
        self.inner.db.write(batch)?;
        self.advance(log, trimmed);
        Ok(())
    }

    /// The first number, at most `limit`, whose record is not older than `before_s`.
    fn first_younger(&self, log: &str, head: LogHead, limit: u64, before_s: u64) -> Result<u64, StoreError> {
        let first = keys::change(log, head.oldest);
        let mode = IteratorMode::From(&first, Direction::Forward);
        let mut seq = head.oldest;
        for entry in self.inner.db.iterator_cf(self.family(family::CHANGES), mode) {
            if seq >= limit {
                break;
            }
            let (key, value) = entry?;
            let change: Change = decode(&key, &value)?;
            if change.timestamp >= before_s {
                break;
            }
            seq += 1;
        }
        Ok(seq)
    }
}

#[cfg(test)]
mod tests {
    use shared::change::{ChangeId, EventType, Kind};

    use crate::store::{Decision, Draft, Event, ReadError, Store, StoreConfig, StoreError, Subject, now_ms};

    #[test]
    fn records_go_only_if_they_are_both_many_and_old() {
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig { data_dir: directory.path().to_owned() };
        let store = Store::open(&config).unwrap();
        let log = store.change_log("r").unwrap();
        let logs = ["r".to_owned()];
        let subject = Subject { repository: "r", logs: &logs, module: "example.com/a" };
        store
            .commit_version(subject, "v1.0.0", &[], |draft: &mut Draft| {
                let event = Event {
                    event_type: EventType::Update,
                    kind: Kind::List,
                    version: None,
                    sha256: None,
                    h1: None,
                    reason: "test",
                };
                draft.events = vec![event; 50];
                Ok::<_, StoreError>(Decision::Write)
            })
            .unwrap();
        let (past, future) = (now_ms() / 1000 - 100, now_ms() / 1000 + 100);
        store.trim("r", 10, past).unwrap();
        store.trim("r", 50, future).unwrap();
        assert_eq!(log.oldest().seq, 1);
        store.trim("r", 10, future).unwrap();
        assert_eq!((log.oldest().seq, log.head().seq), (41, 50));
        let at = |seq| ChangeId { seq, ..log.head() };
        assert_eq!(log.read_after(at(40), 100).unwrap().len(), 10);
        assert!(matches!(log.read_after(at(39), 100), Err(ReadError::Unknown { .. })));
        assert!(matches!(log.read_after(ChangeId::ZERO, 100), Err(ReadError::Unknown { .. })));
        drop((log, store));
        let log = Store::open(&config).unwrap().change_log("r").unwrap();
        assert_eq!((log.oldest().seq, log.head().seq), (41, 50));
    }
}
