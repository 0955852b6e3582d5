//! Bodies in a directory: whole, in part, damaged, left over.

use super::*;
use crate::store::StoreConfig;

fn open(directory: &Path) -> Store {
    Store::open(&StoreConfig::new(directory.to_owned())).unwrap()
}

#[tokio::test]
async fn a_large_body_is_one_file_and_reads_by_range() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let body: Bytes = (0..100_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>().into();
    let first = store.place(NewBody::Memory(body.clone()), 1).await.unwrap();
    let path = directory.path().join("spool/upload");
    std::fs::write(&path, &body).unwrap();
    let file = NewBody::File { path, len: body.len() as u64, digest: Digest::of(&body) };
    let second = store.place(file, 2).await.unwrap();
    assert_eq!(first.stored.digest, second.stored.digest);
    assert!(first.small.is_none());
    let blob = first.stored.blob();
    let mut read = Vec::new();
    let mut stream = store.blobs().read(&blob, 4..300_004).await.unwrap();
    while let Some(part) = stream.next().await {
        read.extend_from_slice(&part.unwrap());
    }
    assert_eq!(read, body[4..300_004]);
    let hex = blob.digest.hex();
    let directory = directory.path().join("blobs").join(&hex[..2]);
    assert_eq!(std::fs::read_dir(directory).unwrap().count(), 1);
}

#[tokio::test]
async fn a_truncated_or_missing_blob_is_not_served() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let placed = store.place(NewBody::Memory(vec![7; 50_000].into()), 1).await.unwrap();
    let blob = placed.stored.blob();
    let hex = blob.digest.hex();
    let path = directory.path().join("blobs").join(&hex[..2]).join(&hex);
    std::fs::write(&path, vec![7; 49_999]).unwrap();
    assert!(!store.blobs().contains(&blob).await.unwrap());
    assert!(store.blobs().read(&blob, 0..10).await.is_err());
    // Placing it again heals it.
    store.place(NewBody::Memory(vec![7; 50_000].into()), 1).await.unwrap();
    assert_eq!(store.load(&placed.stored).await.unwrap().unwrap().len(), 50_000);
}

#[tokio::test]
async fn a_file_that_ends_too_soon_is_an_error_and_no_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let placed = store.place(NewBody::Memory(vec![7; 100_000].into()), 1).await.unwrap();
    let blob = placed.stored.blob();
    let opened = store.blobs().open_blob(&blob).await.unwrap().unwrap();
    let hex = blob.digest.hex();
    let path = directory.path().join("blobs").join(&hex[..2]).join(&hex);
    std::fs::File::options().write(true).open(path).unwrap().set_len(70_000).unwrap();
    let mut stream = store.blobs().read_open(opened, 10..blob.len).await.unwrap();
    let mut read = 0;
    let error = loop {
        match stream.next().await.expect("it may not end as if all were well") {
            Ok(piece) => read += piece.len(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Blob(_)) && read < 70_000, "{read}: {error}");
    assert!(stream.next().await.is_none());
}

#[test]
fn opening_removes_what_interrupted_fills_left() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let (spooled, staged) = (directory.path().join("spool/x"), directory.path().join("blobs/ab"));
    std::fs::write(&spooled, "half").unwrap();
    std::fs::create_dir_all(&staged).unwrap();
    std::fs::write(staged.join("abcd#1"), "half").unwrap();
    drop(open(directory.path()));
    assert!(!spooled.exists());
    assert!(!staged.join("abcd#1").exists());
}
