//! Trimming of the change logs: 7 days and at least 100,000 records are kept.

use super::Store;
use super::change_log::now_ms;

/// How long records are kept at least, in seconds.
const KEPT_SECONDS_MIN: u64 = 7 * 24 * 3600;

/// How many records are kept at least.
const KEPT_RECORDS_MIN: u64 = 100_000;

/// A log is looked at each time its number is a multiple of this.
const TRIM_EVERY: u64 = 10_000;

impl Store {
    /// Trims the logs whose turn it is. A failure is logged: a long log does no harm.
    pub(super) async fn trim_sometimes(&self, logs: &[String]) {
        for log in logs {
            let due = self.log_head(log).is_some_and(|head| head.seq > 0 && head.seq.is_multiple_of(TRIM_EVERY));
            let before_s = (now_ms() / 1000).saturating_sub(KEPT_SECONDS_MIN);
            if due && let Err(error) = self.inner.engine.trim(log, KEPT_RECORDS_MIN, before_s).await {
                tracing::warn!(log, %error, "the change log could not be trimmed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::change::{ChangeId, EventType, Kind};

    use crate::store::{Decision, Draft, Event, ReadError, Store, StoreConfig, StoreError, Subject, now_ms};

    #[tokio::test]
    async fn records_go_only_if_they_are_both_many_and_old() {
        let directory = tempfile::tempdir().unwrap();
        let config = StoreConfig { data_dir: directory.path().to_owned() };
        let store = Store::open(&config).unwrap();
        let log = store.open_log("r").await.unwrap();
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
            .await
            .unwrap();
        let (past, future) = (now_ms() / 1000 - 100, now_ms() / 1000 + 100);
        store.inner.engine.trim("r", 10, past).await.unwrap();
        store.inner.engine.trim("r", 50, future).await.unwrap();
        assert_eq!(log.oldest().seq, 1);
        store.inner.engine.trim("r", 10, future).await.unwrap();
        assert_eq!((log.oldest().seq, log.head().seq), (41, 50));
        let at = |seq| ChangeId { seq, ..log.head() };
        assert_eq!(log.read_after(at(40), 100).await.unwrap().len(), 10);
        assert!(matches!(log.read_after(at(39), 100).await, Err(ReadError::Unknown { .. })));
        assert!(matches!(log.read_after(ChangeId::ZERO, 100).await, Err(ReadError::Unknown { .. })));
        drop((log, store));
        let log = Store::open(&config).unwrap().open_log("r").await.unwrap();
        assert_eq!((log.oldest().seq, log.head().seq), (41, 50));
    }
}
