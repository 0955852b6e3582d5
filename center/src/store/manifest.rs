//! The manifest: everything a repository holds as 256 digests, by which an edge finds what it missed.
//!
//! A line is `<kind> <module> <version> <sha256>`, its kind `info`, `mod`, `zip` or `tombstone` (there the SHA-256 of the
//! removed zip, or 64 zeros if none was held). A module's bucket is the first byte of the SHA-256 of its path.
//!
//! It is never computed as a whole but once. Beside each version's record the commit keeps its lines, ordered by bucket, and counts
//! the bucket's *generation* up. A repository's digests are kept with the generations of which they are true; what was counted up
//! since is computed again, a bucket at a time. So neither a start nor a change reads more than it must.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shared::change::ChangeId;
use shared::digest::Digest;

use super::change_log::{LogHead, encode};
use super::engine::{Batch, Place};
use super::metadata::{VersionRecord, decode};
use super::{Store, StoreError, Stored, family, keys};

/// How many buckets a manifest has.
const BUCKETS: usize = 256;

/// Whose manifest it is.
pub(crate) struct View<'a, F> {
    /// The repository, by whose log it is dated.
    pub(crate) repository: &'a str,
    /// The members of which it consists; the first that holds a version wins.
    pub(crate) members: &'a [String],
    /// Stands for the rules by which `may_answer` decides, apart from what is published later.
    pub(crate) rules: Digest,
    /// Whether a member may answer for a module at all.
    pub(crate) may_answer: F,
}

/// What a repository holds, at least as of `head`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The head of the log, taken before anything was read.
    pub(crate) head: ChangeId,
    /// SHA-256 of the buckets' digests, one after another as bytes in hex.
    pub(crate) root: Digest,
    /// SHA-256 of each bucket's lines.
    pub(crate) buckets: Vec<Digest>,
}

/// The digests of a repository as they were computed last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    rules: Option<Digest>,
    /// By member, the generation of each bucket.
    generations: BTreeMap<String, Vec<u64>>,
    buckets: Vec<Digest>,
}

impl Store {
    /// The manifest of a repository.
    pub(crate) async fn manifest<F>(&self, view: &View<'_, F>) -> Result<Manifest, StoreError>
    where
        F: Fn(&str, &str) -> bool + Send + Sync,
    {
        let head = self.log_head(view.repository).map_or(ChangeId::ZERO, LogHead::id);
        let place = (family::MANIFESTS, view.repository.as_bytes());
        let known = self.inner.engine.get(place.0, place.1).await?;
        let known: Sealed = known.map_or_else(|| Ok(Sealed::default()), |value| decode(place.1, &value))?;
        // The generations before the lines: what changes in between is computed again the next time.
        let mut generations = BTreeMap::new();
        for member in view.members {
            generations.insert(member.clone(), self.generations(member).await?);
        }
        let is_usable = known.rules == Some(view.rules)
            && known.buckets.len() == BUCKETS
            && known.generations.keys().eq(generations.keys());
        let mut sealed = Sealed { rules: Some(view.rules), generations, buckets: Vec::with_capacity(BUCKETS) };
        for bucket in 0..BUCKETS {
            let same = |(member, now): (&String, &Vec<u64>)| known.generations[member].get(bucket) == now.get(bucket);
            if is_usable && sealed.generations.iter().all(same) {
                sealed.buckets.push(known.buckets[bucket]);
            } else {
                sealed.buckets.push(Digest::of(self.bucket(view, bucket).await?.as_bytes()));
            }
        }
        if sealed != known {
            self.inner.engine.put(place.0, place.1, encode(&sealed).into(), false).await?;
        }
        let joined: String = sealed.buckets.iter().map(Digest::hex).collect();
        Ok(Manifest { head, root: Digest::of(joined.as_bytes()), buckets: sealed.buckets })
    }

    /// The lines of a bucket, sorted, each ended by a newline.
    pub(crate) async fn bucket<F>(&self, view: &View<'_, F>, bucket: usize) -> Result<String, StoreError>
    where
        F: Fn(&str, &str) -> bool + Send + Sync,
    {
        let mut lines = BTreeSet::new();
        let mut seen: BTreeSet<(String, String)> = BTreeSet::new();
        for member in view.members {
            let prefix = keys::bucket(member, bucket);
            let mut own = Vec::new();
            self.pages(family::LINES, &prefix, |key, value| {
                let parts = keys::parts(&key[prefix.len() - 1..]);
                let (_, module, version) = parts.ok_or_else(|| StoreError::foreign_key(key))?;
                let of = (module.to_owned(), version.to_owned());
                if (view.may_answer)(member, module) && !seen.contains(&of) {
                    lines.extend(String::from_utf8_lossy(value).split_inclusive('\n').map(str::to_owned));
                    own.push(of);
                }
                Ok(())
            })
            .await?;
            seen.extend(own);
        }
        Ok(lines.into_iter().collect())
    }

    /// Has the buckets computed anew in which anybody holds something at or below a path: who may answer for it has changed.
    pub(crate) async fn renew_manifests(&self, path: &str) -> Result<(), StoreError> {
        for repository in self.inner.logs.names() {
            let at = keys::version(&repository, path, "");
            let below = [keys::repository(&repository), format!("{path}/").into_bytes()].concat();
            for prefix in [at, below] {
                self.renew_below(&repository, &prefix).await?;
            }
        }
        Ok(())
    }

    async fn renew_below(&self, repository: &str, prefix: &[u8]) -> Result<(), StoreError> {
        let mut buckets = BTreeSet::new();
        self.pages(family::VERSIONS, prefix, |key, _| {
            let (_, module, _) = keys::parts(key).ok_or_else(|| StoreError::foreign_key(key))?;
            buckets.insert(bucket_of(module));
            Ok(())
        })
        .await?;
        for bucket in buckets {
            let place = generation_at(repository, bucket);
            let mut count_up = |found: Vec<Option<Bytes>>| {
                let mut batch = Batch::default();
                batch.puts.push((place.clone(), next(found.first().and_then(Option::as_ref))));
                Ok(Some(batch))
            };
            self.inner.engine.commit(std::slice::from_ref(&place), None, &mut count_up).await?;
        }
        Ok(())
    }

    /// Makes the lines of versions that were recorded before there were any. Does nothing the second time.
    pub(super) async fn index_once(&self) -> Result<(), StoreError> {
        let done = (family::MANIFESTS, b"".to_vec());
        if self.inner.engine.get(done.0, &done.1).await?.is_some() {
            return Ok(());
        }
        let mut versions = Vec::new();
        self.pages(family::VERSIONS, &[], |key, value| {
            versions.push((key.to_vec(), decode::<VersionRecord>(key, value)?));
            Ok(())
        })
        .await?;
        let mut batch = Batch { sync: true, ..Batch::default() };
        for (key, record) in &versions {
            let (repository, module, version) = keys::parts(key).ok_or_else(|| StoreError::foreign_key(key))?;
            note(&mut batch, (repository, module, version), (&VersionRecord::default(), record), None);
        }
        batch.puts.push((done, Bytes::from_static(b"1")));
        self.inner.engine.commit(&[], None, &mut |_| Ok(Some(batch.clone()))).await
    }

    async fn generations(&self, member: &str) -> Result<Vec<u64>, StoreError> {
        let mut generations = vec![0; BUCKETS];
        let prefix = keys::repository(member);
        for (key, value) in self.inner.engine.scan(family::GENERATIONS, &prefix, &[], BUCKETS).await? {
            let bucket = std::str::from_utf8(&key[prefix.len()..]).ok();
            let bucket = bucket.and_then(|hex| usize::from_str_radix(hex, 16).ok()).filter(|bucket| *bucket < BUCKETS);
            generations[bucket.ok_or_else(|| StoreError::foreign_key(&key))?] = number(Some(&value));
        }
        Ok(generations)
    }
}

/// Where the generation of a module's bucket stands. A commit reads it.
pub(super) fn generation_of(repository: &str, module: &str) -> Place {
    generation_at(repository, bucket_of(module))
}

/// Adds to a batch what a commit changes of the manifest, and the module if it is a new one.
pub(super) fn note(
    batch: &mut Batch,
    (repository, module, version): (&str, &str, &str),
    (before, after): (&VersionRecord, &VersionRecord),
    generation: Option<&Bytes>,
) {
    let (old, new) = (lines_of(module, version, before), lines_of(module, version, after));
    if old == new {
        return;
    }
    if old.is_empty() {
        batch.puts.push(((family::MODULES, keys::module(repository, module)), Bytes::new()));
    }
    let place = (family::LINES, keys::line(repository, bucket_of(module), module, version));
    batch.puts.push((place, new.into_bytes().into()));
    batch.puts.push((generation_of(repository, module), next(generation)));
}

fn generation_at(repository: &str, bucket: usize) -> Place {
    (family::GENERATIONS, keys::generation(repository, bucket))
}

fn number(value: Option<&Bytes>) -> u64 {
    value.and_then(|value| <[u8; 8]>::try_from(value.as_ref()).ok()).map_or(0, u64::from_be_bytes)
}

fn next(generation: Option<&Bytes>) -> Bytes {
    Bytes::copy_from_slice(&(number(generation) + 1).to_be_bytes())
}

fn bucket_of(module: &str) -> usize {
    usize::from(shared::manifest::place_of(module).0)
}

/// The lines of a version, sorted.
fn lines_of(module: &str, version: &str, record: &VersionRecord) -> String {
    if record.tombstone.is_some() {
        let removed = record.zip.map_or_else(|| "0".repeat(64), |zip| zip.digest.hex());
        return format!("tombstone {module} {version} {removed}\n");
    }
    let parts = [("info", record.info), ("mod", record.gomod), ("zip", record.zip)];
    let held = parts.iter().filter_map(|(kind, stored)| Some((kind, stored.as_ref()?)));
    let line = |(kind, stored): (&&str, &Stored)| format!("{kind} {module} {version} {}\n", stored.digest.hex());
    held.map(line).collect::<Vec<_>>().concat()
}
