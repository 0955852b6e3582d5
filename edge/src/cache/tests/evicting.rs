//! The disk's budget.

use std::time::Duration;

use super::super::Cache;
use super::*;

const BODY: usize = 100_000;

fn path(i: u64) -> String {
    format!("example.com/m{i}/@v/v1.0.0.zip")
}

#[test]
fn the_least_recently_used_go_first() {
    let rig = Rig::with_disk(2 * MIB);
    for i in 0..19 {
        rig.commit(&path(i), &body(i, BODY)).unwrap();
        rig.pass(Duration::from_mins(2));
    }
    rig.store.sweep().unwrap();
    assert_eq!(rig.store.stats().evictions, 0);
    // The oldest one is read from disk and later from memory, the second oldest only from disk.
    rig.disk(&path(0)).unwrap();
    rig.pass(Duration::from_mins(2));
    assert!(rig.memory(&path(0)).is_some());
    rig.disk(&path(1)).unwrap();
    rig.store.sweep().unwrap();
    let rig = rig.reopened();
    for i in 19..23 {
        rig.commit(&path(i), &body(i, BODY)).unwrap();
        rig.pass(Duration::from_mins(2));
    }
    assert!(rig.store.stats().disk_bytes > 2 * MIB);
    rig.store.sweep().unwrap();
    let stats = rig.store.stats();
    assert!(stats.disk_bytes <= 2 * MIB / 10 * 9, "{stats:?}");
    assert!((4..=7).contains(&stats.evictions), "{stats:?}");
    let kept: Vec<u64> = (0..23).filter(|i| rig.disk(&path(*i)).is_some()).collect();
    let first_kept = 2 + stats.evictions;
    assert_eq!(kept, [0, 1].into_iter().chain(first_kept..23).collect::<Vec<_>>());
    assert_eq!((rig.files() as u64, stats.disk_objects), (kept.len() as u64, kept.len() as u64));
    for i in kept {
        assert_eq!(rig.disk(&path(i)).unwrap().0, body(i, BODY));
    }
}

#[test]
fn bodies_that_are_shared_are_freed_with_their_last_entry() {
    let rig = Rig::with_disk(MIB);
    let shared_body = body(77, 700_000);
    rig.commit("example.com/x/@v/v1.0.0.zip", &shared_body).unwrap();
    rig.pass(Duration::from_mins(2));
    rig.commit(&path(1), &body(1, 300_000)).unwrap();
    rig.pass(Duration::from_mins(2));
    rig.commit("example.com/y/@v/v1.0.0.zip", &shared_body).unwrap();
    rig.pass(Duration::from_mins(2));
    rig.commit(&path(2), &body(2, 300_000)).unwrap();
    rig.store.sweep().unwrap();
    let stats = rig.store.stats();
    assert!(stats.disk_bytes <= MIB, "{stats:?}");
    assert!(rig.disk(&path(2)).is_some());
    assert_eq!(rig.files() as u64, stats.disk_objects);
}

#[test]
fn an_open_body_outlives_its_entry() {
    let rig = Rig::with_disk(3 * MIB);
    let bytes = body(1, 1_500_000);
    let entry = rig.commit(&path(1), &bytes).unwrap();
    rig.pass(Duration::from_mins(2));
    rig.commit(&path(2), &body(2, 1_800_000)).unwrap();
    rig.store.sweep().unwrap();
    assert!(rig.disk(&path(1)).is_none());
    assert_eq!(read(&entry), bytes);
}

#[test]
fn the_budget_is_kept_in_the_background() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), MIB)).unwrap();
    for i in 0..30 {
        let bytes = body(i, BODY);
        cache.commit(cache.ticket(&key(&path(i))), meta(&bytes), Spooled::Memory(Bytes::from(bytes))).unwrap();
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while cache.stats().disk_bytes > MIB {
        assert!(std::time::Instant::now() < deadline, "{:?}", cache.stats());
        std::thread::yield_now();
    }
    assert!(cache.stats().evictions > 0);
}
