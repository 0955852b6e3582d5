//! The versions of a module with everything that is known of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared::digest::Digest;
use shared::module::semver;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Scope;
use crate::store::{Properties, Store, StoreError, VersionRecord};

/// One version.
#[derive(Debug, Serialize)]
pub(crate) struct VersionDetail {
    /// The version.
    pub(crate) version: String,
    /// What its `.info` says, or when it came here: RFC 3339.
    time: Option<String>,
    /// Length of the zip in bytes, where it is held.
    size: Option<u64>,
    /// SHA-256 of the zip, where it is held.
    sha256: Option<Digest>,
    /// `h1:` of the zip, as far as it was ever known.
    h1: Option<String>,
    /// The repository that holds it.
    origin: String,
    /// How often its zip was asked for here; edges answer most requests themselves.
    downloads: u64,
    /// Whether it was removed.
    pub(crate) removed: bool,
    /// Values by name.
    properties: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    time: Option<String>,
}

/// The versions of a module, sorted; of each the first repository that holds it speaks.
pub(crate) async fn versions(store: &Store, scope: &Scope, module: &str) -> Result<Vec<VersionDetail>, StoreError> {
    let downloads = store.downloads(module).await?;
    let mut all: BTreeMap<String, (String, VersionRecord, Properties)> = BTreeMap::new();
    for leaf in scope.of_module(module) {
        let mut properties = store.all_properties(leaf, module).await?;
        for (version, record) in store.versions(leaf, module).await? {
            let is_known = record.is_visible() || record.tombstone.is_some();
            if is_known && !all.contains_key(&version) {
                let own = properties.remove(&version).unwrap_or_default();
                all.insert(version, (leaf.to_owned(), record, own));
            }
        }
    }
    let mut found = Vec::with_capacity(all.len());
    for (version, (origin, record, properties)) in all {
        found.push(VersionDetail {
            time: time_of(store, &record).await?,
            size: record.zip.map(|zip| zip.len),
            sha256: record.zip.map(|zip| zip.digest),
            h1: store.identity(module, &version).await?.zip_h1,
            origin,
            downloads: downloads.get(&version).copied().unwrap_or(0),
            removed: record.tombstone.is_some(),
            properties: properties.values,
            version,
        });
    }
    found.sort_by(|a, b| semver::compare(&a.version, &b.version));
    Ok(found)
}

async fn time_of(store: &Store, record: &VersionRecord) -> Result<Option<String>, StoreError> {
    if let Some(stored) = &record.info
        && let Some(body) = store.load(stored).await?
        && let Ok(Info { time: Some(time) }) = serde_json::from_slice(&body)
    {
        return Ok(Some(time));
    }
    let came = i64::try_from(record.created_ms / 1000).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    Ok(came.and_then(|came| came.format(&Rfc3339).ok()))
}
