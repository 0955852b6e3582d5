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
    rig.store.repair(REPO, id(seq), listed).unwrap()
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
