//! Hashing everything at rest again.

use std::collections::HashMap;

use futures_util::StreamExt as _;
use serde::Serialize;
use shared::digest::{Digest, Hasher};

use super::bodies::Referrer;
use super::{Store, StoreError, Stored, family};

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Damage {
    /// It is not there, or is shorter or longer than recorded.
    Missing,
    /// Its bytes are other ones.
    Corrupt,
}

/// A body that is not what is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Damaged {
    /// The body as it is recorded.
    pub(crate) stored: Stored,
    /// What is wrong with it.
    pub(crate) damage: Damage,
    /// All that refer to it.
    pub(crate) referrers: Vec<Referrer>,
}

impl Store {
    /// Reads and hashes every body that something refers to, each once. `progress` is told after each body how many of how many are
    /// done.
    pub(crate) async fn verify(&self, mut progress: impl FnMut(u64, u64) + Send) -> Result<Vec<Damaged>, StoreError> {
        let mut bodies: HashMap<[u8; 32], (Stored, Vec<Referrer>)> = HashMap::new();
        self.for_each_body(|referrer, stored| {
            bodies.entry(*stored.digest.as_bytes()).or_insert_with(|| (stored, Vec::new())).1.push(referrer);
        })
        .await?;
        let (mut done, all) = (0, bodies.len() as u64);
        let mut damaged = Vec::new();
        for (stored, referrers) in bodies.into_values() {
            if let Some(damage) = self.examine(&stored).await? {
                damaged.push(Damaged { stored, damage, referrers });
            }
            done += 1;
            progress(done, all);
        }
        Ok(damaged)
    }

    /// What is wrong with a body, if something is.
    pub(crate) async fn examine(&self, stored: &Stored) -> Result<Option<Damage>, StoreError> {
        let found = if stored.is_small() {
            self.small(&stored.digest).await?.map(|body| Digest::of(&body))
        } else {
            let blob = stored.blob();
            if self.blobs().is_there(&blob).await? { Some(self.hash(stored).await?) } else { None }
        };
        Ok(match found {
            None => Some(Damage::Missing),
            Some(digest) if digest != stored.digest => Some(Damage::Corrupt),
            Some(_) => None,
        })
    }

    /// Writes a damaged body anew if its bytes are still in memory, where they were proven; whether they are.
    pub(crate) async fn mend_from_memory(&self, stored: &Stored) -> Result<bool, StoreError> {
        let Some(body) = self.inner.hot.get(&stored.digest).filter(|_| stored.is_small()) else { return Ok(false) };
        self.inner.engine.put(family::SMALL, stored.digest.hex().as_bytes(), body, true).await?;
        Ok(true)
    }

    /// Takes a damaged body out of service: nothing is better than wrong bytes. What is an object is kept below `damaged/`.
    pub(crate) async fn withdraw(&self, damaged: &Damaged) -> Result<(), StoreError> {
        if damaged.stored.is_small() {
            let place = (family::SMALL, damaged.stored.digest.hex().into_bytes());
            let batch = super::engine::Batch { deletes: vec![place], sync: true, ..super::engine::Batch::default() };
            self.inner.engine.commit(&[], None, &mut |_| Ok(Some(batch.clone()))).await?;
            // Whoever asks now finds it missing, and heals it: also if it was read into memory meanwhile.
            self.inner.hot.remove(&damaged.stored.digest);
            return Ok(());
        }
        match damaged.damage {
            Damage::Missing => Ok(()),
            Damage::Corrupt => self.blobs().set_aside(&damaged.stored.blob()).await,
        }
    }

    async fn hash(&self, stored: &Stored) -> Result<Digest, StoreError> {
        let mut stream = self.blobs().read(&stored.blob(), 0..stored.len).await?;
        let mut hasher = Hasher::default();
        while let Some(part) = stream.next().await {
            hasher.update(&part?);
        }
        Ok(hasher.digest())
    }
}
