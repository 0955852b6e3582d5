//! Every body that something refers to, and by what name it is known there.

use std::collections::HashSet;

use serde::de::DeserializeOwned;
use shared::module::escape_version;

use super::metadata::{MutableOutcome, MutableRecord, VersionRecord, decode};
use super::{Store, StoreError, Stored, family, keys};

/// What refers to a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Referrer {
    /// The repository.
    pub(crate) repository: String,
    /// The module path.
    pub(crate) module: String,
    /// The artefact's file name, as in a URL: `@v/v1.0.0.zip`, `@latest`, …
    pub(crate) name: String,
}

impl Store {
    /// Visits every reference to a body, in all repositories. What is committed meanwhile may or may not be seen.
    pub(crate) async fn for_each_body(&self, mut visit: impl FnMut(Referrer, Stored) + Send) -> Result<(), StoreError> {
        self.each(family::VERSIONS, |referrer, record: VersionRecord| {
            // What is recorded was once escaped; the text itself is the fallback.
            let version = escape_version(&referrer.name).unwrap_or_else(|_| referrer.name.clone());
            for (part, stored) in [("info", record.info), ("mod", record.gomod), ("zip", record.zip)] {
                if let Some(stored) = stored {
                    visit(Referrer { name: format!("@v/{version}.{part}"), ..referrer.clone() }, stored);
                }
            }
        })
        .await?;
        self.each(family::MUTABLES, |referrer, record: MutableRecord| {
            if let MutableOutcome::Found(stored) = record.outcome {
                visit(referrer, stored);
            }
        })
        .await
    }

    /// The digests of all bodies that something refers to.
    pub(super) async fn referenced(&self) -> Result<HashSet<[u8; 32]>, StoreError> {
        let mut referenced = HashSet::new();
        self.for_each_body(|_, stored| {
            referenced.insert(*stored.digest.as_bytes());
        })
        .await?;
        Ok(referenced)
    }

    async fn each<T: DeserializeOwned>(
        &self,
        family: &'static str,
        mut visit: impl FnMut(Referrer, T) + Send,
    ) -> Result<(), StoreError> {
        self.pages(family, &[], |key, value| {
            let (repository, module, name) = keys::parts(key).ok_or_else(|| StoreError::foreign_key(key))?;
            let (repository, module, name) = (repository.to_owned(), module.to_owned(), name.to_owned());
            visit(Referrer { repository, module, name }, decode(key, value)?);
            Ok(())
        })
        .await
    }
}
