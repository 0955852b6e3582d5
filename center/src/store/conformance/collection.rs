//! Collection and verification: what nothing refers to goes, what something refers to stays, what is damaged is found.

use std::time::Duration;

use bytes::Bytes;

use crate::store::{Collected, Damage, Decision, Draft, NewBody, Placed, Store, StoreError, Stored, Subject, family};

/// On a store in which nothing is damaged and nothing condemned.
pub(super) async fn suite(store: &Store) {
    let kept = [body(store, 100, 1).await, body(store, 50_000, 2).await];
    refer(store, "v1.0.0", &kept).await;
    // What a killed publish leaves behind: a blob; and a small body whose record is gone.
    let (orphan, small) = (body(store, 60_000, 3).await, body(store, 200, 4).await);
    let place = (family::SMALL, small.stored.digest.hex().into_bytes());
    store.inner.engine.put(place.0, &place.1, small.small.clone().unwrap(), true).await.unwrap();

    let grace = Duration::from_hours(1);
    let first = store.collect(grace, true).await.unwrap();
    assert!(first.condemned >= 2 && first.removed == 0, "{first:?}");
    assert_eq!(store.collect(grace, false).await.unwrap(), first, "a dry run says what the run does");
    assert_eq!(store.collect(Duration::ZERO, true).await.unwrap().removed, first.condemned);
    assert!(is_held(store, &orphan.stored).await && is_held(store, &small.stored).await);

    // Condemned, then placed again, or referred to again: acquitted, and safe from a collection that has already looked.
    let again = body(store, 60_000, 3).await;
    let collected = store.collect(Duration::ZERO, false).await.unwrap();
    assert_eq!(collected.condemned, 1, "the body that was placed again begins anew: {collected:?}");
    assert!(is_held(store, &orphan.stored).await && !is_held(store, &small.stored).await);
    refer(store, "v1.0.1", &[again]).await;
    for _ in 0..2 {
        let collected = store.collect(Duration::ZERO, false).await.unwrap();
        assert_eq!((collected.condemned, collected.removed), (0, 0), "{collected:?}");
    }
    assert!(is_held(store, &orphan.stored).await);

    // Whatever collections run beside them, commits keep what they refer to: small bodies whatever the grace period.
    let collecting = async {
        for _ in 0..10 {
            store.collect(Duration::ZERO, false).await.unwrap();
        }
    };
    let committing = async {
        for number in 0..10 {
            // Again and again the same two, without a reference in between.
            let bodies = [body(store, 300, 9).await, body(store, 400, 10).await];
            refer(store, "v2.0.0", &bodies).await;
            let version = format!("v2.0.{number}");
            assert!(is_held(store, &bodies[0].stored).await && is_held(store, &bodies[1].stored).await, "{version}");
            refer(store, "v2.0.0", &[]).await;
        }
    };
    futures_util::future::join(collecting, committing).await;

    let mut counted = (0, 0);
    assert!(store.verify(|done, all| counted = (done, all)).await.unwrap().is_empty());
    assert!(counted.0 >= 3 && counted.0 == counted.1);
    assert_ne!(Collected::default(), store.collect(grace, true).await.unwrap());
    what_a_killed_collection_began_is_finished(store).await;
    a_removal_that_comes_late_reaches_nothing_new(store).await;
}

/// A body was given up, and the collection killed before it was removed.
async fn what_a_killed_collection_began_is_finished(store: &Store) {
    let there = body(store, 61_000, 31).await;
    let given_up = Bytes::from_static(b"{\"since_ms\":null,\"generation\":1}");
    store.inner.engine.put(family::CONDEMNED, there.stored.digest.hex().as_bytes(), given_up, true).await.unwrap();
    let subject = Subject { repository: "collected", logs: &[], module: "example.com/a" };
    let write = |_: &mut Draft| Ok::<_, StoreError>(Decision::Write);
    let refused = store.commit_version(subject, "v4.0.0", std::slice::from_ref(&there), write).await;
    assert!(matches!(&refused, Err(StoreError::Blob(why)) if why.contains("try again")), "{refused:?}");
    let again = body(store, 61_000, 31).await;
    refer(store, "v4.0.0", std::slice::from_ref(&again)).await;
    assert!(is_held(store, &there.stored).await);
    let hour = Duration::from_hours(1);
    assert_eq!(store.collect(hour, true).await.unwrap().removed, 1);
    assert_eq!(store.collect(hour, false).await.unwrap().removed, 1);
    assert!(is_held(store, &again.stored).await && !is_held(store, &there.stored).await);
}

/// A collector is stopped between its decision and its removal; others go on meanwhile.
async fn a_removal_that_comes_late_reaches_nothing_new(store: &Store) {
    let first = body(store, 62_000, 33).await;
    for _ in 0..2 {
        store.collect(Duration::ZERO, false).await.unwrap();
    }
    assert!(!is_held(store, &first.stored).await);
    let again = body(store, 62_000, 33).await;
    refer(store, "v5.0.0", std::slice::from_ref(&again)).await;
    store.blobs().remove(&first.stored.blob()).await.unwrap();
    assert!(is_held(store, &again.stored).await, "the removal was meant for the one before");
    assert_eq!(first.stored.digest, again.stored.digest);
    // And once more: what was given up twice comes back a third time.
    refer(store, "v5.0.0", &[]).await;
    for _ in 0..2 {
        store.collect(Duration::ZERO, false).await.unwrap();
    }
    assert!(!is_held(store, &again.stored).await);
    let third = body(store, 62_000, 33).await;
    refer(store, "v5.0.0", std::slice::from_ref(&third)).await;
    assert!(is_held(store, &third.stored).await);
    assert!(store.verify(|_, _| {}).await.unwrap().is_empty());
}

/// In a directory, where a test can do damage.
pub(super) async fn damage(store: &Store, blobs: &std::path::Path) {
    let [changed, lost] = [body(store, 70_000, 21).await, body(store, 80_000, 22).await];
    refer(store, "v3.0.0", &[changed.clone(), lost.clone()]).await;
    let path = |stored: &Stored| blobs.join(&stored.digest.hex()[..2]).join(stored.digest.hex());
    let mut bytes = std::fs::read(path(&changed.stored)).unwrap();
    bytes[35_000] ^= 1;
    std::fs::write(path(&changed.stored), bytes).unwrap();
    std::fs::remove_file(path(&lost.stored)).unwrap();
    let mut found = store.verify(|_, _| {}).await.unwrap();
    found.sort_by_key(|damaged| damaged.stored.len);
    let what: Vec<_> = found.iter().map(|damaged| (damaged.stored, damaged.damage)).collect();
    assert_eq!(what, [(changed.stored, Damage::Corrupt), (lost.stored, Damage::Missing)]);
    assert_eq!(found[0].referrers[0].name, "@v/v3.0.0.mod");
    for damaged in &found {
        store.withdraw(damaged).await.unwrap();
    }
    assert!(!is_held(store, &changed.stored).await, "wrong bytes are not served");
    assert!(blobs.join("damaged").join(changed.stored.digest.hex()).exists());
    // Placed again, they are whole.
    body(store, 70_000, 21).await;
    body(store, 80_000, 22).await;
    assert!(store.verify(|_, _| {}).await.unwrap().is_empty());
}

async fn body(store: &Store, len: usize, seed: u8) -> Placed {
    store.place(NewBody::Memory(Bytes::from(vec![seed; len])), 1).await.unwrap()
}

/// Has a version refer to at most two bodies, and to nothing else.
async fn refer(store: &Store, version: &str, bodies: &[Placed]) {
    let subject = Subject { repository: "collected", logs: &[], module: "example.com/a" };
    let decide = |draft: &mut Draft| {
        draft.record.gomod = bodies.first().map(|body| body.stored);
        draft.record.zip = bodies.get(1).map(|body| body.stored);
        Ok::<_, StoreError>(Decision::Write)
    };
    store.commit_version(subject, version, bodies, decide).await.unwrap();
}

async fn is_held(store: &Store, stored: &Stored) -> bool {
    store.load(stored).await.unwrap().is_some()
}
