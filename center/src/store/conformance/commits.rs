//! Commits and their log: no number twice, none left out, nothing visible before it is kept, no change overlooked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use shared::change::ChangeId;

use super::{Ground, create, event, open_logs};
use crate::store::change_log::encode;
use crate::store::engine::Batch;
use crate::store::{Decision, Draft, MutableEffects, MutableOutcome, MutableRecord};
use crate::store::{ReadError, Store, StoreError, Subject, VersionRecord, family, keys, now_ms};

/// How often a record is written of which nothing old may be read.
const WRITES: u64 = 200;

pub(super) async fn suite(ground: &Ground) {
    let store = ground.open().await;
    open_logs(&store).await;
    ids_have_no_holes_however_many_commit_at_once(&store).await;
    one_of_many_creates_a_version(&store).await;
    a_record_is_never_older_than_what_was_acknowledged(&store).await;
    an_id_that_is_not_in_the_log_is_told_so(&store).await;
    a_refused_decision_changes_nothing(&store).await;
    a_new_answer_ends_the_absences_that_it_contradicts(&store).await;
    everything_of_a_repository_is_visited_once_and_nothing_else(&store).await;
    values_of_checksum_databases_are_kept(&store).await;
    a_log_goes_on_where_it_was(ground, store).await;
    let store = ground.open().await;
    records_go_only_if_they_are_both_many_and_old(ground, store).await;
}

async fn ids_have_no_holes_however_many_commit_at_once(store: &Store) {
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
                create(&store, &format!("example.com/{writer}"), &format!("v1.0.{n}")).await.unwrap();
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

async fn one_of_many_creates_a_version(store: &Store) {
    let before = store.change_log("member").unwrap().head().seq;
    let creating = (0..20).map(|_| create(store, "example.com/once", "v1.0.0"));
    for created in futures_util::future::join_all(creating).await {
        created.unwrap();
    }
    assert_eq!(store.change_log("member").unwrap().head().seq, before + 1);
}

async fn a_record_is_never_older_than_what_was_acknowledged(store: &Store) {
    const MODULE: &str = "example.com/often";
    let acknowledged = Arc::new(AtomicU64::new(0));
    let readers = (0..3).map(|_| {
        let (store, acknowledged) = (store.clone(), Arc::clone(&acknowledged));
        tokio::spawn(async move {
            let mut newest = 0;
            while newest < WRITES {
                let at_least = acknowledged.load(Ordering::Acquire);
                let record = store.version("member", MODULE, "v1.0.0").await.unwrap();
                let read = record.map_or(0, |record| record.created_ms);
                assert!(read >= at_least && read >= newest, "{read} after {newest}, {at_least} is acknowledged");
                newest = read;
                tokio::task::yield_now().await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for number in 1..=WRITES {
        let subject = Subject { repository: "member", logs: &[], module: MODULE };
        let write = |draft: &mut Draft| {
            draft.record.created_ms = number;
            Ok::<_, StoreError>(Decision::Write)
        };
        store.commit_version(subject, "v1.0.0", &[], write).await.unwrap();
        acknowledged.store(number, Ordering::Release);
        let record = store.version("member", MODULE, "v1.0.0").await.unwrap().unwrap();
        assert_eq!(record.created_ms, number);
        assert_eq!(store.version("member", MODULE, "v1.0.1").await.unwrap(), None);
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

async fn an_id_that_is_not_in_the_log_is_told_so(store: &Store) {
    let log = store.change_log("member").unwrap();
    let head = log.head();
    let beyond = ChangeId { seq: head.seq + 1, ..head };
    let other = ChangeId { epoch: head.epoch + 1, seq: 0 };
    for unknown in [beyond, other, ChangeId { epoch: 0, seq: 1 }] {
        assert!(matches!(log.read_after(unknown, 10).await, Err(ReadError::Unknown { .. })), "{unknown}");
    }
}

async fn a_refused_decision_changes_nothing(store: &Store) {
    let logs = ["member".to_owned()];
    let subject = Subject { repository: "member", logs: &logs, module: "example.com/refused" };
    let head = store.change_log("member").unwrap().head();
    let decide = |draft: &mut Draft| {
        draft.record.announced = true;
        draft.events.push(event("v1.0.0"));
        Err(StoreError::Blob("refused".to_owned()))
    };
    let refused = store.commit_version(subject, "v1.0.0", &[], decide).await;
    assert!(matches!(refused, Err(StoreError::Blob(_))));
    assert_eq!(store.version("member", "example.com/refused", "v1.0.0").await.unwrap(), None);
    assert_eq!(store.change_log("member").unwrap().head(), head);
}

async fn a_new_answer_ends_the_absences_that_it_contradicts(store: &Store) {
    let logs = ["member".to_owned()];
    let subject = Subject { repository: "member", logs: &logs, module: "example.com/m" };
    let outcome = MutableOutcome::NotFound("none".to_owned());
    let record = MutableRecord { outcome, fetched_ms: 1, etag: None, last_modified: None, pseudo: None };
    let calls = AtomicUsize::new(0);
    for (name, present) in [("v1.0.0.info", Vec::new()), ("list", vec!["v1.0.0.info".to_owned()])] {
        let effects = |before: Option<&MutableRecord>| {
            calls.fetch_add(1, Ordering::Relaxed);
            assert!(before.is_none());
            MutableEffects { events: Vec::new(), present: present.clone() }
        };
        store.commit_mutable(subject, name, &record, None, effects).await.unwrap();
    }
    assert!(calls.into_inner() >= 2);
    assert_eq!(store.absences("member", "example.com/m").await.unwrap(), ["list"]);
    assert_eq!(store.mutable("member", "example.com/m", "list").await.unwrap(), Some(record));
}

async fn everything_of_a_repository_is_visited_once_and_nothing_else(store: &Store) {
    // More than a page of a scan, and neighbours on both sides.
    let held = (0..1100).map(|number| ("scan", "a.b/c", format!("v1.0.{number}")));
    let neighbours = [("scan", "a.b/c/d"), ("scan", "a.b/cc"), ("scan0", "a.b/c"), ("sca", "a.b/c")];
    let all = held.chain(neighbours.map(|(repository, module)| (repository, module, "v1.0.0".to_owned())));
    let record = Bytes::from(encode(&VersionRecord::default()));
    let put = |(repository, module, version): (&str, &str, String)| {
        ((family::VERSIONS, keys::version(repository, module, &version)), record.clone())
    };
    let batch = Batch { puts: all.map(put).collect(), ..Batch::default() };
    let mut batch = Some(batch);
    store.inner.engine.commit(&[], None, &mut |_| Ok(batch.take())).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let visit = |module: &str, version: &str, _| assert!(seen.insert((module.to_owned(), version.to_owned())));
    store.for_each_version("scan", visit).await.unwrap();
    assert_eq!(seen.len(), 1102);
    assert_eq!(store.versions("scan", "a.b/c").await.unwrap().len(), 1100);
    assert_eq!(store.versions("scan", "a.b").await.unwrap(), []);
}

async fn values_of_checksum_databases_are_kept(store: &Store) {
    assert_eq!(store.sumdb_get("a/tile").await.unwrap(), None);
    for (value, sync) in [(&b"one"[..], false), (b"two\0", true)] {
        store.sumdb_put("a/tile", value.into(), sync).await.unwrap();
        assert_eq!(store.sumdb_get("a/tile").await.unwrap().unwrap(), value);
    }
}

async fn a_log_goes_on_where_it_was(ground: &Ground, store: Store) {
    let head = store.change_log("above").unwrap().head();
    drop(store);
    let store = ground.open().await;
    open_logs(&store).await;
    let log = store.change_log("above").unwrap();
    assert_eq!(log.head(), head);
    let mut watch = log.watch();
    create(&store, "example.com/a", "v9.0.1").await.unwrap();
    assert!(watch.has_changed().unwrap());
    assert!(watch.borrow_and_update().follows(head));
}

async fn records_go_only_if_they_are_both_many_and_old(ground: &Ground, store: Store) {
    let log = store.open_log("trimmed").await.unwrap();
    let logs = ["trimmed".to_owned()];
    let subject = Subject { repository: "trimmed", logs: &logs, module: "example.com/a" };
    let decide = |draft: &mut Draft| {
        draft.events = vec![event("v1.0.0"); 50];
        Ok::<_, StoreError>(Decision::Write)
    };
    store.commit_version(subject, "v1.0.0", &[], decide).await.unwrap();
    let (past, future) = (now_ms() / 1000 - 100, now_ms() / 1000 + 100);
    let trim = async |kept, before_s| store.inner.engine.trim("trimmed", kept, before_s).await.unwrap();
    trim(10, past).await;
    trim(50, future).await;
    assert_eq!(log.oldest().seq, 1);
    trim(10, future).await;
    assert_eq!((log.oldest().seq, log.head().seq), (41, 50));
    let at = |seq| ChangeId { seq, ..log.head() };
    assert_eq!(log.read_after(at(40), 100).await.unwrap().len(), 10);
    assert!(matches!(log.read_after(at(39), 100).await, Err(ReadError::Unknown { .. })));
    assert!(matches!(log.read_after(ChangeId::ZERO, 100).await, Err(ReadError::Unknown { .. })));
    drop((log, store));
    let log = ground.open().await.open_log("trimmed").await.unwrap();
    assert_eq!((log.oldest().seq, log.head().seq), (41, 50));
}
