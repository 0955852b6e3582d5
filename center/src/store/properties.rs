//! What people say of a module or a version: a description, a maintainer, annotations. None of it changes what is served.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shared::digest::Digest;

use super::change_log::encode;
use super::engine::Batch;
use super::metadata::decode;
use super::{Store, StoreError, family, keys};

/// The properties of a module, or of one of its versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Properties {
    /// Values by name. `description` and `maintainer` are names that pages know.
    pub(crate) values: BTreeMap<String, Vec<String>>,
    /// Of a version: the `.info` that a client sent for it.
    pub(crate) info: Option<String>,
    /// Of a version: SHA-256 of the `.mod` that a client sent before the zip.
    pub(crate) gomod: Option<Digest>,
}

impl Store {
    /// The properties of a version, or of the module where `version` is empty; empty if there are none.
    pub(crate) async fn properties(
        &self,
        repository: &str,
        module: &str,
        version: &str,
    ) -> Result<Properties, StoreError> {
        let found = self.record(family::PROPERTIES, &keys::version(repository, module, version)).await?;
        Ok(found.unwrap_or_default())
    }

    /// All properties of a module, by version; those of the module itself under an empty one.
    pub(crate) async fn all_properties(
        &self,
        repository: &str,
        module: &str,
    ) -> Result<BTreeMap<String, Properties>, StoreError> {
        let mut found = BTreeMap::new();
        self.scan(family::PROPERTIES, &keys::version(repository, module, ""), |_, version, value| {
            found.insert(version.to_owned(), value);
        })
        .await?;
        Ok(found)
    }

    /// Visits all properties of a repository with module and version.
    pub(crate) async fn for_each_property(
        &self,
        repository: &str,
        visit: impl FnMut(&str, &str, Properties) + Send,
    ) -> Result<(), StoreError> {
        self.scan(family::PROPERTIES, &keys::repository(repository), visit).await
    }

    /// Changes properties; `change` is called again where somebody else changed them meanwhile. Returns what they are now, once
    /// it is on disk.
    pub(crate) async fn change_properties(
        &self,
        repository: &str,
        module: &str,
        version: &str,
        mut change: impl FnMut(&mut Properties) + Send,
    ) -> Result<Properties, StoreError> {
        let place = (family::PROPERTIES, keys::version(repository, module, version));
        let mut now = Properties::default();
        self.inner
            .engine
            .commit(std::slice::from_ref(&place), None, &mut |found| {
                let before = found.into_iter().next().flatten();
                let before: Properties = before.map(|value| decode(&place.1, &value)).transpose()?.unwrap_or_default();
                now = before.clone();
                change(&mut now);
                let puts = vec![(place.clone(), encode(&now).into())];
                Ok((now != before).then(|| Batch { puts, sync: true, ..Batch::default() }))
            })
            .await?;
        Ok(now)
    }
}
