//! What the comparison with the center's manifest finds and mends.

use std::collections::BTreeMap;

use shared::change::{EventType, Kind};

use super::super::{Listed, Repaired};
use super::*;

fn listed(versions: &[&str], removed: &[&str]) -> BTreeMap<String, Listed> {
    let set = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    [("example.com/a".to_owned(), Listed { versions: set(versions), removed: set(removed) })].into()
}

/// A cache whose cursor stands at 3, after changes that touched nothing it holds.
fn rig() -> Rig {
    let rig = Rig::new();
    rig.store.trust_channel(Duration::MAX);
    rig.apply(&[
        change(1, EventType::Update, Kind::Module, None),
        change(2, EventType::Update, Kind::Module, None),
        change(3, EventType::Update, Kind::Module, None),
    ]);
    rig
}

fn repair(rig: &Rig, seq: u64, listed: &BTreeMap<String, Listed>) -> Option<Repaired> {
    rig.store.repair(REPO, (id(seq), id(seq)), listed).unwrap()
}

#[test]
fn a_removal_that_was_missed_is_made_up_for_once() {
    let rig = rig();
    rig.commit(ZIP, b"zip").unwrap();
    let manifest = listed(&[], &["v1.0.0"]);
    assert_eq!(repair(&rig, 3, &manifest), Some(Repaired { removed: 1, ..Repaired::default() }));
    assert!(rig.disk(ZIP).is_none() && rig.memory(ZIP).is_none());
    assert!(matches!(rig.commit(ZIP, b"zip"), Err(CommitError::Tombstoned)));
    assert_eq!(repair(&rig, 3, &manifest), Some(Repaired::default()));
    assert_eq!(rig.store.cursor(REPO), id(3));
}

#[test]
fn a_version_that_is_back_is_served_again_also_when_that_was_missed() {
    let rig = rig();
    rig.apply(&[change(4, EventType::Delete, Kind::Version, Some("v1.0.0"))]);
    rig.apply(&[change(5, EventType::Update, Kind::Module, None)]);
    assert!(matches!(rig.commit(ZIP, b"zip"), Err(CommitError::Tombstoned)));
    assert_eq!(repair(&rig, 5, &listed(&["v1.0.0"], &[])), Some(Repaired { restored: 1, ..Repaired::default() }));
    rig.commit(ZIP, b"zip").unwrap();
}

#[test]
fn a_list_that_lacks_a_version_is_asked_for_again() {
    let rig = rig();
    rig.commit(LIST, b"v1.0.0\n").unwrap();
    let pseudo = "v1.0.1-0.20250101000000-abcdefabcdef";
    assert_eq!(repair(&rig, 3, &listed(&["v1.0.0", pseudo], &[])), Some(Repaired::default()));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Fresh);
    let newer = listed(&["v1.0.0", "v1.1.0"], &[]);
    assert_eq!(repair(&rig, 3, &newer), Some(Repaired { lists: 1, ..Repaired::default() }));
    assert!(rig.memory(LIST).is_none());
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError);
    assert_eq!(repair(&rig, 3, &newer), Some(Repaired::default()));
}

#[test]
fn what_the_center_leaves_out_is_asked_about_once() {
    const LATEST: &str = "example.com/a/@latest";
    let mut rig = rig();
    let [list, latest] = [b"v1.0.0\n".as_slice(), br#"{"Version":"v1.0.0"}"#];
    let answer = |rig: &Rig| {
        rig.commit(LIST, list).unwrap();
        rig.commit(LATEST, latest).unwrap();
    };
    answer(&rig);
    // Retracted, deleted upstream, or another major version below a go.mod.
    let manifest = listed(&["v1.0.0", "v1.1.0", "v2.0.0+incompatible"], &[]);
    assert_eq!(repair(&rig, 3, &manifest), Some(Repaired { lists: 1, ..Repaired::default() }));
    assert_eq!(rig.disk(LIST).unwrap().1, Freshness::StaleIfError);
    for _ in 0..2 {
        // Asked again, the center leaves out the same.
        answer(&rig);
        assert_eq!(repair(&rig, 3, &manifest), Some(Repaired::default()));
        assert_eq!(rig.disk(LIST).unwrap().1, Freshness::Fresh);
        assert_eq!(rig.disk(LATEST).unwrap().1, Freshness::Fresh);
        rig = rig.reopened();
        rig.store.trust_channel(Duration::MAX);
    }
    // A version more may have been missed.
    let more = listed(&["v1.0.0", "v1.1.0", "v1.2.0", "v2.0.0+incompatible"], &[]);
    assert_eq!(repair(&rig, 3, &more), Some(Repaired { lists: 1, ..Repaired::default() }));
    rig.commit(LIST, b"v1.0.0\nv1.1.0\nv1.2.0\n").unwrap();
    rig.commit(LATEST, br#"{"Version":"v1.2.0"}"#).unwrap();
    assert_eq!(repair(&rig, 3, &more), Some(Repaired::default()));
    // The list had v1.1.0 since: that it lacks it again is new.
    rig.commit(LIST, list).unwrap();
    assert_eq!(repair(&rig, 3, &manifest), Some(Repaired { lists: 1, ..Repaired::default() }));
}

#[test]
fn a_pseudo_version_that_somebody_fetched_was_not_missed() {
    const LATEST: &str = "example.com/a/@latest";
    let rig = rig();
    let [head, branch] = ["v0.0.0-20250101000000-abcdefabcdef", "v0.0.0-20260101000000-abcdefabcdef"];
    let latest = format!(r#"{{"Version":"{head}"}}"#);
    rig.commit(LATEST, latest.as_bytes()).unwrap();
    let manifest = listed(&[head, branch], &[]);
    assert_eq!(repair(&rig, 3, &manifest), Some(Repaired::default()));
    // It may be the new head all the same.
    assert_eq!(rig.disk(LATEST).unwrap().1, Freshness::StaleIfError);
    rig.commit(LATEST, latest.as_bytes()).unwrap();
    assert_eq!(repair(&rig, 3, &manifest), Some(Repaired::default()));
    assert_eq!(rig.disk(LATEST).unwrap().1, Freshness::Fresh);
    // Before a tagged version no pseudo-version comes.
    rig.commit(LATEST, br#"{"Version":"v0.0.0-rc.1"}"#).unwrap();
    assert_eq!(repair(&rig, 3, &manifest), Some(Repaired::default()));
    assert_eq!(rig.disk(LATEST).unwrap().1, Freshness::Fresh);
}

#[test]
fn nothing_is_compared_before_the_changes_are_applied() {
    let rig = rig();
    rig.commit(ZIP, b"zip").unwrap();
    assert_eq!(repair(&rig, 4, &listed(&[], &["v1.0.0"])), None);
    assert!(rig.disk(ZIP).is_some());
}

#[test]
fn a_later_change_beats_a_repair() {
    let rig = rig();
    repair(&rig, 3, &listed(&[], &["v1.0.0"])).unwrap();
    rig.apply(&[change(4, EventType::Create, Kind::Version, Some("v1.0.0"))]);
    rig.commit(ZIP, b"zip").unwrap();
}

#[test]
fn a_line_that_is_older_than_what_was_applied_mends_nothing() {
    let rig = rig();
    // Asked for at 3; before the answer is compared, the version goes, and in the other case comes back.
    rig.apply(&[deleted(4, "v1.0.0"), change(5, EventType::Update, Kind::Module, None)]);
    let there = listed(&["v1.0.0"], &[]);
    assert_eq!(rig.store.repair(REPO, (id(3), id(3)), &there).unwrap(), Some(Repaired::default()));
    assert!(rig.store.is_removed(&key(ZIP)).unwrap());
    rig.apply(&[created(6, "v1.0.0"), change(7, EventType::Update, Kind::Module, None)]);
    rig.commit(ZIP, b"zip").unwrap();
    let gone = listed(&[], &["v1.0.0"]);
    assert_eq!(rig.store.repair(REPO, (id(5), id(5)), &gone).unwrap(), Some(Repaired::default()));
    assert!(rig.disk(ZIP).is_some());
    assert_eq!(rig.store.repair(REPO, (id(7), id(7)), &gone).unwrap().unwrap().removed, 1);
}

#[test]
fn a_removal_of_what_nobody_had_is_noted_and_was_not_missed() {
    let rig = rig();
    assert_eq!(repair(&rig, 3, &listed(&[], &["v1.0.0"])), Some(Repaired::default()));
    assert!(rig.store.is_removed(&key(ZIP)).unwrap());
}

#[test]
fn a_latest_version_that_is_not_the_latest_is_asked_for_again() {
    const LATEST: &str = "example.com/a/@latest";
    let rig = rig();
    rig.commit(LATEST, br#"{"Version":"v1.1.0"}"#).unwrap();
    let pseudo = "v1.2.0-0.20250101000000-abcdefabcdef";
    assert_eq!(repair(&rig, 3, &listed(&["v1.0.0", "v1.1.0", "v1.2.0-rc.1", pseudo], &[])), Some(Repaired::default()));
    assert_eq!(rig.disk(LATEST).unwrap().1, Freshness::Fresh);
    assert_eq!(repair(&rig, 3, &listed(&["v1.2.0"], &[])).unwrap().lists, 1);
    assert_eq!(rig.disk(LATEST).unwrap().1, Freshness::StaleIfError);
}

#[test]
fn a_bucket_counts_as_compared_until_a_version_in_it_changes() {
    let rig = rig();
    let bucket = usize::from(shared::manifest::place_of("example.com/a").0);
    let none = BTreeMap::new();
    let digest = shared::digest::Digest::of(b"lines");
    let seen = |rig: &Rig| rig.store.seen(REPO).unwrap()[bucket];
    assert_eq!(seen(&rig), None);
    rig.store.note_seen(REPO, (bucket, &digest), &none, id(3)).unwrap();
    let rig = rig.reopened();
    assert_eq!(seen(&rig), Some(digest));
    rig.apply(&[change(4, EventType::Update, Kind::List, None)]);
    assert_eq!(seen(&rig), Some(digest));
    rig.apply(&[created(5, "v1.1.0")]);
    assert_eq!(seen(&rig), None);
    // It was asked for before that change: how it stood then says nothing of it.
    rig.store.note_seen(REPO, (bucket, &digest), &none, id(4)).unwrap();
    assert_eq!(seen(&rig), None);
    rig.store.note_seen(REPO, (bucket, &digest), &none, id(5)).unwrap();
    rig.store.reset_after_gap(REPO, id(9), &[]).unwrap();
    assert_eq!(seen(&rig), None);
}

#[test]
fn of_a_bucket_only_the_part_in_which_a_version_changed_is_forgotten() {
    let rig = rig();
    let (bucket, part) = shared::manifest::place_of("example.com/a");
    let (place, digest) = (usize::from(bucket), shared::digest::Digest::of(b"lines"));
    let all: BTreeMap<u8, _> = (0..=u8::MAX).map(|part| (part, digest)).collect();
    let seen = |rig: &Rig| rig.store.seen_parts(REPO, place).unwrap();
    assert!(seen(&rig).is_empty());
    rig.store.note_seen(REPO, (place, &digest), &all, id(3)).unwrap();
    rig.store.note_seen(REPO, (usize::from(bucket ^ 1), &digest), &all, id(3)).unwrap();
    let rig = rig.reopened();
    assert_eq!(seen(&rig), all);
    rig.apply(&[created(4, "v1.1.0")]);
    let others: BTreeMap<u8, _> =
        all.iter().filter(|(at, _)| **at != part).map(|(at, digest)| (*at, *digest)).collect();
    assert_eq!(seen(&rig), others);
    // Asked for before that change, it says nothing of this part, and all of the others.
    rig.store.note_seen(REPO, (place, &digest), &all, id(3)).unwrap();
    assert_eq!((rig.store.seen(REPO).unwrap()[place], seen(&rig)), (None, others));
    rig.store.note_seen(REPO, (place, &digest), &all, id(4)).unwrap();
    assert_eq!((rig.store.seen(REPO).unwrap()[place], seen(&rig)), (Some(digest), all.clone()));
    rig.store.reset_after_gap(REPO, id(9), &[]).unwrap();
    rig.store.note_seen(REPO, (place, &digest), &all, id(8)).unwrap();
    assert!(seen(&rig).is_empty());
}
