//! kill -9 in the middle of writing: what is held afterwards is right, and nothing is left over.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shared::change::{EventType, Kind};

use super::super::entry::Row;
use super::super::index::Family;
use super::*;

const CHILD_DIR: &str = "MODTIER_TEST_KILLED_DIR";
const NAME: &str = "cache::tests::killed::what_was_written_before_a_kill_is_right_or_absent";

fn path(i: u64) -> String {
    format!("example.com/m{i}/@v/v1.0.0.zip")
}

fn bytes(i: u64) -> Vec<u8> {
    body(i, [300, 20_000, 90_000, 400_000][usize::try_from(i % 4).unwrap()])
}

/// Commits and applies until it is killed.
fn write_until_killed(dir: &Path) -> ! {
    let now_ms = Arc::new(AtomicU64::new(START_MS));
    let store = open(dir, &now_ms, 3 * MIB);
    let rig = Rig { dir: tempfile::tempdir().unwrap(), now_ms, store };
    for i in 0.. {
        rig.commit(&path(i), &bytes(i)).unwrap();
        let seq = rig.store.cursor(REPO).seq + 1;
        rig.commit(LIST, format!("v1.{seq}.0\n").as_bytes()).unwrap();
        rig.apply(&[change(seq, EventType::Update, Kind::List, None)]);
        rig.pass(Duration::from_secs(61));
        if i % 10 == 9 {
            rig.store.sweep().unwrap();
        }
    }
    unreachable!("the numbers do not end")
}

#[test]
fn what_was_written_before_a_kill_is_right_or_absent() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        write_until_killed(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let now_ms = Arc::new(AtomicU64::new(START_MS));
    let mut last = ChangeId::ZERO;
    for round in 0..6 {
        kill_a_writer(dir.path(), 25 + round * 40);
        let store = open(dir.path(), &now_ms, 3 * MIB);
        let rig = Rig { dir: tempfile::tempdir().unwrap(), now_ms: Arc::clone(&now_ms), store };
        assert_eq!(rig.spool_files(), 0);
        assert!(rig.store.cursor(REPO) >= last);
        last = rig.store.cursor(REPO);
        for i in 0..5000 {
            if let Some((found, _)) = rig.disk(&path(i)) {
                assert!(found == bytes(i), "{i}");
            }
        }
        // The list is the one before a change, made stale with it, or the one after it.
        if let Some((list, fresh)) = rig.disk(LIST) {
            let seq = String::from_utf8(list).unwrap();
            let stale_with_change = seq == format!("v1.{}.0\n", last.seq);
            assert_eq!(fresh == Freshness::StaleIfError, stale_with_change, "{seq} {last}");
        }
        rig.store.reclaim().unwrap();
        assert_eq!(rig.store.stats().damaged, 0);
        check_accounts(&rig);
    }
    assert!(last > ChangeId::ZERO, "no writer got anywhere");
}

/// Lets a writer work until `rows` changes are on the disk, or some time is over, and kills it at once.
fn kill_a_writer(dir: &Path, millis: u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Counted from its first file, so that a slow start does not use the time up.
    let started = Instant::now();
    let files = dir.join("files");
    let has_begun = || fs::read_dir(&files).is_ok_and(|mut entries| entries.next().is_some());
    while !has_begun() {
        assert!(started.elapsed() < Duration::from_mins(1), "the writer does not begin");
        assert!(child.try_wait().unwrap().is_none(), "the writer ended");
        std::thread::yield_now();
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(millis) {
        assert!(child.try_wait().unwrap().is_none(), "the writer ended");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Every body is needed by an entry, and every entry has its body; the sums are right.
fn check_accounts(rig: &Rig) {
    let rows = |family| rig.store.index.scan(family, b"").collect::<Result<Vec<_>, _>>().unwrap();
    let entries = rows(Family::Entries);
    let digests: std::collections::BTreeSet<_> =
        entries.iter().map(|(_, value)| Row::decode(value).unwrap().digest.as_bytes().to_vec()).collect();
    let blobs: Vec<_> = rows(Family::Blobs).into_iter().map(|(key, _)| key.to_vec()).collect();
    assert_eq!(blobs, digests.into_iter().collect::<Vec<_>>());
    assert_eq!(rows(Family::Refs).len(), entries.len());
    assert_eq!(rig.store.stats().disk_objects, blobs.len() as u64);
    let large = entries.iter().filter(|(_, value)| Row::decode(value).unwrap().len > 32 * 1024).count();
    assert_eq!(rig.files(), large);
}
