//! Bodies: each once, whole or in part, from memory or from a file, healed where one was lost.

use bytes::Bytes;
use futures_util::StreamExt as _;
use shared::digest::Digest;

use crate::store::blob::BlobRef;
use crate::store::engine::Batch;
use crate::store::{NewBody, Store, Stored, family};

pub(super) async fn suite(store: &Store) {
    small_bodies_stand_beside_the_metadata(store).await;
    large_bodies_are_read_whole_and_in_part(store).await;
    what_is_missing_is_said_to_be(store).await;
    clients_get_small_bodies_as_they_were_or_not_at_all(store).await;
}

async fn small_bodies_stand_beside_the_metadata(store: &Store) {
    let body = Bytes::from_static(b"module example.com/a\n");
    let placed = store.place(NewBody::Memory(body.clone()), 7).await.unwrap();
    assert!(placed.small.is_some() && placed.stored.is_small());
    assert_eq!(store.load(&placed.stored).await.unwrap(), None, "it is kept by the commit that refers to it");
    let logs: [String; 0] = [];
    let subject = crate::store::Subject { repository: "r", logs: &logs, module: "example.com/a" };
    let write = |draft: &mut crate::store::Draft| {
        draft.record.gomod = Some(placed.stored);
        Ok::<_, crate::store::StoreError>(crate::store::Decision::Write)
    };
    store.commit_version(subject, "v1.0.0", std::slice::from_ref(&placed), write).await.unwrap();
    assert_eq!(store.load(&placed.stored).await.unwrap(), Some(body));
}

async fn large_bodies_are_read_whole_and_in_part(store: &Store) {
    // From a file, of more than one part of an upload; and from memory.
    for (len, in_file) in [(17_u32 << 20, true), (100_000, false), (100_000, true)] {
        let body: Bytes = (0..len / 4).flat_map(u32::to_le_bytes).collect::<Vec<_>>().into();
        let digest = Digest::of(&body);
        let path = store.spool_dir().join("upload");
        let new = if in_file {
            std::fs::write(&path, &body).unwrap();
            NewBody::File { path, len: body.len() as u64, digest }
        } else {
            NewBody::Memory(body.clone())
        };
        let placed = store.place(new.clone(), 1).await.unwrap();
        let again = store.place(new, 2).await.unwrap();
        assert!(placed.small.is_none() && placed.stored.digest == digest && again.stored.digest == digest);
        let blob = placed.stored.blob();
        let end = body.len();
        for range in [0..end, 4..end - 3, end - 1..end, 70_000..70_001, 5..5] {
            let part = read(store, &blob, range.start as u64..range.end as u64).await;
            assert!(part == body[range.clone()], "{range:?} of {len}");
        }
        assert!(store.load(&placed.stored).await.unwrap().unwrap() == body);
    }
}

async fn what_is_missing_is_said_to_be(store: &Store) {
    let stored = Stored { digest: Digest::of(b"nowhere"), len: 50_000, modified_ms: 0, generation: 0 };
    assert!(!store.blobs().contains(&stored.blob()).await.unwrap());
    assert_eq!(store.load(&stored).await.unwrap(), None);
    assert!(store.blobs().read(&stored.blob(), 0..10).await.is_err());
    let placed = store.place(NewBody::Memory(vec![9; 40_000].into()), 1).await.unwrap();
    let longer = BlobRef { len: 40_001, ..placed.stored.blob() };
    assert!(!store.blobs().contains(&longer).await.unwrap());
    assert!(store.blobs().read(&longer, 0..10).await.is_err(), "one of another length is not the one that is meant");
}

async fn clients_get_small_bodies_as_they_were_or_not_at_all(store: &Store) {
    let (body, damaged) = (Bytes::from_static(b"a body"), Bytes::from_static(b"no body"));
    let digest = Digest::of(&body);
    let put = async |bytes: &Bytes| {
        store.inner.engine.put(family::SMALL, digest.hex().as_bytes(), bytes.clone(), true).await.unwrap();
    };
    assert_eq!(store.small_for_client(&digest).await.unwrap(), None);
    put(&damaged).await;
    assert_eq!(store.small_for_client(&digest).await.unwrap(), None, "it is not what was asked for");
    put(&body).await;
    assert_eq!(store.small_for_client(&digest).await.unwrap().as_ref(), Some(&body));
    put(&damaged).await;
    assert_eq!(store.small_for_client(&digest).await.unwrap().as_ref(), Some(&body), "out of memory");
    assert_eq!(store.small(&digest).await.unwrap(), Some(damaged), "whoever verifies sees what is kept");
    let delete = vec![(family::SMALL, digest.hex().into_bytes())];
    let mut batch = Some(Batch { deletes: delete, ..Batch::default() });
    store.inner.engine.commit(&[], None, &mut |_| Ok(batch.take())).await.unwrap();
}

async fn read(store: &Store, blob: &BlobRef, range: std::ops::Range<u64>) -> Vec<u8> {
    let mut stream = store.blobs().read(blob, range).await.unwrap();
    let mut read = Vec::new();
    while let Some(part) = stream.next().await {
        read.extend_from_slice(&part.unwrap());
    }
    read
}
