//! A fill beats nothing: what comes between its ticket and its commit wins. And readers do not undo changes.

use std::sync::atomic::AtomicBool;

use shared::change::{EventType, Kind};

use super::super::Status;
use super::super::memory::Standing;
use super::*;

#[test]
fn a_list_that_was_overtaken_is_stored_stale() {
    let overtaking = [
        created(1, "v1.1.0"),
        deleted(1, "v1.0.0"),
        change(1, EventType::Update, Kind::List, None),
        change(1, EventType::Update, Kind::Module, None),
        change(1, EventType::Update, Kind::All, None),
        change(1, EventType::Delete, Kind::All, None),
    ];
    for change in overtaking {
        let rig = Rig::new();
        let ticket = rig.store.ticket(&key(LIST));
        rig.apply(std::slice::from_ref(&change));
        rig.store.commit(&ticket, meta(b"v1.0.0\n"), rig.spooled(b"v1.0.0\n")).unwrap();
        assert_eq!(rig.memory(LIST).unwrap().1, Freshness::StaleIfError, "{change:?}");
        assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError, "{change:?}");
        // So is one that a 304 confirmed.
        let ticket = rig.store.ticket(&key(LIST));
        rig.apply(&[Change { id: id(2), ..change.clone() }]);
        if rig.disk(LIST).is_some() {
            rig.store.touch_revalidated(&ticket, &meta(b"v1.0.0\n"), None).unwrap().unwrap();
            assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError, "{change:?}");
        }
        rig.commit(LIST, b"v1.0.0\nv1.1.0\n").unwrap();
        assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Fresh, "{change:?}");
    }
}

#[test]
fn a_gap_overtakes_as_well() {
    let rig = Rig::new();
    let ticket = rig.store.ticket(&key(LIST));
    rig.store.reset_after_gap(REPO, id(7), &[]).unwrap();
    rig.store.commit(&ticket, meta(b"v1.0.0\n"), rig.spooled(b"v1.0.0\n")).unwrap();
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError);
}

#[test]
fn what_is_back_is_stored_before_this_edge_hears_of_it() {
    let rig = Rig::new();
    rig.apply(&[created(1, "v1.0.0"), deleted(2, "v1.0.0")]);
    assert!(rig.store.is_removed(&key(ZIP)).unwrap() && !rig.store.is_removed(&key(LIST)).unwrap());
    let ticket = rig.store.ticket(&key(ZIP)).after_removal();
    rig.store.commit(&ticket, meta(b"zip"), rig.spooled(b"zip")).unwrap();
    assert_eq!(rig.disk(ZIP), Some((b"zip".to_vec(), Freshness::Fresh)));
    rig.apply(&[created(3, "v1.0.0")]);
    assert!(rig.disk(ZIP).is_some());
    // A removal that came after the fill began beats it all the same.
    let ticket = rig.store.ticket(&key(ZIP)).after_removal();
    rig.apply(&[deleted(4, "v1.0.0")]);
    assert!(rig.disk(ZIP).is_none());
    let late = rig.store.commit(&ticket, meta(b"zip"), rig.spooled(b"zip"));
    assert!(matches!(late, Err(CommitError::Tombstoned)));
}

#[test]
fn an_answer_older_than_the_cursor_is_not_fresh() {
    let rig = Rig::new();
    rig.apply(&[created(1, "v1.0.0"), created(2, "v1.1.0")]);
    for (seq, fresh) in [(1, Freshness::StaleIfError), (2, Freshness::Fresh), (3, Freshness::Fresh)] {
        let ticket = rig.store.ticket(&key(LIST));
        let meta = Meta { change_id: Some(id(seq)), ..meta(b"v1.0.0\n") };
        rig.store.commit(&ticket, meta, rig.spooled(b"v1.0.0\n")).unwrap();
        assert_eq!(rig.disk(LIST).unwrap().1, fresh, "{seq}");
    }
}

#[test]
fn a_negative_that_was_overtaken_is_not_recorded() {
    let rig = Rig::new();
    let info = key("example.com/a/@v/v1.1.0.info");
    let ticket = rig.store.ticket(&info);
    rig.apply(&[created(1, "v1.1.0")]);
    rig.store.commit_negative(&ticket, Status::NotFound, "no").unwrap();
    assert!(rig.store.disk(&info).unwrap().is_none());
    let ticket = rig.store.ticket(&info);
    rig.store.reset_after_gap(REPO, id(7), &[]).unwrap();
    rig.store.commit_negative(&ticket, Status::NotFound, "no").unwrap();
    assert!(rig.store.disk(&info).unwrap().is_none());
}

#[test]
fn a_tombstone_beats_every_fill() {
    let large = body(1, 100_000);
    for bytes in [&b"zip"[..], &large] {
        let rig = Rig::new();
        let before = rig.store.ticket(&key(ZIP));
        let commit = |rig: &Rig, ticket| rig.store.commit(ticket, meta(bytes), rig.spooled(bytes));
        rig.apply(&[deleted(1, "v1.0.0")]);
        assert!(matches!(commit(&rig, &before), Err(CommitError::Tombstoned)));
        assert!(matches!(rig.commit(ZIP, bytes), Err(CommitError::Tombstoned)));
        assert!(rig.memory(ZIP).is_none() && rig.disk(ZIP).is_none());
        assert_eq!((rig.files(), rig.spool_files(), rig.store.stats().disk_objects), (0, 0, 0));
        assert!(rig.store.trouble().is_none());
        // Other versions are not meant.
        rig.commit("example.com/a/@v/v1.0.1.zip", bytes).unwrap();
        // Also after a restart, and until it is lifted; then not for a fill that is older than the removal.
        let rig = rig.reopened();
        assert!(matches!(rig.commit(ZIP, bytes), Err(CommitError::Tombstoned)));
        rig.apply(&[created(2, "v1.0.0")]);
        assert!(matches!(commit(&rig, &before), Err(CommitError::Tombstoned)));
        rig.commit(ZIP, bytes).unwrap();
        assert_eq!(rig.disk(ZIP).unwrap().0, bytes);
    }
}

#[test]
fn tombstones_of_a_module_and_of_all_hold_for_each_version() {
    for kind in [Kind::Module, Kind::All] {
        let rig = Rig::new();
        rig.apply(&[change(1, EventType::Delete, kind, None), created(2, "v1.1.0")]);
        assert!(matches!(rig.commit(ZIP, b"zip"), Err(CommitError::Tombstoned)), "{kind:?}");
        rig.commit("example.com/a/@v/v1.1.0.zip", b"zip").unwrap();
        let other = rig.commit("example.com/b/@v/v1.0.0.zip", b"zip");
        assert_eq!(other.is_err(), kind == Kind::All);
        rig.commit(LIST, b"v1.1.0\n").unwrap();
    }
}

#[test]
fn removed_and_restored_in_one_run_is_there() {
    let rig = Rig::new();
    rig.commit(ZIP, b"zip").unwrap();
    rig.apply(&[deleted(1, "v1.0.0"), created(2, "v1.0.0")]);
    assert!(rig.disk(ZIP).is_none());
    rig.commit(ZIP, b"zip").unwrap();
    rig.apply(&[created(3, "v1.0.0"), deleted(4, "v1.0.0")]);
    assert!(rig.disk(ZIP).is_none());
    assert!(matches!(rig.commit(ZIP, b"zip"), Err(CommitError::Tombstoned)));
}

/// Readers bring rows into memory while changes and commits come in; after each change, nobody sees the old list as fresh.
#[test]
fn a_change_is_seen_at_once_by_whoever_reads() {
    let rig = Rig::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                while !done.load(SeqCst) {
                    rig.disk(LIST);
                    rig.memory(LIST);
                }
            });
        }
        for seq in 1..=300 {
            rig.commit(LIST, format!("v1.{seq}.0\n").as_bytes()).unwrap();
            rig.disk(LIST);
            rig.apply(&[created(seq, "v2.0.0")]);
            let fresh = [rig.memory(LIST), rig.disk(LIST), rig.memory(LIST)];
            let shown: Vec<_> = fresh.into_iter().flatten().filter(|(_, f)| *f != Freshness::StaleIfError).collect();
            if !shown.is_empty() {
                done.store(true, SeqCst);
            }
            assert_eq!(shown, [], "{seq}");
        }
        done.store(true, SeqCst);
    });
}

/// A reader that was slow does not put an older list over a newer one.
#[test]
fn a_commit_is_not_undone_by_a_reader() {
    let rig = Rig::new();
    rig.commit(LIST, b"old\n").unwrap();
    let (old, promotion) = {
        let promotion = rig.store.promotion(&key(LIST), Standing::default(), START_MS);
        (rig.store.disk(&key(LIST)).unwrap().unwrap().0, promotion)
    };
    rig.commit(LIST, b"new\n").unwrap();
    rig.store.promote(&key(LIST), &old, promotion);
    assert_eq!(rig.memory(LIST).unwrap().0, b"new\n");
}
