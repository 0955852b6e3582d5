//! Removing the bodies that nothing refers to: those of fills and publishes that were killed, and of records that are gone.
//!
//! A body is placed before the record that refers to it is committed, so "nothing refers to it" alone proves nothing. A collection
//! *condemns* what it finds without a reference; a later one, a grace period on, removes what is still condemned and still without
//! one. Whoever places or commits a condemned body acquits it, in the same transaction in which he commits. The grace period must be
//! longer than any commit takes from placing to the end.
//!
//! ```text
//! nothing refers to it ─▶ condemned ── a grace period later, still nothing ─▶ given up: the next one is of another generation
//!                             └─ placed or referred to ─▶ acquitted                  └─▶ its object is removed, sooner or later
//! ```
//! A removal may reach the object store at any time: after the collector was stopped for an hour, after another one took over. So an
//! object is never removed by a name that anybody may use again. The transaction that gives a body up counts its generation up, which
//! is a part of the object's name: who placed it before cannot refer to it any more, and whoever places it from then on writes another
//! object. What a killed collection left is of a past generation, and goes with the next one.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use shared::digest::Digest;

use super::blob::BlobRef;
use super::change_log::encode;
use super::engine::{Batch, Place};
use super::metadata::decode;
use super::{Placed, Store, StoreError, family, now_ms};

/// What a collection found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Collected {
    /// Bodies that something refers to.
    pub(crate) referenced: u64,
    /// Bodies that nothing refers to, condemned by this collection or by one within the grace period.
    pub(crate) condemned: u64,
    /// Bodies removed; in a dry run, those that would be.
    pub(crate) removed: u64,
    /// Their bytes, as far as they are objects of their own.
    pub(crate) removed_bytes: u64,
}

/// What was decided about a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sentence {
    /// Since when it is condemned, if it is: Unix time in milliseconds.
    since_ms: Option<u64>,
    /// How often it was given up as an object.
    #[serde(default)]
    generation: u32,
}

impl Sentence {
    fn read(place: &Place, value: Option<&Bytes>) -> Result<Self, StoreError> {
        value.map_or_else(|| Ok(Self::default()), |value| decode(&place.1, value))
    }

    /// Whether it was passed before a collection that began at a time.
    fn is_older(self, began_ms: u64) -> bool {
        self.since_ms.is_some_and(|since_ms| since_ms <= began_ms)
    }

    /// Whether a collection that began at a time may carry it out.
    fn is_due(self, began_ms: u64, grace_ms: u64) -> bool {
        self.is_older(began_ms) && now_ms().saturating_sub(self.since_ms.unwrap_or(0)) >= grace_ms
    }

    /// Writes into a batch that the body is not condemned.
    fn acquit(self, place: &Place, batch: &mut Batch) {
        match self.generation {
            0 => batch.deletes.push(place.clone()),
            _ => batch.puts.push((place.clone(), encode(&Self { since_ms: None, ..self }).into())),
        }
    }
}

/// A body that is kept.
struct Candidate {
    digest: Digest,
    /// None if it is a value among the metadata.
    object: Option<BlobRef>,
}

impl Candidate {
    fn bytes(&self) -> u64 {
        self.object.map_or(0, |blob| blob.len)
    }
}

impl Store {
    /// Collects bodies that nothing refers to. With `dry_run` nothing is changed.
    pub(crate) async fn collect(&self, grace: Duration, dry_run: bool) -> Result<Collected, StoreError> {
        self.alone("collection of bodies", self.collect_alone(grace, dry_run)).await?
    }

    async fn collect_alone(&self, grace: Duration, dry_run: bool) -> Result<Collected, StoreError> {
        // A sentence passed later is left alone: of what was acquitted before it, what is read now does not know.
        let began_ms = now_ms();
        // First what there is, then what is referred to: what came in between is referred to, or not among the candidates.
        let candidates = self.bodies().await?;
        let referenced = self.referenced().await?;
        let mut collected = Collected { referenced: referenced.len() as u64, ..Collected::default() };
        self.acquit_all(&referenced, dry_run).await?;
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        for candidate in candidates {
            let place = sentence_of(&candidate.digest);
            let value = self.inner.engine.get(place.0, &place.1).await?;
            let sentence = Sentence::read(&place, value.as_ref())?;
            let is_past = candidate.object.filter(|blob| blob.generation < sentence.generation);
            let is_removed = if let Some(blob) = is_past {
                if !dry_run {
                    self.blobs().remove(&blob).await?;
                }
                true
            } else if referenced.contains(candidate.digest.as_bytes()) {
                continue;
            } else if sentence.is_due(began_ms, grace_ms) {
                dry_run || self.give_up(&candidate, began_ms).await?
            } else {
                collected.condemned += 1;
                if !dry_run && sentence.since_ms.is_none() {
                    self.condemn(&candidate.digest, sentence).await?;
                }
                false
            };
            if is_removed {
                collected.removed += 1;
                collected.removed_bytes += candidate.bytes();
            }
        }
        Ok(collected)
    }

    /// All bodies that are kept.
    async fn bodies(&self) -> Result<Vec<Candidate>, StoreError> {
        let objects = self.blobs().list().try_collect::<Vec<_>>().await?;
        let mut bodies: Vec<Candidate> =
            objects.into_iter().map(|blob| Candidate { digest: blob.digest, object: Some(blob) }).collect();
        self.each_key(family::SMALL, |digest| bodies.push(Candidate { digest, object: None })).await?;
        Ok(bodies)
    }

    /// Ends the sentences of what is referred to.
    async fn acquit_all(&self, referenced: &HashSet<[u8; 32]>, dry_run: bool) -> Result<(), StoreError> {
        let mut wrongly = Vec::new();
        self.each_key(family::CONDEMNED, |digest| {
            if referenced.contains(digest.as_bytes()) {
                wrongly.push(digest);
            }
        })
        .await?;
        for digest in wrongly.iter().filter(|_| !dry_run) {
            self.acquit(digest).await?;
        }
        Ok(())
    }

    /// Condemns a body about which nothing else was decided since.
    async fn condemn(&self, digest: &Digest, known: Sentence) -> Result<(), StoreError> {
        let place = sentence_of(digest);
        let mut condemn = |found: Vec<Option<Bytes>>| {
            let is_known = Sentence::read(&place, found.first().and_then(Option::as_ref))? == known;
            let sentence = Sentence { since_ms: Some(now_ms()), ..known };
            let puts = vec![(place.clone(), encode(&sentence).into())];
            Ok(is_known.then(|| Batch { puts, ..Batch::default() }))
        };
        self.inner.engine.commit(std::slice::from_ref(&place), None, &mut condemn).await
    }

    /// Removes a body, unless it was acquitted meanwhile, be it condemned anew since.
    async fn give_up(&self, candidate: &Candidate, began_ms: u64) -> Result<bool, StoreError> {
        let place = sentence_of(&candidate.digest);
        let mut is_given_up = false;
        let mut give_up = |found: Vec<Option<Bytes>>| {
            let passed = Sentence::read(&place, found.first().and_then(Option::as_ref))?;
            is_given_up = passed.is_older(began_ms);
            let mut batch = Batch { sync: true, ..Batch::default() };
            if let Some(blob) = &candidate.object {
                let next = Sentence { since_ms: None, generation: passed.generation.max(blob.generation) + 1 };
                batch.puts.push((place.clone(), encode(&next).into()));
            } else {
                batch.deletes.extend([place.clone(), (family::SMALL, candidate.digest.hex().into_bytes())]);
            }
            Ok(is_given_up.then_some(batch))
        };
        self.inner.engine.commit(std::slice::from_ref(&place), None, &mut give_up).await?;
        if let Some(blob) = candidate.object.filter(|_| is_given_up) {
            self.blobs().remove(&blob).await?;
        }
        Ok(is_given_up)
    }

    /// Sees to it that a body which is about to be placed is not condemned; the generation of which it is to be.
    pub(super) async fn acquit(&self, digest: &Digest) -> Result<u32, StoreError> {
        let place = sentence_of(digest);
        if self.inner.engine.get(place.0, &place.1).await?.is_none() {
            return Ok(0);
        }
        let mut generation = 0;
        let mut acquit = |found: Vec<Option<Bytes>>| {
            let sentence = Sentence::read(&place, found.first().and_then(Option::as_ref))?;
            generation = sentence.generation;
            let mut batch = Batch { sync: true, ..Batch::default() };
            sentence.acquit(&place, &mut batch);
            Ok(sentence.since_ms.is_some().then_some(batch))
        };
        self.inner.engine.commit(std::slice::from_ref(&place), None, &mut acquit).await?;
        Ok(generation)
    }

    async fn each_key(&self, family: &'static str, mut visit: impl FnMut(Digest) + Send) -> Result<(), StoreError> {
        self.pages(family, &[], |key, _| {
            visit(digest_of(key)?);
            Ok(())
        })
        .await
    }
}

/// Where the sentence of a body stands.
pub(super) fn sentence_of(digest: &Digest) -> Place {
    (family::CONDEMNED, digest.hex().into_bytes())
}

/// What a commit writes that refers to bodies, given what was found where their sentences stand: that they are not condemned. It may
/// not refer to an object that was given up since it was placed.
pub(super) fn acquittals(bodies: &[Placed], found: &[Option<Bytes>]) -> Result<Batch, StoreError> {
    let mut batch = Batch::default();
    for (body, value) in bodies.iter().zip(found) {
        let place = sentence_of(&body.stored.digest);
        let sentence = Sentence::read(&place, value.as_ref())?;
        if !body.stored.is_small() && body.stored.generation != sentence.generation {
            return Err(StoreError::Blob("it was removed meanwhile; try again".to_owned()));
        }
        if sentence.since_ms.is_some() {
            sentence.acquit(&place, &mut batch);
        }
    }
    Ok(batch)
}

fn digest_of(key: &[u8]) -> Result<Digest, StoreError> {
    let digest = std::str::from_utf8(key).ok().and_then(|hex| hex.parse().ok());
    digest.ok_or_else(|| StoreError::foreign_key(key))
}
