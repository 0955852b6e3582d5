//! Commits and their log: no number twice, none left out, nothing visible before it is on disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shared::change::{ChangeId, EventType, Kind};

use crate::store::{Decision, Draft, Event, ReadError, Store, StoreConfig, StoreError, Subject};

async fn open(directory: &Path) -> Store {
    let store = Store::open(&StoreConfig { data_dir: directory.to_owned() }).unwrap();
    for log in ["member", "above"] {
        store.open_log(log).await.unwrap();
    }
    store
}

async fn create(store: &Store, module: &str, version: &str) {
    let logs = ["member".to_owned(), "above".to_owned()];
    let subject = Subject { repository: "member", logs: &logs, module };
    let event = Event {
        event_type: EventType::Create,
        kind: Kind::Version,
        version: Some(version.to_owned()),
        sha256: None,
        h1: None,
        reason: "test",
    };
    let decide = |draft: &mut Draft| {
        draft.events.push(event.clone());
        Ok::<_, StoreError>(Decision::Write)
    };
    store.commit_version(subject, version, &[], decide).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_have_no_holes_however_many_commit_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let follower = store.change_log("above").unwrap();
    let reading = Arc::new(AtomicBool::new(true));
    let goes_on = Arc::clone(&reading);
    let reader = tokio::spawn(async move {
        // Whatever moment it reads at, the feed shows a contiguous prefix up to at least its own head.
        while goes_on.load(Ordering::Relaxed) {
            let head = follower.head();
            let changes = follower.read_after(ChangeId::ZERO, 10_000).await.unwrap();
            assert!(changes.last().map_or(0, |change| change.id.seq) >= head.seq);
            assert!(changes.windows(2).all(|pair| pair[1].id.follows(pair[0].id)));
        }
    });
    let writers = (0..4).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..25 {
                create(&store, &format!("example.com/{writer}"), &format!("v1.0.{n}")).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    reading.store(false, Ordering::Relaxed);
    reader.await.unwrap();
    for name in ["member", "above"] {
        let log = store.change_log(name).unwrap();
        let changes = log.read_after(ChangeId::ZERO, 1000).await.unwrap();
        let numbers: Vec<u64> = changes.iter().map(|change| change.id.seq).collect();
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
        assert!(changes.iter().all(|change| change.repo == name && change.origin.as_deref() == Some("member")));
        assert_eq!(log.read_after(changes[97].id, 1).await.unwrap(), [changes[98].clone()]);
        assert!(log.read_after(log.head(), 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_log_goes_on_where_it_was_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    create(&store, "example.com/a", "v1.0.0").await;
    let head = store.change_log("above").unwrap().head();
    drop(store);
    let store = open(directory.path()).await;
    let log = store.change_log("above").unwrap();
    assert_eq!(log.head(), head);
    let mut watch = log.watch();
    create(&store, "example.com/a", "v1.0.1").await;
    assert!(watch.has_changed().unwrap());
    assert!(watch.borrow_and_update().follows(head));
}

#[tokio::test]
async fn an_id_that_is_not_in_the_log_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    create(&store, "example.com/a", "v1.0.0").await;
    let log = store.change_log("member").unwrap();
    let head = log.head();
    let beyond = ChangeId { seq: head.seq + 1, ..head };
    let other = ChangeId { epoch: head.epoch + 1, seq: 0 };
    for unknown in [beyond, other, ChangeId { epoch: 0, seq: 1 }] {
        assert!(matches!(log.read_after(unknown, 10).await, Err(ReadError::Unknown { .. })), "{unknown}");
    }
}

#[tokio::test]
async fn a_refused_decision_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let logs = ["member".to_owned()];
    let subject = Subject { repository: "member", logs: &logs, module: "example.com/a" };
    let refused = store.commit_version(subject, "v1.0.0", &[], |draft| {
        draft.record.announced = true;
        Err(StoreError::Blob("refused".to_owned()))
    });
    let refused = refused.await;
    assert!(refused.is_err());
    assert_eq!(store.version("member", "example.com/a", "v1.0.0").await.unwrap(), None);
    assert_eq!(store.change_log("member").unwrap().head().seq, 0);
}

#[tokio::test]
async fn a_second_center_on_the_same_data_is_told_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let _store = open(directory.path()).await;
    let refused = Store::open(&StoreConfig { data_dir: directory.path().to_owned() }).err().unwrap().to_string();
    assert!(refused.contains("another process") && !refused.contains('\n'), "{refused}");
}
