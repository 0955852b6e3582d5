//! Clocks that jump, periods that are spread, modules that are stable, and settings that change.

use std::time::Duration;

use super::super::Status;
use super::*;

const DAY: u64 = 24 * 3600 * 1000;

fn list(i: u64) -> String {
    format!("example.com/m{i}/@v/list")
}

impl Rig {
    /// Closes the cache, sets the clock, and opens it again.
    fn reopened_at(self, now_ms: u64) -> Self {
        self.store.close();
        self.now_ms.store(now_ms, SeqCst);
        let rig = self.reopened();
        rig.store.trust_channel(Duration::MAX);
        rig
    }
}

#[test]
fn a_clock_that_jumps_between_two_runs_expires_nothing() {
    for jumped_to in [START_MS + 400 * DAY, START_MS - 400 * DAY, START_MS - DAY / 24] {
        let rig = Rig::new();
        for i in 0..50 {
            rig.commit(&list(i), b"v1.0.0\n").unwrap();
            // Before the jump they are of all ages.
            rig.pass(Duration::from_hours(i));
        }
        rig.commit(ZIP, b"zip").unwrap();
        let changed = key("example.com/m7/@v/list");
        let rig = rig.reopened_at(jumped_to);
        for i in 0..50 {
            assert_eq!(rig.disk(&list(i)).unwrap().1, Freshness::Stale, "{jumped_to} {i}");
            assert_eq!(rig.memory(&list(i)).unwrap().1, Freshness::Stale, "{jumped_to} {i}");
        }
        assert_eq!(rig.disk(ZIP).unwrap().1, Freshness::Fresh);
        // A refresh gives an age again; what is not asked for stays as it is, also over the next restarts and for weeks.
        let ticket = rig.store.ticket(&changed);
        rig.store.touch_revalidated(&ticket, &meta(b"v1.0.0\n"), None).unwrap().unwrap();
        rig.commit(&list(8), b"v1.0.0\n").unwrap();
        let rig = rig.reopened_at(jumped_to + 1000);
        for (i, fresh) in [(7, Freshness::Fresh), (8, Freshness::Fresh), (9, Freshness::Stale)] {
            assert_eq!(rig.disk(&list(i)).unwrap().1, fresh, "{jumped_to} {i}");
        }
        rig.pass(Duration::from_hours(24 * 30));
        for (i, fresh) in [(7, Freshness::Expired), (9, Freshness::Stale)] {
            assert_eq!(rig.disk(&list(i)).unwrap().1, fresh, "{jumped_to} {i}");
        }
    }
}

#[test]
fn a_clock_that_jumps_there_and_back_again_expires_nothing() {
    let rig = Rig::new();
    rig.commit(LIST, b"v1.0.0\n").unwrap();
    let rig = rig.reopened_at(START_MS + 400 * DAY);
    rig.commit(&list(1), b"v1.0.0\n").unwrap();
    let rig = rig.reopened_at(START_MS + 5000);
    for path in [LIST, &list(1)] {
        assert_eq!(rig.disk(path).unwrap().1, Freshness::Stale, "{path}");
    }
}

#[test]
fn a_restart_keeps_the_ages_and_a_crash_too() {
    let rig = Rig::new();
    rig.commit(LIST, b"v1.0.0\n").unwrap();
    rig.commit(&list(1), b"v1.0.0\n").unwrap();
    rig.pass(Duration::from_hours(23));
    // No close, and so no last heartbeat but the one at the start.
    let Rig { dir, now_ms, store } = rig;
    drop(store);
    let store = open(dir.path(), &now_ms, 100 * MIB);
    let rig = Rig { dir, now_ms, store };
    rig.store.trust_channel(Duration::MAX);
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError);
    // The sweep keeps the time while the edge runs: five days of it are no jump.
    for _ in 0..5 {
        rig.pass(Duration::from_hours(24));
        rig.store.sweep().unwrap();
    }
    let now_ms = rig.now_ms.load(SeqCst);
    let rig = rig.reopened_at(now_ms + 1000);
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError);
    rig.pass(Duration::from_hours(48));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Expired);
}

#[test]
fn a_negative_of_a_doubtful_time_is_asked_for_again() {
    let rig = Rig::new();
    let ticket = rig.store.ticket(&key(LIST));
    rig.store.commit_negative(&ticket, Status::NotFound, "no").unwrap();
    let rig = rig.reopened_at(START_MS - 400 * DAY);
    assert!(rig.disk(LIST).is_none());
    rig.store.sweep().unwrap();
    assert!(rig.store.index.scan(super::super::index::Family::Negatives, b"").next().is_none());
}

#[test]
fn lists_that_came_together_are_not_refreshed_together() {
    let rig = Rig::new();
    rig.store.trust_channel(Duration::MAX);
    let count = 400;
    (0..count).for_each(|i| drop(rig.commit(&list(i), b"v1.0.0\n").unwrap()));
    let fresh = || (0..count).filter(|i| rig.disk(&list(*i)).unwrap().1 == Freshness::Fresh).count();
    rig.pass(Duration::from_secs(269));
    assert_eq!(fresh(), 400);
    rig.pass(Duration::from_secs(16));
    let half = fresh();
    assert!((100..300).contains(&half), "{half}");
    rig.pass(Duration::from_secs(15));
    assert_eq!(fresh(), 0);
}

#[test]
fn a_list_that_stays_as_it_is_makes_a_module_stable() {
    let rig = Rig::new();
    rig.store.trust_channel(Duration::MAX);
    // Its source always says that it was modified just now.
    let commit = |list: &[u8]| {
        let now = UNIX_EPOCH + Duration::from_millis(rig.now_ms.load(SeqCst));
        let meta = Meta { modified: now, ..meta(list) };
        rig.store.commit(&rig.store.ticket(&key(LIST)), meta, rig.spooled(list)).unwrap()
    };
    for _ in 0..29 {
        commit(b"v1.0.0\n");
        rig.pass(Duration::from_hours(24));
        assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError);
    }
    rig.pass(Duration::from_hours(24));
    let entry = commit(b"v1.0.0\n");
    assert_eq!(entry.meta.modified, UNIX_EPOCH + Duration::from_millis(START_MS));
    rig.pass(Duration::from_hours(64));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Fresh);
    rig.pass(Duration::from_hours(8));
    assert_ne!(rig.disk(LIST).unwrap().1, Freshness::Fresh);
    commit(b"v1.0.0\nv1.1.0\n");
    rig.pass(Duration::from_mins(5));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Stale);
}

#[test]
fn settings_change_while_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let cache = super::super::Cache::open(config(dir.path(), 100 * MIB)).unwrap();
    cache.trust_channel(Duration::MAX);
    let zip = body(1, 2_000_000);
    for (path, bytes) in [(LIST, &b"v1.0.0\n"[..]), (ZIP, &zip)] {
        let spooled = Spooled::Memory(Bytes::copy_from_slice(bytes));
        cache.commit(cache.ticket(&key(path)), meta(bytes), spooled).unwrap();
    }
    assert_eq!(cache.memory(&key(LIST)).unwrap().1, Freshness::Fresh);
    let policy = FreshnessPolicy { stable: Duration::ZERO, ..FreshnessPolicy::default() };
    cache.reconfigure(&CacheConfig { policy, ..config(dir.path(), MIB) });
    assert_eq!(cache.memory(&key(LIST)).unwrap().1, Freshness::Stale);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while cache.stats().disk_bytes > MIB {
        assert!(std::time::Instant::now() < deadline, "{:?}", cache.stats());
        std::thread::yield_now();
    }
}
