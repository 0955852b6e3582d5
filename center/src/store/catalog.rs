//! What is found by other ways than its name: modules by their names' order, versions as they came, who requires whom, how
//! often something was asked for, who did what.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared::change::ChangeId;
use shared::module::semver;

use super::change_log::{encode, now_ms};
use super::engine::{Batch, Place};
use super::metadata::{VersionRecord, decode};
use super::{Store, StoreError, family, keys};

/// How many entries a walk takes at a time.
const PAGE: usize = 256;
/// How many requirements of one go.mod are noted at most: a file of that size may name many thousands.
const REQUIRES_MAX: usize = 2000;

/// A version that came, for the index.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// The module path.
    pub(crate) module: String,
    /// The version.
    pub(crate) version: String,
    /// When it is to be listed at the earliest: Unix time in milliseconds.
    pub(crate) at_ms: u64,
    /// The modules that its go.mod requires; none as long as the go.mod is not held.
    pub(crate) requires: Option<Vec<String>>,
}

/// A line of the index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listed {
    /// When it was listed: Unix time in milliseconds.
    pub(crate) at_ms: u64,
    /// The module path.
    pub(crate) module: String,
    /// The version.
    pub(crate) version: String,
}

/// That a version is in the index.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Indexed {
    at_ms: u64,
    /// Whether what it requires is known.
    requires: bool,
}

/// One thing that somebody did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Deed {
    /// When: Unix time in milliseconds.
    pub(crate) at_ms: u64,
    /// Who: the name of a token.
    pub(crate) by: String,
    /// What: `publish`, `attach`, `remove`, `restore`, `annotate`, `import`.
    pub(crate) action: String,
    /// Where.
    pub(crate) repository: String,
    /// The module.
    pub(crate) module: String,
    /// The version; empty where the module is meant.
    pub(crate) version: String,
}

impl Store {
    /// The modules of a repository that have a version, in the order of their names: those that begin with `prefix` and come
    /// after `after`, at most `limit`. What one call costs does not grow with the number of versions.
    pub(crate) async fn modules(
        &self,
        repository: &str,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut below = keys::repository(repository);
        below.extend_from_slice(prefix.as_bytes());
        let mut from = if after.is_empty() { Vec::new() } else { beyond(repository, after) };
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = self.inner.engine.scan(family::VERSIONS, &below, &from, PAGE).await?;
            let is_last = page.len() < PAGE;
            for (key, value) in page {
                let Some((module, _)) = keys::split(&key) else { continue };
                if found.last().is_none_or(|last| last != module) {
                    let record: VersionRecord = decode(&key, &value)?;
                    if record.is_visible() {
                        found.push(module.to_owned());
                    }
                }
                // A module that is found is left behind with all its versions.
                from = if found.last().is_some_and(|last| last == module) { beyond(repository, module) } else { key };
                if found.len() == limit {
                    return Ok(found);
                }
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    /// How far the index of a repository follows its log.
    pub(crate) async fn index_cursor(&self, repository: &str) -> Result<Option<ChangeId>, StoreError> {
        self.record(family::INDEX, repository.as_bytes()).await
    }

    /// Lists what came, with what it requires (the first 2,000 modules), and notes how far the log was followed: all of it or
    /// nothing. What is listed already is not listed again.
    ///
    /// Only the marks are read under a lock: one for each requirement could fill the database's table of locks. Where two replicas
    /// list versions of one module at once, its dependents may show the older of them until the next one comes.
    pub(crate) async fn list_arrivals(
        &self,
        repository: &str,
        arrivals: &[Arrival],
        cursor: Option<ChangeId>,
    ) -> Result<(), StoreError> {
        let newest = self.newest_dependents(repository, arrivals).await?;
        let marks = arrivals.iter().map(|arrival| mark(repository, &arrival.module, &arrival.version));
        let reads: Vec<Place> = marks.map(|mark| (family::INDEX, mark)).collect();
        let mut decide = |found: Vec<Option<Bytes>>| {
            let mut batch = Batch::default();
            for (arrival, (place, value)) in arrivals.iter().zip(reads.iter().zip(found)) {
                let before: Option<Indexed> = read(place, value)?;
                let is_read = arrival.requires.is_some() || before.is_some_and(|before| before.requires);
                let at_ms = before.map_or(arrival.at_ms, |before| before.at_ms);
                batch.puts.push((place.clone(), encode(&Indexed { at_ms, requires: is_read }).into()));
                if before.is_none() {
                    let key = [repository, &format!("{at_ms:013}"), &arrival.module, &arrival.version].join("\0");
                    batch.puts.push(((family::INDEX, key.into_bytes()), Bytes::new()));
                }
            }
            let newest = newest.iter().map(|(place, version)| (place.clone(), Bytes::from(encode(version))));
            batch.puts.extend(newest);
            if let Some(cursor) = cursor {
                batch.puts.push(((family::INDEX, repository.as_bytes().to_vec()), encode(&cursor).into()));
            }
            Ok(Some(batch))
        };
        self.inner.engine.commit(&reads, None, &mut decide).await
    }

    /// For each module that the arrivals require: the newest version that does, of those that came and the one that is noted.
    async fn newest_dependents(
        &self,
        repository: &str,
        arrivals: &[Arrival],
    ) -> Result<BTreeMap<Place, String>, StoreError> {
        let mut newest: BTreeMap<Place, String> = BTreeMap::new();
        for arrival in arrivals {
            for name in arrival.requires.iter().flatten().take(REQUIRES_MAX) {
                let place: Place = (family::DEPENDENTS, keys::version(name, repository, &arrival.module));
                let known = match newest.remove(&place) {
                    Some(known) => Some(known),
                    None => read(&place, self.inner.engine.get(place.0, &place.1).await?)?,
                };
                let newer = known.filter(|known: &String| semver::compare(known, &arrival.version).is_gt());
                newest.insert(place, newer.unwrap_or_else(|| arrival.version.clone()));
            }
        }
        Ok(newest)
    }

    /// The versions of a repository that are listed without what they require.
    pub(crate) async fn unread_requirements(&self, repository: &str) -> Result<Vec<(String, String)>, StoreError> {
        let mut found = Vec::new();
        self.scan(family::INDEX, &mark(repository, "", "")[..=repository.len()], |module, version, value: Indexed| {
            if !value.requires {
                found.push((module.to_owned(), version.to_owned()));
            }
        })
        .await?;
        Ok(found)
    }

    /// The index of a repository from a time (Unix, ms) on, oldest first, at most `limit` lines.
    pub(crate) async fn listed_since(
        &self,
        repository: &str,
        since_ms: u64,
        limit: usize,
    ) -> Result<Vec<Listed>, StoreError> {
        let below = keys::repository(repository);
        let from = [below.as_slice(), format!("{since_ms:013}").as_bytes()].concat();
        let page = self.inner.engine.scan(family::INDEX, &below, &from, limit).await?;
        Ok(page.iter().filter_map(|(key, _)| listed(key)).collect())
    }

    /// Who requires a module: repository, module, and its newest version that does.
    pub(crate) async fn dependents(&self, module: &str) -> Result<Vec<(String, String, String)>, StoreError> {
        let mut found = Vec::new();
        self.scan(family::DEPENDENTS, &keys::repository(module), |repository, dependent, version| {
            found.push((repository.to_owned(), dependent.to_owned(), version));
        })
        .await?;
        Ok(found)
    }

    /// Adds to how often versions were asked for.
    pub(crate) async fn add_downloads(&self, counts: &[((String, String), u64)]) -> Result<(), StoreError> {
        let place = |(module, version): &(String, String)| (family::DOWNLOADS, keys::version("", module, version));
        let reads: Vec<Place> = counts.iter().map(|(what, _)| place(what)).collect();
        let mut decide = |found: Vec<Option<Bytes>>| {
            let mut batch = Batch::default();
            for ((place, value), (_, count)) in reads.iter().zip(found).zip(counts) {
                let before: Option<u64> = read(place, value)?;
                batch.puts.push((place.clone(), encode(&(before.unwrap_or(0) + count)).into()));
            }
            Ok(Some(batch))
        };
        self.inner.engine.commit(&reads, None, &mut decide).await
    }

    /// How often the versions of a module were asked for.
    pub(crate) async fn downloads(&self, module: &str) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut found = BTreeMap::new();
        self.scan(family::DOWNLOADS, &keys::version("", module, ""), |_, version, count| {
            found.insert(version.to_owned(), count);
        })
        .await?;
        Ok(found)
    }

    /// Notes what somebody did.
    pub(crate) async fn note(
        &self,
        by: &str,
        action: &str,
        (repository, module, version): (&str, &str, &str),
    ) -> Result<(), StoreError> {
        let [by, action, repository, module, version] = [by, action, repository, module, version].map(str::to_owned);
        let deed = Deed { at_ms: now_ms(), by, action, repository, module, version };
        // Nanoseconds, counting down: the newest come first, also of those that were done in one millisecond.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = u64::MAX - u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let key = format!("{left:020}-{:08x}", rand::random::<u32>());
        self.inner.engine.put(family::AUDIT, key.as_bytes(), encode(&deed).into(), false).await
    }

    /// What was done, newest first, after the entry of this name (empty: from the newest), each with its own name.
    pub(crate) async fn deeds(&self, after: &str, limit: usize) -> Result<Vec<(String, Deed)>, StoreError> {
        let page = self.inner.engine.scan(family::AUDIT, b"", after.as_bytes(), limit).await?;
        page.iter().map(|(key, value)| Ok((String::from_utf8_lossy(key).into_owned(), decode(key, value)?))).collect()
    }
}

impl VersionRecord {
    /// Whether somebody who asks gets something of it.
    pub(crate) const fn is_visible(&self) -> bool {
        self.tombstone.is_none() && (self.info.is_some() || self.gomod.is_some() || self.zip.is_some())
    }
}

/// A key beyond all versions of a module and before those of the next one: no version has such a byte.
fn beyond(repository: &str, module: &str) -> Vec<u8> {
    let mut key = keys::version(repository, module, "");
    key.push(0xff);
    key
}

/// The key that says that a version is listed. No key of the index itself begins like that.
fn mark(repository: &str, module: &str, version: &str) -> Vec<u8> {
    format!("{repository}\u{1}\0{module}\0{version}").into_bytes()
}

fn listed(key: &[u8]) -> Option<Listed> {
    let mut parts = std::str::from_utf8(key).ok()?.split('\0').skip(1);
    let at_ms = parts.next()?.parse().ok()?;
    Some(Listed { at_ms, module: parts.next()?.to_owned(), version: parts.next()?.to_owned() })
}

fn read<T: DeserializeOwned>(place: &Place, value: Option<Bytes>) -> Result<Option<T>, StoreError> {
    value.map(|value| decode(&place.1, &value)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Decision, Draft, StoreConfig, Stored, Subject, Tombstone};

    async fn add(store: &Store, repository: &str, module: &str, version: &str, removed: bool) {
        let subject = Subject { repository, logs: &[], module };
        let decide = |draft: &mut Draft| {
            let digest = shared::digest::Digest::of(b"x");
            draft.record.zip = Some(Stored { digest, len: 1, modified_ms: 1, generation: 0 });
            draft.record.tombstone = removed.then_some(Tombstone { at_ms: 1 });
            Ok::<_, StoreError>(Decision::Write)
        };
        store.commit_version(subject, version, &[], decide).await.unwrap();
    }

    #[tokio::test]
    async fn modules_come_in_order_and_in_pages_whatever_they_have() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::new(folder.path().to_owned())).unwrap();
        for number in 0..600 {
            add(&store, "r", "a.test/many", &format!("v1.0.{number}"), number < 300).await;
        }
        for module in ["a.test/a", "a.test/a-b", "a.test/a/b", "b.test/x"] {
            add(&store, "r", module, "v1.0.0", false).await;
        }
        add(&store, "r", "a.test/gone", "v1.0.0", true).await;
        add(&store, "s", "a.test/elsewhere", "v1.0.0", false).await;
        let all = ["a.test/a", "a.test/a-b", "a.test/a/b", "a.test/many", "b.test/x"];
        assert_eq!(store.modules("r", "", "", 100).await.unwrap(), all);
        for size in 1..4 {
            let (mut collected, mut after) = (Vec::new(), String::new());
            loop {
                let page = store.modules("r", "a.test/", &after, size).await.unwrap();
                let Some(last) = page.last() else { break };
                after.clone_from(last);
                collected.extend(page);
            }
            assert_eq!(collected, all[..4], "{size}");
        }
    }

    #[tokio::test]
    async fn what_came_is_listed_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::new(folder.path().to_owned())).unwrap();
        let arrival = |version: &str, at_ms: u64, requires: Option<Vec<String>>| Arrival {
            module: "a.test/a".into(),
            version: version.into(),
            at_ms,
            requires,
        };
        let cursor = ChangeId { epoch: 1, seq: 2 };
        let first = [arrival("v1.1.0", 5, None), arrival("v1.0.0", 6, Some(vec!["b.test/b".into()]))];
        store.list_arrivals("r", &first, Some(cursor)).await.unwrap();
        assert_eq!(store.index_cursor("r").await.unwrap(), Some(cursor));
        assert_eq!(store.unread_requirements("r").await.unwrap(), [("a.test/a".into(), "v1.1.0".into())]);
        let again = [arrival("v1.1.0", 9, Some(vec!["b.test/b".into()])), arrival("v1.0.0", 9, None)];
        store.list_arrivals("r", &again, None).await.unwrap();
        let listed = store.listed_since("r", 0, 10).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|line| (line.at_ms, line.version.as_str())).collect();
        assert_eq!(listed, [(5, "v1.1.0"), (6, "v1.0.0")]);
        assert_eq!(store.listed_since("r", 6, 10).await.unwrap().len(), 1);
        assert!(store.unread_requirements("r").await.unwrap().is_empty());
        let dependents = store.dependents("b.test/b").await.unwrap();
        assert_eq!(dependents, [("r".into(), "a.test/a".into(), "v1.1.0".into())]);
        // An older version that comes later is not the newest that requires it; and no go.mod fills the catalogue.
        let older = [arrival("v1.0.1", 10, Some(vec!["b.test/b".into()]))];
        store.list_arrivals("r", &older, None).await.unwrap();
        assert_eq!(store.dependents("b.test/b").await.unwrap(), dependents);
        let many = (0..=REQUIRES_MAX).map(|number| format!("m.test/{number}")).collect();
        store.list_arrivals("r", &[arrival("v1.2.0", 11, Some(many))], None).await.unwrap();
        assert_eq!(store.dependents("m.test/1999").await.unwrap().len(), 1);
        assert_eq!(store.dependents("m.test/2000").await.unwrap(), []);
    }
}
