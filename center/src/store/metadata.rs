//! The records that are kept about versions and mutable answers, and how they are read.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::standing::Look;
use super::{Store, StoreError, Stored, family, keys};

/// What a repository holds of one version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    /// The `.info`.
    pub(crate) info: Option<Stored>,
    /// The `.mod`.
    pub(crate) gomod: Option<Stored>,
    /// The `.zip`.
    pub(crate) zip: Option<Stored>,
    /// When the first of them was committed: Unix time in milliseconds.
    pub(crate) created_ms: u64,
    /// Whether the version's CREATE stands in the change log.
    pub(crate) announced: bool,
    /// Set while the version is tombstoned. Its bytes stay, so that it can be restored.
    pub(crate) tombstone: Option<Tombstone>,
}

/// An administrator's DELETE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tombstone {
    /// When: Unix time in milliseconds.
    pub(crate) at_ms: u64,
}

/// The hashes by which a version is known for good, whatever happens to its bytes, from whichever source it came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdentityRecord {
    /// `h1:` of the zip.
    pub(crate) zip_h1: Option<String>,
    /// `h1:` of the go.mod.
    pub(crate) mod_h1: Option<String>,
}

/// A mutable answer of an upstream, or its word that an artefact does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MutableRecord {
    /// What the upstream said.
    pub(crate) outcome: MutableOutcome,
    /// When it last said so: Unix time in milliseconds.
    pub(crate) fetched_ms: u64,
    /// Its validators, for asking whether anything changed.
    pub(crate) etag: Option<String>,
    /// As the upstream wrote it.
    pub(crate) last_modified: Option<String>,
    /// Of a list: the newest pseudo-version among its lines, which the list that is served does not show.
    pub(crate) pseudo: Option<String>,
}

/// What an upstream said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MutableOutcome {
    /// A body.
    Found(Stored),
    /// It does not exist; the reason.
    NotFound(String),
    /// It does not exist any more; the reason.
    Gone(String),
}

/// How many entries a scan takes at a time.
const PAGE: usize = 1000;

impl Store {
    /// What a repository holds of a version.
    pub(crate) async fn version(
        &self,
        repository: &str,
        module: &str,
        version: &str,
    ) -> Result<Option<VersionRecord>, StoreError> {
        let key = keys::version(repository, module, version);
        let Some(standing) = self.inner.engine.standing() else { return self.record(family::VERSIONS, &key).await };
        let era = match standing.look(&key) {
            Look::Known(record) => return Ok(record),
            Look::Unknown(era) => era,
        };
        let record: Option<VersionRecord> = self.record(family::VERSIONS, &key).await?;
        standing.note(key, era, record.clone());
        Ok(record)
    }

    /// The versions of a module in a repository, tombstoned ones too, in no particular order.
    pub(crate) async fn versions(
        &self,
        repository: &str,
        module: &str,
    ) -> Result<Vec<(String, VersionRecord)>, StoreError> {
        let mut found = Vec::new();
        self.scan(family::VERSIONS, &keys::version(repository, module, ""), |_, version, value| {
            found.push((version.to_owned(), value));
        })
        .await?;
        Ok(found)
    }

    /// Visits every version record of a repository, ordered by module.
    pub(crate) async fn for_each_version(
        &self,
        repository: &str,
        visit: impl FnMut(&str, &str, VersionRecord) + Send,
    ) -> Result<(), StoreError> {
        self.scan(family::VERSIONS, &keys::repository(repository), visit).await
    }

    /// Visits the modules of which a repository has versions, in the order of their paths.
    pub(crate) async fn for_each_module(
        &self,
        repository: &str,
        mut visit: impl FnMut(&str) + Send,
    ) -> Result<(), StoreError> {
        let prefix = keys::repository(repository);
        self.pages(family::MODULES, &prefix, |key, _| {
            visit(std::str::from_utf8(&key[prefix.len()..]).map_err(|_| StoreError::foreign_key(key))?);
            Ok(())
        })
        .await
    }

    /// Visits every mutable answer and recorded absence of a repository, ordered by module; with the artefact's file name.
    pub(crate) async fn for_each_mutable(
        &self,
        repository: &str,
        visit: impl FnMut(&str, &str, MutableRecord) + Send,
    ) -> Result<(), StoreError> {
        self.scan(family::MUTABLES, &keys::repository(repository), visit).await
    }

    /// The recorded identity of a version; empty if there is none.
    pub(crate) async fn identity(&self, module: &str, version: &str) -> Result<IdentityRecord, StoreError> {
        let found = self.record(family::IDENTITY, &keys::identity(module, version)).await?;
        Ok(found.unwrap_or_default())
    }

    /// A mutable answer or recorded absence. `name` is the artefact's file name.
    pub(crate) async fn mutable(
        &self,
        repository: &str,
        module: &str,
        name: &str,
    ) -> Result<Option<MutableRecord>, StoreError> {
        self.record(family::MUTABLES, &keys::mutable(repository, module, name)).await
    }

    /// The names of a module's artefacts of which an upstream said that they do not exist.
    pub(crate) async fn absences(&self, repository: &str, module: &str) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        let prefix = keys::mutable(repository, module, "");
        self.scan(family::MUTABLES, &prefix, |_, name, record: MutableRecord| match record.outcome {
            MutableOutcome::Found(_) => {}
            MutableOutcome::NotFound(_) | MutableOutcome::Gone(_) => found.push(name.to_owned()),
        })
        .await?;
        Ok(found)
    }

    pub(super) async fn record<T: DeserializeOwned>(
        &self,
        family: &'static str,
        key: &[u8],
    ) -> Result<Option<T>, StoreError> {
        let value = self.inner.engine.get(family, key).await?;
        value.map(|value| decode(key, &value)).transpose()
    }

    /// Visits the entries below a prefix: what is written meanwhile may or may not be seen.
    pub(super) async fn scan<T: DeserializeOwned>(
        &self,
        family: &'static str,
        prefix: &[u8],
        mut visit: impl FnMut(&str, &str, T) + Send,
    ) -> Result<(), StoreError> {
        self.pages(family, prefix, |key, value| {
            let (module, name) = keys::split(key).ok_or_else(|| StoreError::foreign_key(key))?;
            visit(module, name, decode(key, value)?);
            Ok(())
        })
        .await
    }

    /// Visits keys and values below a prefix, page by page.
    pub(super) async fn pages(
        &self,
        family: &'static str,
        prefix: &[u8],
        mut visit: impl FnMut(&[u8], &Bytes) -> Result<(), StoreError> + Send,
    ) -> Result<(), StoreError> {
        let mut after = Vec::new();
        loop {
            let page = self.inner.engine.scan(family, prefix, &after, PAGE).await?;
            for (key, value) in &page {
                visit(key, value)?;
            }
            match page.into_iter().nth(PAGE - 1) {
                Some((last, _)) => after = last,
                None => return Ok(()),
            }
        }
    }
}

pub(super) fn decode<T: DeserializeOwned>(key: &[u8], value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Record {
        key: String::from_utf8_lossy(key).replace('\0', " "),
        reason: error.to_string(),
    })
}
