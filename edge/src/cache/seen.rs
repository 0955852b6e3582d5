//! Which buckets of the center's manifest were compared, and how they and their parts stood then. It lies beside what was compared,
//! so an edge that is restored from an old image knows as little as the image.
//!
//! A bucket counts as compared until a change of a version in it is applied, and so does its part: should the next change be missed,
//! their digests may be again what they were. The other parts of the bucket need not be read again.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use shared::change::ChangeId;
use shared::digest::Digest;
use shared::manifest::place_of;

use super::CacheError;
use super::index::{Batch, Family, Index};
use super::store::Store;

const PREFIX: &[u8] = b"seen\0";

/// Where in the manifest a run of changes changed versions.
#[derive(Debug, Default)]
pub(super) struct Reach {
    everywhere: bool,
    places: BTreeSet<(u8, u8)>,
}

impl Reach {
    pub(super) fn add(&mut self, module: &str) {
        self.places.insert(place_of(module));
    }

    pub(super) const fn add_all(&mut self) {
        self.everywhere = true;
    }

    /// What it reached no longer counts as compared.
    pub(super) fn forget(&self, batch: &mut Batch<'_>, index: &Index, repo: &str) -> Result<(), CacheError> {
        if self.everywhere {
            for row in index.scan(Family::State, &prefix(repo)) {
                batch.delete(Family::State, &row?.0);
            }
        }
        for (bucket, part) in &self.places {
            batch.delete(Family::State, &key(repo, *bucket));
            batch.delete(Family::State, &part_key(repo, *bucket, *part));
        }
        Ok(())
    }
}

/// The last changes that were applied since the start.
#[derive(Default)]
pub(super) struct Moved(Mutex<Last>);

#[derive(Default)]
struct Last {
    /// That reached everything.
    everywhere: ChangeId,
    /// In each part.
    places: BTreeMap<(u8, u8), ChangeId>,
}

impl Moved {
    pub(super) fn note(&self, reach: Reach, id: ChangeId) {
        let mut last = self.0.lock();
        if reach.everywhere {
            last.everywhere = id;
        }
        last.places.extend(reach.places.into_iter().map(|place| (place, id)));
    }

    /// The parts of a bucket in which something moved since `as_of`; none if everything did.
    fn since(&self, bucket: u8, as_of: ChangeId) -> Option<BTreeSet<u8>> {
        let last = self.0.lock();
        let parts = last.places.range((bucket, 0)..=(bucket, u8::MAX)).filter(|(_, id)| **id > as_of);
        (last.everywhere <= as_of).then(|| parts.map(|((_, part), _)| *part).collect())
    }
}

fn prefix(repo: &str) -> Vec<u8> {
    [PREFIX, repo.as_bytes(), &[0]].concat()
}

fn key(repo: &str, bucket: u8) -> Vec<u8> {
    [&prefix(repo), [bucket].as_slice()].concat()
}

fn part_key(repo: &str, bucket: u8, part: u8) -> Vec<u8> {
    [&prefix(repo), [bucket, part].as_slice()].concat()
}

fn digest_in(value: &[u8]) -> Option<Digest> {
    Some(Digest::from_bytes(value.try_into().ok()?))
}

impl Store {
    /// How each bucket stood when it was compared; none where it must be compared again.
    pub(super) fn seen(&self, repo: &str) -> Result<Vec<Option<Digest>>, CacheError> {
        let digest = |bucket: u8| {
            let value = self.index.get(Family::State, &key(repo, bucket))?;
            Ok(value.and_then(|value| digest_in(&value)))
        };
        (0..=u8::MAX).map(digest).collect()
    }

    /// How the parts of a bucket stood when they were compared, those that must be compared again left out.
    pub(super) fn seen_parts(&self, repo: &str, bucket: usize) -> Result<BTreeMap<u8, Digest>, CacheError> {
        let Ok(bucket) = u8::try_from(bucket) else { return Ok(BTreeMap::new()) };
        let place = key(repo, bucket);
        let mut parts = BTreeMap::new();
        for row in self.index.scan(Family::State, &place) {
            let (key, value) = row?;
            // The bucket's own row has no part behind it.
            if let ([part], Some(digest)) = (&key[place.len()..], digest_in(&value)) {
                parts.insert(*part, digest);
            }
        }
        Ok(parts)
    }

    /// Notes that a bucket, which was asked for when `as_of` was the cursor, was compared, and how these of its parts stood.
    pub(super) fn note_seen(
        &self,
        repo: &str,
        (bucket, digest): (usize, &Digest),
        parts: &BTreeMap<u8, Digest>,
        as_of: ChangeId,
    ) -> Result<(), CacheError> {
        let Ok(bucket) = u8::try_from(bucket) else { return Ok(()) };
        let _writer = self.lock_writer();
        let Some(moved) = self.moved.since(bucket, as_of) else { return Ok(()) };
        let mut batch = self.index.batch();
        if moved.is_empty() {
            batch.put(Family::State, &key(repo, bucket), digest.as_bytes());
        }
        for (part, digest) in parts.iter().filter(|(part, _)| !moved.contains(part)) {
            batch.put(Family::State, &part_key(repo, bucket, *part), digest.as_bytes());
        }
        batch.write()
    }
}
