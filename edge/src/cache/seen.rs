//! Which buckets of the center's manifest were compared, and how they stood then. It lies beside what was compared, so an edge
//! that is restored from an old image knows as little as the image.
//!
//! A bucket counts as compared until a change of a version in it is applied: should the next one be missed, its digest may be
//! again what it was.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use shared::change::ChangeId;
use shared::digest::Digest;

use super::CacheError;
use super::index::{Batch, Family};
use super::store::Store;

const PREFIX: &[u8] = b"seen\0";

/// By bucket, the last change that was applied in it since the start.
#[derive(Default)]
pub(super) struct Moved(Mutex<BTreeMap<u8, ChangeId>>);

impl Moved {
    pub(super) fn note(&self, buckets: impl IntoIterator<Item = u8>, id: ChangeId) {
        let mut moved = self.0.lock();
        for bucket in buckets {
            moved.insert(bucket, id);
        }
    }

    fn since(&self, bucket: u8, as_of: ChangeId) -> bool {
        self.0.lock().get(&bucket).is_some_and(|moved| *moved > as_of)
    }
}

/// The bucket of a module.
pub(super) fn bucket_of(module: &str) -> u8 {
    Digest::of(module.as_bytes()).as_bytes()[0]
}

/// The bucket no longer counts as compared.
pub(super) fn forget(batch: &mut Batch<'_>, repo: &str, bucket: u8) {
    batch.delete(Family::State, &key(repo, bucket));
}

fn key(repo: &str, bucket: u8) -> Vec<u8> {
    [PREFIX, repo.as_bytes(), &[0, bucket]].concat()
}

impl Store {
    /// How each bucket stood when it was compared; none where it must be compared again.
    pub(super) fn seen(&self, repo: &str) -> Result<Vec<Option<Digest>>, CacheError> {
        let digest = |bucket: u8| {
            let value = self.index.get(Family::State, &key(repo, bucket))?;
            Ok(value.and_then(|value| Some(Digest::from_bytes(value.try_into().ok()?))))
        };
        (0..=u8::MAX).map(digest).collect()
    }

    /// Notes that a bucket, which was asked for when `as_of` was the cursor, was compared.
    pub(super) fn note_seen(
        &self,
        repo: &str,
        bucket: usize,
        digest: &Digest,
        as_of: ChangeId,
    ) -> Result<(), CacheError> {
        let Ok(bucket) = u8::try_from(bucket) else { return Ok(()) };
        let _writer = self.lock_writer();
        if self.moved.since(bucket, as_of) {
            return Ok(());
        }
        let mut batch = self.index.batch();
        batch.put(Family::State, &key(repo, bucket), digest.as_bytes());
        batch.write()
    }
}
