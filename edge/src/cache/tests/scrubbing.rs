//! The scrub: what went bad on the disk goes, and nothing else.

use std::fs;
use std::time::Instant;

use shared::digest::Digest;

use super::super::Cache;
use super::super::index::{Family, ref_key};
use super::*;

const OTHER_ZIP: &str = "example.com/b/@v/v1.0.0.zip";

/// Turns a bit of a file over without a trace: the time of its last change stays.
fn rot(file: &Path) {
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(file, bytes).unwrap();
    fs::File::options().write(true).open(file).unwrap().set_modified(modified).unwrap();
}

#[test]
fn what_is_right_stays() {
    let rig = Rig::new();
    let bodies = [("m1", 100), ("m2", 40_000), ("m3", 2_000_000)];
    for (module, len) in bodies {
        rig.commit(&format!("example.com/{module}/@v/v1.0.0.zip"), &body(1, len)).unwrap();
    }
    let before = rig.store.stats();
    rig.store.scrub_everything().unwrap();
    let after = rig.store.stats();
    assert_eq!((after.damaged, after.disk_objects, after.disk_bytes), (0, before.disk_objects, before.disk_bytes));
    assert!(after.scrubbed_bytes >= 2_040_100, "{after:?}");
}

#[test]
fn a_file_that_rots_is_found_with_all_that_need_it_and_filled_again() {
    // One that memory takes and one that is given out as a file, which is hashed once and then known.
    for len in [100_000, 2_000_000] {
        let rig = Rig::new();
        let bytes = body(1, len);
        rig.commit(ZIP, &bytes).unwrap();
        rig.commit(OTHER_ZIP, &bytes).unwrap();
        rig.commit(LIST, b"v1.0.0\n").unwrap();
        rot(&rig.store.files.path(&Digest::of(&bytes)));
        rig.store.scrub_everything().unwrap();
        assert_eq!((rig.store.stats().damaged, rig.files()), (2, 0), "{len}");
        assert_eq!(rig.store.stats().disk_objects, 1, "{len}: the list stays");
        let rig = rig.reopened();
        assert_eq!((rig.disk(ZIP), rig.disk(OTHER_ZIP)), (None, None), "{len}");
        rig.commit(ZIP, &bytes).unwrap();
        rig.store.scrub_everything().unwrap();
        assert_eq!((rig.disk(ZIP).unwrap().0, rig.store.stats().damaged), (bytes, 0), "{len}");
    }
}

#[test]
fn rows_that_went_bad_are_found() {
    let rig = Rig::new();
    rig.commit(ZIP, b"small").unwrap();
    rig.commit(OTHER_ZIP, b"other").unwrap();
    rig.commit(LIST, b"v1.0.0\n").unwrap();
    let mut batch = rig.store.index.batch();
    batch.put(Family::Bodies, Digest::of(b"small").as_bytes(), b"smalL");
    batch.put(Family::Entries, key(OTHER_ZIP).bytes(), b"no row");
    batch.delete(Family::Blobs, Digest::of(b"v1.0.0\n").as_bytes());
    batch.write().unwrap();
    rig.store.scrub_everything().unwrap();
    assert_eq!(rig.store.stats().damaged, 3);
    for path in [ZIP, OTHER_ZIP, LIST] {
        assert!(rig.store.index.get(Family::Entries, key(path).bytes()).unwrap().is_none(), "{path}");
        rig.commit(path, b"again").unwrap();
        assert_eq!(rig.disk(path).unwrap().0, b"again", "{path}");
    }
    let gone = ref_key(&Digest::of(b"small"), key(ZIP).bytes());
    assert!(rig.store.index.get(Family::Refs, &gone).unwrap().is_none());
}

/// Waits until the cache says so.
fn until(cache: &Cache, what: &str, holds: impl Fn(&super::super::Stats) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds(&cache.stats()) {
        assert!(Instant::now() < deadline, "{what}: {:?}", cache.stats());
        std::thread::yield_now();
    }
}

#[test]
fn it_goes_on_where_it_was_at_the_pace_that_is_set() {
    let rig = Rig::new();
    for seed in 0..40 {
        rig.commit(&format!("example.com/m{seed}/@v/v1.0.0.zip"), &body(seed, 50_000)).unwrap();
    }
    let digests: Vec<Digest> = (0..40).map(|seed| Digest::of(&body(seed, 50_000))).collect();
    let last = digests.iter().max_by_key(|digest| *digest.as_bytes()).unwrap();
    rot(&rig.store.files.path(last));
    let Rig { dir, store, .. } = rig;
    store.close();
    drop(store);
    let open =
        |rate| Cache::open(CacheConfig { scrub_bytes_per_second: rate, ..config(dir.path(), 100 * MIB) }).unwrap();
    // Each time another part, at a pace at which all of it would take some seconds.
    let mut read = 0;
    for _ in 0..3 {
        let began = Instant::now();
        let cache = open(500_000);
        until(&cache, "a body is read", |stats| stats.scrubbed_bytes > 50_000);
        cache.close();
        let stats = cache.stats();
        read += stats.scrubbed_bytes;
        let most = 500_000.0 * began.elapsed().as_secs_f64() + 300_000.0;
        assert!((stats.scrubbed_bytes as f64) < most, "{stats:?} after {:?}", began.elapsed());
    }
    let cache = open(1 << 30);
    until(&cache, "the last body is found damaged", |stats| stats.damaged == 1);
    assert!(cache.stats().scrubbed_bytes + read < 2_500_000, "little is read twice: {read} {:?}", cache.stats());
    until(&cache, "the walk ends", |stats| stats.scrubs == 1);
    assert_eq!(cache.stats().disk_objects, 39);
}

#[test]
fn it_can_be_switched_off_and_on() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(config(dir.path(), 100 * MIB)).unwrap();
    assert_eq!(cache.stats().scrubs, 0);
    cache.reconfigure(&CacheConfig { scrub_bytes_per_second: MIB, ..config(dir.path(), 100 * MIB) });
    until(&cache, "an empty cache is read at once", |stats| stats.scrubs == 1);
}
