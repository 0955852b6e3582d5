//! Removing the bodies that nothing refers to: those of fills and publishes that were killed, and of records that are gone.
//!
//! A body is placed before the record that refers to it is committed, so "nothing refers to it" alone proves nothing. A collection
//! *condemns* what it finds without a reference; a later one, a grace period on, removes what is still condemned and still without
//! one. Whoever places or commits a condemned body acquits it, in the same transaction in which he commits. The grace period must be
//! longer than any commit takes from placing to the end.
//!
//! ```text
//! nothing refers to it ─▶ condemned ── a grace period later, still nothing ─▶ doomed ─▶ removed
//!                             └─ placed or referred to ─▶ acquitted
//! ```
//! What is doomed can be neither placed nor referred to until it is gone: its removal may reach the object store at any time, also
//! after the collection was killed. The next collection finishes it.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use shared::digest::Digest;

use super::change_log::encode;
use super::engine::{Batch, Place};
use super::metadata::decode;
use super::{Store, StoreError, family, now_ms};

/// How long is waited for a body to be gone that is being removed just now.
const REMOVAL: Duration = Duration::from_secs(20);
/// How often is looked.
const POLL: Duration = Duration::from_millis(50);

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

/// Why a body will go.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sentence {
    /// Since when: Unix time in milliseconds.
    since_ms: u64,
    /// Whether it is being removed: too late for an acquittal.
    doomed: bool,
}

impl Sentence {
    /// Whether a collection that began at a time may carry it out. A removal that was begun is finished whatever the grace period.
    fn is_due(self, began_ms: u64, grace_ms: u64) -> bool {
        let is_over = now_ms().saturating_sub(self.since_ms) >= grace_ms;
        self.since_ms <= began_ms && (self.doomed || is_over)
    }
}

/// What of a body was found without a reference.
struct Candidate {
    digest: Digest,
    /// Its length, if it is an object.
    object_bytes: Option<u64>,
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
            if referenced.contains(candidate.digest.as_bytes()) {
                continue;
            }
            let place = sentence_of(&candidate.digest);
            let sentence = self.inner.engine.get(place.0, &place.1).await?;
            let sentence: Option<Sentence> = sentence.map(|value| decode(&place.1, &value)).transpose()?;
            match sentence {
                Some(sentence) if sentence.is_due(began_ms, grace_ms) => {
                    if dry_run || self.execute(&candidate, began_ms).await? {
                        collected.removed += 1;
                        collected.removed_bytes += candidate.object_bytes.unwrap_or(0);
                    }
                }
                Some(_) => collected.condemned += 1,
                None => {
                    collected.condemned += 1;
                    if !dry_run {
                        let sentence = Sentence { since_ms: now_ms(), doomed: false };
                        self.inner.engine.put(place.0, &place.1, encode(&sentence).into(), false).await?;
                    }
                }
            }
        }
        if !dry_run {
            self.finish_removals(&referenced, began_ms).await?;
        }
        Ok(collected)
    }

    /// All bodies that are kept.
    async fn bodies(&self) -> Result<Vec<Candidate>, StoreError> {
        let objects = self.blobs().list().try_collect::<Vec<_>>().await?;
        let mut bodies: Vec<Candidate> =
            objects.into_iter().map(|blob| Candidate { digest: blob.digest, object_bytes: Some(blob.len) }).collect();
        self.each_key(family::SMALL, |digest| bodies.push(Candidate { digest, object_bytes: None })).await?;
        Ok(bodies)
    }

    /// Ends the sentences of what is referred to. Nobody could refer to what was doomed already: there is no removal to wait for.
    async fn acquit_all(&self, referenced: &HashSet<[u8; 32]>, dry_run: bool) -> Result<(), StoreError> {
        let mut wrongly = Vec::new();
        self.each_key(family::CONDEMNED, |digest| {
            if referenced.contains(digest.as_bytes()) {
                wrongly.push(digest);
            }
        })
        .await?;
        for digest in wrongly.iter().filter(|_| !dry_run) {
            let place = sentence_of(digest);
            self.inner.engine.commit(std::slice::from_ref(&place), None, &mut |_| Ok(Some(ended(&place)))).await?;
        }
        Ok(())
    }

    /// Finishes the removals that a killed collection began: of bodies that are gone already only the sentence is left, and it
    /// would keep them away for ever.
    async fn finish_removals(&self, referenced: &HashSet<[u8; 32]>, began_ms: u64) -> Result<(), StoreError> {
        let mut unfinished = Vec::new();
        self.pages(family::CONDEMNED, &[], |key, value| {
            let sentence: Sentence = decode(key, value)?;
            let digest = digest_of(key)?;
            if sentence.doomed && sentence.since_ms <= began_ms && !referenced.contains(digest.as_bytes()) {
                unfinished.push(digest);
            }
            Ok(())
        })
        .await?;
        for digest in unfinished {
            // Only objects are doomed first and removed then.
            self.execute(&Candidate { digest, object_bytes: Some(0) }, began_ms).await?;
        }
        Ok(())
    }

    /// Removes a body, unless it was acquitted meanwhile, be it condemned anew since.
    async fn execute(&self, candidate: &Candidate, began_ms: u64) -> Result<bool, StoreError> {
        let place = sentence_of(&candidate.digest);
        let mut is_doomed = false;
        let mut doom = |found: Vec<Option<Bytes>>| {
            is_doomed = false;
            let Some(value) = found.into_iter().next().flatten() else { return Ok(None) };
            let passed: Sentence = decode(&place.1, &value)?;
            if passed.since_ms > began_ms {
                return Ok(None);
            }
            let sentence = Sentence { doomed: true, ..passed };
            is_doomed = true;
            let mut batch = Batch { sync: true, ..Batch::default() };
            if candidate.object_bytes.is_some() {
                batch.puts.push((place.clone(), encode(&sentence).into()));
            } else {
                batch.deletes.extend([place.clone(), (family::SMALL, candidate.digest.hex().into_bytes())]);
            }
            Ok(Some(batch))
        };
        self.inner.engine.commit(std::slice::from_ref(&place), None, &mut doom).await?;
        if is_doomed && candidate.object_bytes.is_some() {
            self.blobs().remove(&candidate.digest).await?;
            self.inner.engine.commit(std::slice::from_ref(&place), None, &mut |_| Ok(Some(ended(&place)))).await?;
        }
        Ok(is_doomed)
    }

    /// Sees to it that a body which is about to be placed is not removed under our hands. Fails if it is still being removed after
    /// a while: the removal may yet arrive, whatever became of whoever asked for it.
    pub(super) async fn acquit(&self, digest: &Digest) -> Result<(), StoreError> {
        let place = sentence_of(digest);
        let patience = std::time::Instant::now();
        while self.inner.engine.get(place.0, &place.1).await?.is_some() {
            let is_late = patience.elapsed() > REMOVAL;
            let mut acquit = |found: Vec<Option<Bytes>>| {
                let Some(value) = found.into_iter().next().flatten() else { return Ok(None) };
                let sentence: Sentence = decode(&place.1, &value)?;
                match (sentence.doomed, is_late) {
                    (false, _) => Ok(Some(ended(&place))),
                    (true, false) => Ok(None),
                    (true, true) => Err(being_removed()),
                }
            };
            self.inner.engine.commit(std::slice::from_ref(&place), None, &mut acquit).await?;
            tokio::time::sleep(POLL).await;
        }
        Ok(())
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

/// Refuses what relies on a body that is being removed, given its sentence.
pub(super) fn refuse_doomed(place: &Place, value: &[u8]) -> Result<(), StoreError> {
    let sentence: Sentence = decode(&place.1, value)?;
    if sentence.doomed { Err(being_removed()) } else { Ok(()) }
}

fn being_removed() -> StoreError {
    StoreError::Blob("it is being removed; try again".to_owned())
}

fn digest_of(key: &[u8]) -> Result<Digest, StoreError> {
    let digest = std::str::from_utf8(key).ok().and_then(|hex| hex.parse().ok());
    digest.ok_or_else(|| StoreError::foreign_key(key))
}

fn ended(place: &Place) -> Batch {
    Batch { deletes: vec![place.clone()], sync: true, ..Batch::default() }
}
