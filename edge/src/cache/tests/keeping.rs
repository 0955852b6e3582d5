//! What is kept, how it is read back, and what happens to what was damaged.

use std::fs;
use std::time::Duration;

use shared::change::ChangeId;
use shared::digest::Digest;

use super::super::{Cache, CacheError, Status};
use super::*;

/// A body in the index, one in a file that memory takes, one that it does not.
const SIZES: [usize; 5] = [0, 200, 32 * 1024, 40_000, 1_200_000];

fn path(size: usize) -> String {
    format!("example.com/m{size}/@v/v1.0.0.zip")
}

#[test]
fn bodies_of_all_sizes_are_read_back_also_after_a_restart() {
    let mut rig = Rig::new();
    for size in SIZES {
        let entry = rig.commit(&path(size), &body(7, size)).unwrap();
        assert_eq!((read(&entry), entry.status), (body(7, size), Status::Found), "{size}");
    }
    assert_eq!(rig.spool_files(), 0);
    assert_eq!(rig.files(), 2);
    let before = rig.store.stats();
    for _ in 0..2 {
        for size in SIZES {
            assert_eq!(rig.disk(&path(size)), Some((body(7, size), Freshness::Fresh)), "{size}");
            let in_memory = (size < 1_000_000).then(|| (body(7, size), Freshness::Fresh));
            assert_eq!(rig.memory(&path(size)), in_memory, "{size}");
        }
        rig = rig.reopened();
        assert_eq!(rig.store.stats().disk_bytes, before.disk_bytes);
        assert_eq!(rig.store.stats().disk_objects, SIZES.len() as u64);
    }
}

#[test]
fn metadata_is_read_back() {
    let rig = Rig::new();
    let id = ChangeId { epoch: 9, seq: 3 };
    let ticket = rig.store.ticket(&key(LIST));
    let given = Meta { change_id: Some(id), private: true, ..meta(b"v1.0.0\n") };
    rig.store.commit(&ticket, given.clone(), rig.spooled(b"v1.0.0\n")).unwrap();
    let rig = rig.reopened();
    rig.pass(Duration::from_secs(7));
    let (entry, _) = rig.store.disk(&key(LIST)).unwrap().unwrap();
    assert_eq!(*entry.meta, Meta { stored_at_ms: START_MS, ..given });
    assert_eq!(rig.store.age(&entry.meta), Duration::from_secs(7));
}

#[test]
fn what_memory_keeps_of_a_fill_does_not_keep_the_fills_buffer() {
    let rig = Rig::new();
    let buffer = Bytes::from(body(1, 16 * 1024));
    let small = buffer.slice(100..300);
    let ticket = rig.store.ticket(&key(ZIP));
    rig.store.commit(&ticket, meta(&small), Spooled::Memory(small.clone())).unwrap();
    drop(small);
    assert_eq!(rig.memory(ZIP).unwrap().0, buffer[100..300]);
    assert!(buffer.is_unique());
}

#[test]
fn equal_bytes_are_stored_once() {
    let rig = Rig::new();
    for size in [500, 100_000] {
        let bytes = body(1, size);
        rig.commit("example.com/a/@v/v1.0.0.zip", &bytes).ok();
        rig.commit(&format!("example.com/x{size}/@v/v1.0.0.zip"), &bytes).unwrap();
        rig.commit(&format!("example.com/y{size}/@v/v1.0.0.zip"), &bytes).unwrap();
    }
    assert_eq!(rig.store.stats().disk_objects, 2);
    assert_eq!(rig.files(), 1);
    // The last one that needs the bytes takes them with it.
    for (module, files) in [("example.com/x100000", 1), ("example.com/y100000", 0)] {
        rig.store.purge(Some(&module.parse().unwrap())).unwrap();
        assert_eq!(rig.files(), files, "{module}");
    }
    assert_eq!(rig.store.stats().disk_objects, 1);
}

#[test]
fn the_first_bytes_of_a_version_stay() {
    let rig = Rig::new();
    rig.commit(ZIP, b"first").unwrap();
    let second = rig.commit(ZIP, b"second");
    let (held, offered) = (Digest::of(b"first"), Digest::of(b"second"));
    assert!(matches!(second, Err(CommitError::Conflict { held: h, offered: o }) if h == held && o == offered));
    assert!(rig.store.trouble().is_none());
    let large = rig.commit(ZIP, &body(1, 100_000));
    assert!(matches!(large, Err(CommitError::Conflict { .. })));
    assert_eq!((rig.files(), rig.spool_files()), (0, 0));
    assert_eq!(rig.disk(ZIP).unwrap().0, b"first");
    rig.commit(ZIP, b"first").unwrap();
    rig.commit(LIST, b"v1.0.0\n").unwrap();
    rig.commit(LIST, b"v1.0.0\nv1.1.0\n").unwrap();
    assert_eq!(rig.disk(LIST).unwrap().0, b"v1.0.0\nv1.1.0\n");
    assert_eq!(rig.store.stats().disk_objects, 2);
}

#[test]
fn a_body_that_is_not_what_its_meta_says_is_refused() {
    let rig = Rig::new();
    let ticket = rig.store.ticket(&key(ZIP));
    let refused = rig.store.commit(&ticket, meta(b"one"), rig.spooled(b"other"));
    assert!(matches!(refused, Err(CommitError::Storage(_))));
    let bytes = body(1, 100_000);
    let Spooled::File { path, file, digest, .. } = rig.spooled(&bytes) else { unreachable!() };
    file.set_len(99_999).unwrap();
    let short = Spooled::File { path, file, len: 100_000, digest };
    assert!(matches!(rig.store.commit(&ticket, meta(&bytes), short), Err(CommitError::Storage(_))));
    assert!(rig.disk(ZIP).is_none());
    assert_eq!((rig.files(), rig.spool_files()), (0, 0));
}

#[test]
fn a_start_removes_what_an_interrupted_fill_left() {
    let rig = Rig::new();
    rig.commit(ZIP, &body(1, 100_000)).unwrap();
    // Stopped while it spooled; stopped between the rename and the row; something else entirely.
    fs::write(rig.store.spool_dir().join("fill-abc"), b"half").unwrap();
    let orphan = rig.store.files.sync(rig.spooled(&body(2, 100_000))).unwrap();
    rig.store.files.place(&Digest::of(&body(2, 100_000)), orphan).unwrap();
    fs::write(rig.store.files.path(&Digest::of(&body(1, 100_000))).with_file_name("x"), b"?").unwrap();
    let rig = rig.reopened();
    assert_eq!(rig.spool_files(), 0);
    rig.store.reclaim().unwrap();
    assert_eq!(rig.files(), 1);
    assert_eq!(rig.disk(ZIP).unwrap().0, body(1, 100_000));
}

#[test]
fn the_real_cache_sweeps_in_the_background_and_closes() {
    let rig = Rig::new();
    rig.commit(ZIP, &body(1, 100_000)).unwrap();
    let orphan = rig.store.files.sync(rig.spooled(&body(2, 100_000))).unwrap();
    rig.store.files.place(&Digest::of(&body(2, 100_000)), orphan).unwrap();
    let orphan = rig.store.files.path(&Digest::of(&body(2, 100_000)));
    let Rig { dir, store, .. } = rig;
    drop(store);
    let cache = Cache::open(config(dir.path(), 100 * MIB)).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while orphan.exists() {
        assert!(std::time::Instant::now() < deadline, "the orphan stays");
        std::thread::yield_now();
    }
    assert_eq!(read(&cache.disk(&key(ZIP)).unwrap().unwrap().0), body(1, 100_000));
    let second = Cache::open(config(dir.path(), 100 * MIB));
    assert!(matches!(second, Err(CacheError::Open { .. })));
    drop(cache);
    Cache::open(config(dir.path(), 100 * MIB)).unwrap();
}

#[test]
fn a_closed_cache_lets_another_open_it_and_what_was_given_out_stays_usable() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 100 * MIB)).unwrap();
    let (small, large) = (body(1, 300), body(2, 2_000_000));
    let commit = |cache: &Cache, path: &str, bytes: &[u8]| {
        cache.commit(cache.ticket(&key(path)), meta(bytes), Spooled::Memory(Bytes::copy_from_slice(bytes)))
    };
    commit(&cache, ZIP, &small).unwrap();
    let running = commit(&cache, "example.com/b/@v/v1.0.0.zip", &large).unwrap();
    let late = cache.ticket(&key("example.com/c/@v/v1.0.0.zip"));
    cache.close();
    cache.close();
    let next = Cache::open(config(dir.path(), 100 * MIB)).unwrap();
    assert_eq!(read(&running), large);
    assert_eq!(read(&cache.memory(&key(ZIP)).unwrap().0), small);
    assert_eq!(read(&cache.disk(&key(ZIP)).unwrap().unwrap().0), small);
    assert!(cache.disk(&key("example.com/b/@v/v1.0.0.zip")).is_err());
    let refused = cache.commit(late, meta(&large), Spooled::Memory(Bytes::from(large.clone())));
    assert!(matches!(refused, Err(CommitError::Storage(_))));
    assert!(cache.apply(REPO, &[created(1, "v1.0.0")]).is_err());
    // It is no trouble of the disk.
    assert_eq!(cache.disk_trouble(), None);
    assert_eq!(cache.cursor(REPO), ChangeId::ZERO);
    for (path, bytes) in [(ZIP, &small), ("example.com/b/@v/v1.0.0.zip", &large)] {
        assert_eq!(&read(&next.disk(&key(path)).unwrap().unwrap().0), bytes);
    }
    assert!(cache.resume().is_err(), "the other one has it");
    commit(&next, "example.com/c/@v/v1.0.0.zip", &large).unwrap();
    drop(next);
    cache.resume().unwrap();
    assert_eq!(read(&cache.disk(&key("example.com/c/@v/v1.0.0.zip")).unwrap().unwrap().0), large);
    commit(&cache, "example.com/d/@v/v1.0.0.zip", &small).unwrap();
    cache.close();
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = Cache::open(config(&dir.path().join("file"), MIB)).unwrap_err().to_string();
    assert!(error.contains("file") && error.contains("writable") && !error.contains('\n'), "{error}");
}

#[test]
fn a_disk_that_fails_leaves_what_is_held_and_is_known_until_it_works() {
    let rig = Rig::new();
    rig.commit(ZIP, b"held").unwrap();
    // A directory in the place of the file: renaming onto it fails, whoever runs the test.
    let bytes = body(1, 100_000);
    let target = rig.store.files.path(&Digest::of(&bytes));
    fs::create_dir_all(target.join("in the way")).unwrap();
    let failed = rig.commit("example.com/b/@v/v1.0.0.zip", &bytes);
    assert!(matches!(failed, Err(CommitError::Storage(_))));
    assert!(rig.store.trouble().is_some());
    assert_eq!(rig.memory(ZIP).unwrap().0, b"held");
    assert_eq!(rig.disk(ZIP).unwrap().0, b"held");
    assert_eq!(rig.spool_files(), 0);
    fs::remove_dir_all(&target).unwrap();
    // The sweep finds out by itself; so does the next write.
    rig.store.sweep().unwrap();
    assert!(rig.store.trouble().is_none());
    rig.commit("example.com/b/@v/v1.0.0.zip", &bytes).unwrap();
    assert_eq!(rig.disk("example.com/b/@v/v1.0.0.zip").unwrap().0, bytes);
}
