//! The manifest: everything a repository holds as 256 digests, by which an edge finds what it missed.
//!
//! A line is `<kind> <module> <version> <sha256>`, its kind `info`, `mod`, `zip` or `tombstone` (there the SHA-256 of the
//! removed zip, or 64 zeros if none was held). A module's bucket is the first byte of the SHA-256 of its path.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use shared::change::ChangeId;
use shared::digest::Digest;

use super::change_log::LogHead;
use super::metadata::VersionRecord;
use super::{Store, StoreError};

/// How many buckets a manifest has.
const BUCKETS: usize = 256;

/// What a repository holds, at least as of `head`.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// The head of the log, taken before anything was read.
    pub(crate) head: ChangeId,
    /// SHA-256 of the buckets' digests, one after another as bytes in hex.
    pub(crate) root: Digest,
    /// SHA-256 of each bucket's lines.
    pub(crate) buckets: Vec<Digest>,
    lines: Vec<String>,
}

impl Manifest {
    /// The lines of a bucket, sorted, each ended by a newline. None beyond the 256.
    pub(crate) fn bucket(&self, number: usize) -> Option<&str> {
        self.lines.get(number).map(String::as_str)
    }
}

/// The last manifest of each repository, with the head and the count of commits for which it is true.
#[derive(Default)]
pub(super) struct ManifestCache {
    by_repository: HashMap<String, (ChangeId, u64, Arc<Manifest>)>,
}

impl Store {
    /// Computes the manifest of a repository from its members, the first that holds a version winning. `may_answer` says
    /// whether a member may answer for a module at all. Scans everything unless nothing changed since the last.
    pub(crate) async fn manifest(
        &self,
        repository: &str,
        members: &[String],
        may_answer: impl Fn(&str, &str) -> bool + Send + Sync,
    ) -> Result<Arc<Manifest>, StoreError> {
        let head = self.log_head(repository).map_or(ChangeId::ZERO, LogHead::id);
        let commits = self.inner.logs.commits();
        if let Some((at, count, manifest)) = self.inner.manifests.lock().by_repository.get(repository)
            && *at == head
            && *count == commits
        {
            return Ok(Arc::clone(manifest));
        }
        let mut buckets = vec![BTreeSet::new(); BUCKETS];
        let mut seen = BTreeSet::new();
        for member in members {
            let mut own = Vec::new();
            self.for_each_version(member, |module, version, record| {
                let key = (module.to_owned(), version.to_owned());
                if may_answer(member, module) && !seen.contains(&key) {
                    add_lines(&mut buckets[bucket_of(module)], module, version, &record);
                    own.push(key);
                }
            })
            .await?;
            seen.extend(own);
        }
        let manifest = Arc::new(seal(head, buckets));
        let cached = (head, commits, Arc::clone(&manifest));
        self.inner.manifests.lock().by_repository.insert(repository.to_owned(), cached);
        Ok(manifest)
    }
}

fn bucket_of(module: &str) -> usize {
    usize::from(Digest::of(module.as_bytes()).as_bytes()[0])
}

fn add_lines(bucket: &mut BTreeSet<String>, module: &str, version: &str, record: &VersionRecord) {
    if record.tombstone.is_some() {
        let removed = record.zip.map_or_else(|| "0".repeat(64), |zip| zip.digest.hex());
        bucket.insert(format!("tombstone {module} {version} {removed}\n"));
        return;
    }
    for (kind, stored) in [("info", record.info), ("mod", record.gomod), ("zip", record.zip)] {
        if let Some(stored) = stored {
            bucket.insert(format!("{kind} {module} {version} {}\n", stored.digest.hex()));
        }
    }
}

fn seal(head: ChangeId, buckets: Vec<BTreeSet<String>>) -> Manifest {
    let lines: Vec<String> = buckets.into_iter().map(|bucket| bucket.into_iter().collect()).collect();
    let buckets: Vec<Digest> = lines.iter().map(|lines| Digest::of(lines.as_bytes())).collect();
    let joined: String = buckets.iter().map(Digest::hex).collect();
    Manifest { head, root: Digest::of(joined.as_bytes()), buckets, lines }
}
