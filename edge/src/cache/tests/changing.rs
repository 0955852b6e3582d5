//! Freshness over time, revalidation, negatives, and what changes do.

use std::time::Duration;

use shared::change::{EventType, Kind};
use shared::digest::Digest;

use super::super::{ApplyError, Status};
use super::*;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_list_leaves_memory_after_its_period_and_comes_back_from_disk() {
    let rig = Rig::new();
    rig.store.trust_channel(Duration::MAX);
    rig.commit(LIST, b"v1.0.0\n").unwrap();
    assert_eq!(rig.memory(LIST).unwrap().1, Freshness::Fresh);
    rig.pass(secs(30));
    assert!(rig.memory(LIST).is_none());
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Fresh);
    assert_eq!(rig.memory(LIST).unwrap().1, Freshness::Fresh);
    rig.pass(secs(270));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Stale);
    rig.pass(secs(3600));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError);
    rig.pass(secs(7 * 24 * 3600));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Expired);
}

#[test]
fn an_unhealthy_channel_shortens_and_a_hot_module_lengthens() {
    let rig = Rig::new();
    rig.commit(LIST, b"v1.0.0\n").unwrap();
    rig.pass(secs(60));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Stale);
    rig.store.trust_channel(Duration::MAX);
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Fresh);
    rig.pass(secs(300));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Stale);
    for _ in 0..10 {
        rig.memory(LIST);
    }
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Fresh);
}

#[test]
fn a_version_stays_fresh_in_both_tiers() {
    let rig = Rig::new();
    rig.commit(ZIP, b"zip").unwrap();
    rig.pass(secs(1000 * 24 * 3600));
    assert_eq!(rig.memory(ZIP), Some((b"zip".to_vec(), Freshness::Fresh)));
    assert_eq!(rig.disk(ZIP), Some((b"zip".to_vec(), Freshness::Fresh)));
}

#[test]
fn a_304_makes_fresh_again_and_only_what_it_confirmed() {
    let rig = Rig::new();
    let entry = rig.commit(LIST, b"v1.0.0\n").unwrap();
    rig.pass(secs(400));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Stale);
    let ticket = rig.store.ticket(&key(LIST));
    let touched = rig.store.touch_revalidated(&ticket, &entry.meta, Some(id(4))).unwrap().unwrap();
    assert_eq!((touched.meta.stored_at_ms, touched.meta.change_id), (START_MS + 400_000, Some(id(4))));
    assert_eq!(rig.memory(LIST).unwrap().1, Freshness::Fresh);
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Fresh);
    rig.commit(LIST, b"v1.0.0\nv1.1.0\n").unwrap();
    assert!(rig.store.touch_revalidated(&ticket, &entry.meta, None).unwrap().is_none());
}

#[test]
fn a_negative_lasts_a_minute_and_goes_with_any_change_of_its_module() {
    let rig = Rig::new();
    let missing = |path: &str| {
        let ticket = rig.store.ticket(&key(path));
        rig.store.commit_negative(&ticket, Status::NotFound, "unknown revision v9").unwrap();
    };
    missing("example.com/a/@v/v9.0.0.info");
    missing("example.com/b/@v/v9.0.0.info");
    let (entry, fresh) = rig.store.disk(&key("example.com/a/@v/v9.0.0.info")).unwrap().unwrap();
    assert_eq!(
        (entry.status, entry.meta.message.as_str(), fresh),
        (Status::NotFound, "unknown revision v9", Freshness::Fresh)
    );
    assert!(rig.memory("example.com/a/@v/v9.0.0.info").is_none());
    rig.apply(&[change(1, EventType::Update, Kind::Latest, None)]);
    assert!(rig.disk("example.com/a/@v/v9.0.0.info").is_none());
    assert!(rig.disk("example.com/b/@v/v9.0.0.info").is_some());
    rig.pass(secs(60));
    assert!(rig.disk("example.com/b/@v/v9.0.0.info").is_none());
    rig.store.sweep().unwrap();
    assert!(rig.store.index.scan(super::super::index::Family::Negatives, b"").next().is_none());
}

#[test]
fn a_not_found_takes_a_list_but_never_a_version() {
    let rig = Rig::new();
    rig.commit(LIST, b"v1.0.0\n").unwrap();
    rig.commit(ZIP, b"zip").unwrap();
    for path in [LIST, ZIP] {
        rig.store.commit_negative(&rig.store.ticket(&key(path)), Status::Gone, "gone").unwrap();
    }
    assert!(rig.memory(LIST).is_none());
    assert_eq!(rig.store.disk(&key(LIST)).unwrap().unwrap().0.status, Status::Gone);
    assert_eq!(rig.disk(ZIP).unwrap().0, b"zip");
    rig.commit(LIST, b"v1.0.0\n").unwrap();
    assert_eq!(rig.disk(LIST).unwrap(), (b"v1.0.0\n".to_vec(), Freshness::Fresh));
}

/// A change, what it makes stale, what it drops.
type Row<'a> = (Change, &'a [&'a str], &'a [&'a str]);

#[test]
fn the_table_of_changes() {
    use EventType::{Delete, Update};
    const LATEST: &str = "example.com/a/@latest";
    const MAIN: &str = "example.com/a/@v/main.info";
    const DEV: &str = "example.com/a/@v/dev.info";
    const OTHER_ZIP: &str = "example.com/a/@v/v1.1.0.zip";
    const OTHER: &str = "example.com/b/@v/list";
    const ALL: [&str; 7] = [LIST, LATEST, MAIN, DEV, ZIP, OTHER_ZIP, OTHER];
    let module = [LIST, LATEST, MAIN, DEV];
    let rows: [Row; 10] = [
        (created(1, "v1.2.0"), &module, &[]),
        (change(1, Update, Kind::List, None), &[LIST], &[]),
        (change(1, Update, Kind::Latest, None), &[LATEST], &[]),
        (change(1, Update, Kind::Query, Some("main")), &[MAIN], &[]),
        (change(1, Update, Kind::Query, None), &[MAIN, DEV], &[]),
        (deleted(1, "v1.0.0"), &module, &[ZIP]),
        (change(1, Update, Kind::Module, None), &module, &[]),
        (change(1, Delete, Kind::Module, None), &module, &[ZIP, OTHER_ZIP]),
        (change(1, Update, Kind::All, None), &[LIST, LATEST, MAIN, DEV, OTHER], &[]),
        (change(1, Delete, Kind::All, None), &[], &ALL),
    ];
    for (change, stale, dropped) in rows {
        let rig = Rig::new();
        for path in ALL {
            rig.commit(path, path.as_bytes()).unwrap();
            assert!(rig.memory(path).is_some());
        }
        let applied = rig.apply(std::slice::from_ref(&change));
        assert_eq!((applied.count, applied.cursor), (1, id(1)));
        let check = |rig: &Rig| {
            for path in ALL {
                let wanted = if dropped.contains(&path) {
                    None
                } else if stale.contains(&path) {
                    Some(Freshness::StaleIfError)
                } else {
                    Some(Freshness::Fresh)
                };
                let in_memory = rig.memory(path).map(|(_, fresh)| fresh);
                assert!(in_memory.is_none() || in_memory == wanted, "memory {path} {change:?}");
                assert_eq!(rig.disk(path).map(|(_, fresh)| fresh), wanted, "{path} {change:?}");
            }
            assert_eq!(rig.store.cursor(REPO), id(1));
        };
        check(&rig);
        check(&rig.reopened());
    }
}

#[test]
fn a_first_fill_of_a_listed_version_changes_no_list() {
    let fill = |seq, version| Change { reason: "fill".to_owned(), ..created(seq, version) };
    let rig = Rig::new();
    rig.commit(LIST, b"v1.0.0\nv1.1.0\n").unwrap();
    rig.apply(&[fill(1, "v1.1.0"), fill(2, "v0.0.0-20240101000000-0123456789ab")]);
    assert_eq!(rig.memory(LIST).unwrap().1, Freshness::Fresh);
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Fresh);
    rig.apply(&[fill(3, "v1.1")]);
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError);
    rig.commit(LIST, b"v1.0.0\nv1.1.0\n").unwrap();
    rig.apply(&[created(4, "v1.1.0")]);
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError);
}

#[test]
fn an_update_of_a_version_is_refused_unless_it_is_the_same() {
    let rig = Rig::new();
    rig.commit(ZIP, b"zip").unwrap();
    let update = |seq, sha256| Change { sha256, ..change(seq, EventType::Update, Kind::Version, Some("v1.0.0")) };
    let applied =
        rig.apply(&[update(1, Some(Digest::of(b"zip"))), update(2, Some(Digest::of(b"other"))), update(3, None)]);
    assert_eq!((applied.refused, applied.cursor), (vec![id(2), id(3)], id(3)));
    assert_eq!(rig.disk(ZIP).unwrap().0, b"zip");
}

#[test]
fn known_ids_are_ignored_and_a_hole_stops() {
    let rig = Rig::new();
    let changes = [created(1, "v1.2.0"), created(2, "v1.3.0")];
    assert_eq!(rig.apply(&changes).count, 2);
    rig.commit(LIST, b"v1.3.0\n").unwrap();
    let again = rig.apply(&changes);
    assert_eq!((again.count, again.ignored, again.cursor), (0, 2, id(2)));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Fresh);
    let gap = rig.store.apply(REPO, &[created(3, "v1.4.0"), created(5, "v1.6.0")]);
    assert!(matches!(gap, Err(ApplyError::Gap { cursor, found }) if cursor == id(3) && found == id(5)));
    assert_eq!(rig.store.cursor(REPO), id(3));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError);
    let other_log = Change { id: ChangeId { epoch: id(0).epoch + 1, seq: 4 }, ..created(4, "v1.4.0") };
    assert!(matches!(rig.store.apply(REPO, &[other_log]), Err(ApplyError::Gap { .. })));
    let first = Rig::new();
    assert!(matches!(first.store.apply(REPO, &[created(2, "v1.0.0")]), Err(ApplyError::Gap { .. })));
    assert_eq!(first.store.cursor("another"), ChangeId::ZERO);
}

#[test]
fn a_gap_makes_stale_forgets_negatives_and_takes_over_the_tombstones() {
    let rig = Rig::new();
    rig.apply(&[deleted(1, "v1.1.0")]);
    rig.commit(LIST, b"v1.0.0\n").unwrap();
    rig.commit(ZIP, b"zip").unwrap();
    rig.commit("example.com/a/@v/v1.2.0.zip", b"other zip").unwrap();
    let missing = key("example.com/b/@v/v1.0.0.info");
    rig.store.commit_negative(&rig.store.ticket(&missing), Status::NotFound, "no").unwrap();
    rig.store.reset_after_gap(REPO, id(9), &[deleted(9, "v1.2.0")]).unwrap();
    let rig = rig.reopened();
    assert_eq!(rig.store.cursor(REPO), id(9));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError);
    assert_eq!(rig.disk(ZIP).unwrap(), (b"zip".to_vec(), Freshness::Fresh));
    assert!(rig.disk("example.com/a/@v/v1.2.0.zip").is_none());
    assert!(rig.store.disk(&missing).unwrap().is_none());
    assert!(matches!(rig.commit("example.com/a/@v/v1.2.0.zip", b"other zip"), Err(CommitError::Tombstoned)));
    // Restored in the gap: the manifest no longer lists it.
    rig.commit("example.com/a/@v/v1.1.0.zip", b"restored").unwrap();
    rig.commit(LIST, b"v1.0.0\nv1.1.0\n").unwrap();
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Fresh);
}

#[test]
fn a_purge_takes_all_of_a_module_or_all() {
    let rig = Rig::new();
    for path in [LIST, ZIP, "example.com/b/@v/list", "example.com/b/@v/v1.0.0.zip"] {
        rig.commit(path, &body(path.len() as u64, 40_000)).unwrap();
    }
    assert_eq!(rig.store.purge(Some(&"example.com/a".parse().unwrap())).unwrap(), 2);
    for path in [LIST, ZIP] {
        assert!(rig.memory(path).is_none() && rig.disk(path).is_none(), "{path}");
    }
    assert!(rig.disk("example.com/b/@v/list").is_some());
    rig.store.purge(None).unwrap();
    assert!(rig.memory("example.com/b/@v/list").is_none() && rig.disk("example.com/b/@v/list").is_none());
    assert_eq!((rig.files(), rig.store.stats().disk_objects, rig.store.stats().disk_bytes), (0, 0, 0));
    rig.commit(LIST, b"v1.0.0\n").unwrap();
    assert_eq!(rig.reopened().disk(LIST).unwrap().1, Freshness::Fresh);
}

#[test]
fn changes_that_are_applied_once_more_take_nothing_back() {
    let rig = Rig::new();
    rig.store.trust_channel(Duration::MAX);
    let delete = |seq| change(seq, EventType::Delete, Kind::Version, Some("v1.0.0"));
    let log = [created(1, "v1.0.0"), delete(2), created(3, "v1.0.0"), delete(4)];
    rig.apply(&log);
    let gone = || rig.commit(ZIP, b"zip");
    assert!(gone().is_err(), "the last word is that it was removed");
    // An old record alone, and all of them.
    for again in [&log[..1], &log[1..3], &log[..]] {
        assert_eq!(rig.store.reapply(REPO, again).unwrap(), again.len());
        assert!(gone().is_err());
        assert_eq!(rig.store.cursor(REPO), id(4));
    }
    rig.apply(&[created(5, "v1.0.0")]);
    rig.commit(LIST, b"v1.0.0\n").unwrap();
    assert_eq!(rig.store.reapply(REPO, &log).unwrap(), 4);
    assert_ne!(rig.disk(LIST).unwrap().1, Freshness::Fresh, "what they make stale is stale again");
    rig.commit(ZIP, b"zip").unwrap();
    // What has not been applied yet is not applied by this.
    assert_eq!(rig.store.reapply(REPO, &[delete(6)]).unwrap(), 0);
    assert!(rig.disk(ZIP).is_some());
}
