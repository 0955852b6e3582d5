//! Scans, pages, and opening: anew, by one process only, after damage.

use super::*;

#[test]
fn a_scan_ends_with_its_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path()).unwrap().0;
    let mut batch = index.batch();
    for key in [&b"a"[..], b"a\0", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff1"] {
        batch.put(Family::State, key, key);
    }
    batch.write().unwrap();
    let below =
        |prefix: &[u8]| index.scan(Family::State, prefix).map(|row| row.unwrap().0.to_vec()).collect::<Vec<_>>();
    assert_eq!(below(b"a\xff"), [&b"a\xff"[..], b"a\xff\xff"]);
    assert_eq!(below(b"a").len(), 4);
    assert_eq!(below(b"\xff").len(), 2);
    assert_eq!(below(b"").len(), 7);
    assert!(index.scan(Family::Refs, b"").next().is_none());
}

#[test]
fn a_scan_goes_on_after_its_page() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path()).unwrap().0;
    for count in [PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1, 3 * PAGE_ROWS] {
        let mut batch = index.batch();
        (0..count).for_each(|i| batch.put(Family::Uses, format!("{i:06}").as_bytes(), b""));
        batch.write().unwrap();
        let keys: Vec<_> = index.scan(Family::Uses, b"").map(|row| row.unwrap().0).collect();
        assert_eq!(keys.len(), count);
        assert!(keys.is_sorted());
    }
}

#[test]
fn it_can_be_opened_anew_under_its_readers() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path()).unwrap().0;
    let mut batch = index.batch();
    (0..1000_u32).for_each(|i| batch.put(Family::Uses, &i.to_be_bytes(), b"x"));
    batch.write().unwrap();
    let mut scan = index.scan(Family::Uses, b"");
    scan.next().unwrap().unwrap();
    let batch = index.batch();
    index.reopen().unwrap();
    assert_eq!(scan.count(), 999);
    batch.write().unwrap();
    assert_eq!(index.get(Family::Uses, &7_u32.to_be_bytes()).unwrap().as_deref(), Some(&b"x"[..]));
}

#[test]
fn a_blob_reads_back() {
    let blob = Blob { in_file: true, len: 70_000 };
    assert_eq!(Blob::decode(&blob.encode()), Some(blob));
    assert_eq!(Blob::decode(b"\x01"), None);
    assert_eq!((blob.cost(), Blob { in_file: false, len: 3 }.cost()), (73_728 + 512, 515));
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let _held = Index::open(dir.path()).unwrap().0;
    assert!(matches!(Index::open(dir.path()), Err(CacheError::Open { .. })));
}
