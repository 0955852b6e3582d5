//! Two replicas on one database and one object store are one center.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use modtier_tests::{ObjectServer, PostgresServer, until};
use parking_lot::Mutex;

use super::{Ground, create, open_logs};
use crate::store::{NewBody, StoreError};

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_are_one_center() {
    let objects_dir = tempfile::tempdir().unwrap();
    let (mut database, objects) = (PostgresServer::start().await, ObjectServer::s3(objects_dir.path()).await);
    let grounds = [Ground::shared(&database, &objects), Ground::shared(&database, &objects)];
    let (one, other) = (grounds[0].open().await, grounds[1].open().await);
    open_logs(&one).await;
    open_logs(&other).await;

    // What one commits, the other is told of before it shows the head.
    let told = Arc::new(Mutex::new(Vec::new()));
    let observed = Arc::clone(&told);
    other.observe(move |change| observed.lock().push((change.repo.clone(), change.module_id.clone())));
    let mut watch = other.change_log("above").unwrap().watch();
    create(&one, "example.com/a", "v1.0.0").await.unwrap();
    let head = one.change_log("above").unwrap().head();
    tokio::time::timeout(SOON, watch.wait_for(|seen| *seen >= head)).await.unwrap().unwrap();
    assert!(told.lock().contains(&("above".to_owned(), "example.com/a".to_owned())));
    let changes = other.change_log("above").unwrap().read_after(shared::change::ChangeId::ZERO, 10).await.unwrap();
    assert_eq!(changes.last().unwrap().id, head);

    // Both commit at once: one log without holes, and each version once.
    let racing = (0..60).map(|number| {
        let (store, module) = (if number % 2 == 0 { &one } else { &other }, format!("example.com/r{}", number / 2));
        async move { create(store, &module, "v1.0.0").await.unwrap() }
    });
    futures_util::future::join_all(racing).await;
    one.refresh().await.unwrap();
    let log = one.change_log("above").unwrap();
    assert_eq!(log.head().seq, 31);
    assert_eq!(log.read_after(shared::change::ChangeId::ZERO, 100).await.unwrap().len(), 31);

    // What one committed is told to the other also where the other's own commit is what shows it.
    for number in 0..20 {
        let module = format!("example.com/before{number}");
        create(&one, &module, "v1.0.0").await.unwrap();
        create(&other, &format!("example.com/after{number}"), "v1.0.0").await.unwrap();
        assert!(told.lock().contains(&("above".to_owned(), module)), "{number}");
    }

    // A body that one placed is the other's too.
    let placed = one.place(NewBody::Memory(vec![3; 100_000].into()), 1).await.unwrap();
    assert_eq!(other.load(&placed.stored).await.unwrap().unwrap().len(), 100_000);

    // One at a time; the second begins when the first is done.
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = async || {
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
        running.fetch_sub(1, Ordering::SeqCst);
    };
    let works = (0..6).map(|number| if number % 2 == 0 { &one } else { &other }).map(|store| store.alone("w", work()));
    assert!(futures_util::future::join_all(works).await.iter().all(Result::is_ok));
    assert_eq!(most.into_inner(), 1);

    // Whoever lost the lease commits nothing.
    let late = one.alone("late", async {
        database.query("UPDATE modtier_leases SET token = token + 1000 WHERE key = 'late'");
        create(&one, "example.com/late", "v1.0.0").await
    });
    assert!(matches!(late.await.unwrap(), Err(StoreError::Fenced)));
    assert_eq!(other.version("member", "example.com/late", "v1.0.0").await.unwrap(), None);

    // The lease of a dead replica is taken over.
    let abandoned = one.inner.engine.take_lease("dead").await.unwrap();
    assert!(abandoned.is_some());
    assert!(other.inner.engine.take_lease("dead").await.unwrap().is_none());
    database.query("UPDATE modtier_leases SET expires = now() - interval '1 second' WHERE key = 'dead'");
    other.alone("dead", async {}).await.unwrap();

    // The database goes and comes back: an error meanwhile, no loss, and both follow again.
    database.stop().await;
    let failed = create(&one, "example.com/down", "v1.0.0").await;
    assert!(matches!(failed, Err(StoreError::Database(_))), "{failed:?}");
    database.restart().await;
    until("the database can be used again", SOON, async || create(&one, "example.com/up", "v1.0.0").await.is_ok())
        .await;
    let head = one.change_log("above").unwrap().head();
    tokio::time::timeout(SOON, watch.wait_for(|seen| *seen >= head)).await.unwrap().unwrap();
}
