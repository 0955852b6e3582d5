//! Damage: bodies and rows heal one by one; an index that cannot be used is moved aside, and the cache starts over.

use std::fs;
use std::path::PathBuf;

use shared::change::ChangeId;
use shared::digest::Digest;

use super::super::index::Family;
use super::super::{Cache, CacheError};
use super::*;

const OTHER_ZIP: &str = "example.com/b/@v/v1.0.0.zip";

#[test]
fn a_damaged_file_is_a_miss_and_heals() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 3] = [
        ("short", |file| fs::write(file, b"short").unwrap()),
        ("missing", |file| fs::remove_file(file).unwrap()),
        ("other bytes", |file| {
            let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
            fs::write(file, body(2, len)).unwrap();
        }),
    ];
    // One that memory takes, and one that is given out as a file.
    for (size, (name, damage)) in [100_000, 2_000_000].into_iter().flat_map(|size| damages.map(|damage| (size, damage)))
    {
        let rig = Rig::new();
        let bytes = body(1, size);
        rig.commit(ZIP, &bytes).unwrap();
        // Another entry needs the same bytes; its row must not keep the damage alive.
        rig.commit(OTHER_ZIP, &bytes).unwrap();
        damage(&rig.store.files.path(&Digest::of(&bytes)));
        let rig = rig.reopened();
        assert_eq!(rig.disk(ZIP), None, "{name} {size}");
        assert_eq!(rig.store.stats().damaged, 1, "{name} {size}");
        rig.commit(ZIP, &bytes).unwrap();
        // Filled again, it is right for both.
        for path in [ZIP, OTHER_ZIP] {
            assert_eq!(rig.disk(path), Some((bytes.clone(), Freshness::Fresh)), "{name} {size}");
        }
        assert_eq!(
            (rig.store.stats().damaged, rig.store.stats().disk_objects, rig.files()),
            (1, 1, 1),
            "{name} {size}"
        );
    }
}

#[test]
fn every_entry_of_a_damaged_file_goes() {
    let rig = Rig::new();
    let bytes = body(1, 100_000);
    rig.commit(ZIP, &bytes).unwrap();
    rig.commit(OTHER_ZIP, &bytes).unwrap();
    fs::write(rig.store.files.path(&Digest::of(&bytes)), body(2, 100_000)).unwrap();
    let rig = rig.reopened();
    assert_eq!((rig.disk(ZIP), rig.disk(OTHER_ZIP)), (None, None));
    assert_eq!(rig.store.stats().damaged, 2);
    assert_eq!((rig.store.stats().disk_objects, rig.files()), (0, 0));
}

#[test]
fn a_large_file_that_goes_bad_while_it_runs_is_found_out() {
    let rig = Rig::new();
    let bytes = body(1, 2_000_000);
    rig.commit(ZIP, &bytes).unwrap();
    assert_eq!(rig.disk(ZIP).unwrap().0, bytes);
    let path = rig.store.files.path(&Digest::of(&bytes));
    fs::write(&path, body(2, 2_000_000)).unwrap();
    // The clock of the file system may be too coarse to tell two writes of a test apart.
    let later = std::time::SystemTime::now() + Duration::from_secs(5);
    fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    assert_eq!(rig.disk(ZIP), None);
}

#[test]
fn damage_in_the_index_is_a_miss_and_heals() {
    let rig = Rig::new();
    rig.commit(ZIP, b"body").unwrap();
    let rig = rig.reopened();
    let mut batch = rig.store.index.batch();
    batch.put(Family::Bodies, Digest::of(b"body").as_bytes(), b"bodY");
    batch.write().unwrap();
    assert_eq!(rig.disk(ZIP), None);
    rig.commit(ZIP, b"body").unwrap();
    let mut batch = rig.store.index.batch();
    batch.put(Family::Entries, key(ZIP).bytes(), b"no row");
    batch.write().unwrap();
    assert_eq!(rig.disk(ZIP), None);
    assert_eq!(rig.store.stats().damaged, 2);
    rig.commit(ZIP, b"body").unwrap();
    assert_eq!(rig.disk(ZIP).unwrap().0, b"body");
}

/// The newest of the index's files that are such.
fn newest(index: &Path, is_such: impl Fn(&Path) -> bool) -> PathBuf {
    fs::read_dir(index).unwrap().map(|file| file.unwrap().path()).filter(|file| is_such(file)).max().unwrap()
}

fn is_table(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "sst")
}

fn manifest(index: &Path) -> PathBuf {
    newest(index, |file| file.file_name().unwrap().to_str().unwrap().starts_with("MANIFEST"))
}

fn truncate(file: &Path) {
    let half = file.metadata().unwrap().len() / 2;
    fs::File::options().write(true).open(file).unwrap().set_len(half).unwrap();
}

/// Writes until the index has tables, not only a log.
fn filled() -> Rig {
    let rig = Rig::new();
    for round in 0..2 {
        for i in 0..50 {
            rig.commit(&format!("example.com/m{i}/@v/v1.{round}.0.zip"), &body(i + 100 * round, 20_000)).unwrap();
        }
        // Opened anew, it writes down what its log holds.
        rig.store.index.reopen().unwrap();
    }
    rig.commit(ZIP, &body(1, 100_000)).unwrap();
    rig.store.reset_after_gap(REPO, id(7), &[]).unwrap();
    rig
}

#[test]
fn an_index_that_cannot_be_opened_is_moved_aside() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 7] = [
        ("garbled manifest", |index| {
            let manifest = manifest(index);
            let mut bytes = fs::read(&manifest).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle..].fill(0x5a);
            fs::write(&manifest, bytes).unwrap();
        }),
        ("no manifest", |index| fs::remove_file(manifest(index)).unwrap()),
        ("foreign CURRENT", |index| fs::write(index.join("CURRENT"), b"something else").unwrap()),
        ("truncated table", |index| truncate(&newest(index, is_table))),
        ("missing table", |index| fs::remove_file(newest(index, is_table)).unwrap()),
        ("a file in its place", |index| {
            fs::remove_dir_all(index).unwrap();
            fs::write(index, b"?").unwrap();
        }),
        ("another program's database", |index| {
            fs::remove_dir_all(index).unwrap();
            let mut options = rocksdb::Options::default();
            options.create_if_missing(true);
            options.create_missing_column_families(true);
            rocksdb::DB::open_cf(&options, index, ["theirs"]).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let rig = filled();
        let Rig { dir, store, now_ms } = rig;
        store.close();
        drop(store);
        damage(&dir.path().join("index"));
        let store = open(dir.path(), &now_ms, 100 * MIB);
        let rig = Rig { dir, now_ms, store };
        assert_eq!(rig.store.stats().resets, 1, "{name}");
        assert_eq!((rig.store.stats().disk_objects, rig.store.stats().disk_bytes), (0, 0), "{name}");
        assert_eq!(rig.store.cursor(REPO), ChangeId::ZERO, "{name}");
        assert!(rig.disk(ZIP).is_none(), "{name}");
        rig.store.reclaim().unwrap();
        assert_eq!(rig.files(), 0, "{name}");
        rig.commit(ZIP, b"zip").unwrap();
        let rig = rig.reopened();
        assert_eq!((rig.disk(ZIP).unwrap().0, rig.store.stats().resets), (b"zip".to_vec(), 0), "{name}");
        assert_eq!(aside(rig.dir.path()), 1, "{name}");
    }
}

fn aside(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with("index.damaged-")).count()
}

#[test]
fn an_index_that_another_process_has_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let held = Cache::open(config(dir.path(), MIB)).unwrap();
    assert!(matches!(Cache::open(config(dir.path(), MIB)), Err(CacheError::Open { .. })));
    assert_eq!(aside(dir.path()), 0);
    drop(held);
}

/// A block in the middle of a table is garbled while the cache runs; a scan comes upon it.
#[test]
fn an_index_that_goes_bad_while_it_runs_is_started_over() {
    let rig = filled();
    rig.disk(ZIP).unwrap();
    let index = rig.dir.path().join("index");
    for file in fs::read_dir(&index).unwrap().map(|file| file.unwrap().path()) {
        if is_table(&file) {
            let mut bytes = fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[..middle].fill(0x5a);
            fs::write(&file, bytes).unwrap();
        }
    }
    let everywhere = rig.store.index.scan(Family::Bodies, b"").find_map(Result::err);
    assert!(matches!(everywhere, Some(CacheError::Damaged(_))), "{everywhere:?}");
    rig.store.sweep().unwrap();
    let stats = rig.store.stats();
    assert_eq!((stats.resets, stats.disk_objects, stats.disk_bytes, rig.files()), (1, 0, 0, 0));
    assert_eq!(rig.store.cursor(REPO), ChangeId::ZERO);
    // Memory goes with it: which changes it knows of is not known.
    assert!(rig.memory(ZIP).is_none() && rig.disk(ZIP).is_none());
    rig.commit(ZIP, b"zip").unwrap();
    rig.apply(&[created(1, "v1.1.0")]);
    let rig = rig.reopened();
    assert_eq!((rig.disk(ZIP).unwrap().0, rig.store.cursor(REPO)), (b"zip".to_vec(), id(1)));
}
