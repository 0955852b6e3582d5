//! `.info`, `.mod` and `.zip` of a canonical version: fetched once, then served from the store for good.

use std::sync::Arc;

use shared::artefact::Artefact;
use shared::module::{ModulePath, Version};
use shared::request::ModuleRequest;

use super::{Flight, Private, name_of};
use crate::repository::remote::{absence, is_within, part};
use crate::repository::{Answer, CacheStatus, FetchOptions, RepoError};
use crate::upstream::describe;

/// How often a request looks again when the flight it joined had landed before.
const ATTEMPTS_MAX: usize = 3;

impl Private {
    pub(super) async fn immutable(
        self: &Arc<Self>,
        request: &ModuleRequest,
        version: &Version,
        flight: Flight,
        options: &FetchOptions,
    ) -> Result<Answer, RepoError> {
        let mut cache = CacheStatus::Hit;
        for _ in 0..ATTEMPTS_MAX {
            if let Some(answer) = self.held(&request.module, version, &request.artefact, cache).await? {
                return Ok(answer);
            }
            if options.held_only {
                return Err(RepoError::NotFound(format!("{} is not held here", describe(request))));
            }
            let record = self.recorded(&request.module, &request.artefact).await?;
            let counts = |at_ms| is_within(at_ms, self.periods.negative);
            if let Some(absence) = record.filter(|record| counts(record.fetched_ms)).as_ref().and_then(absence) {
                return Err(absence);
            }
            self.join(&flight).done().await?;
            cache = CacheStatus::Miss;
        }
        Err(RepoError::Storage(format!("{}: what was stored is not there", describe(request))))
    }

    async fn held(
        &self,
        module: &ModulePath,
        version: &Version,
        artefact: &Artefact,
        cache: CacheStatus,
    ) -> Result<Option<Answer>, RepoError> {
        let Some(record) = self.store.version(&self.name, module.as_str(), version.as_str()).await? else {
            return Ok(None);
        };
        if record.tombstone.is_some() {
            return Err(RepoError::Gone(format!("{} was removed", name_of(module, version))));
        }
        match part(&record, artefact) {
            Some(stored) => {
                self.store.used(&self.name, module.as_str(), version.as_str());
                Answer::stored(&self.store, &stored, cache).await
            }
            None => Ok(None),
        }
    }

    pub(super) async fn fetch_metadata(&self, module: &ModulePath, version: &Version) -> Result<(), RepoError> {
        // Between a request's look into the store and its joining a flight, the flight before may have landed.
        if self.held(module, version, &Artefact::Mod(version.clone()), CacheStatus::Hit).await?.is_some() {
            return Ok(());
        }
        match self.fetcher.metadata(module, version).await? {
            Some(metadata) => self.commit_metadata(module, version, metadata).await,
            None => self.fetch_zip(module, version).await,
        }
    }

    pub(super) async fn fetch_zip(&self, module: &ModulePath, version: &Version) -> Result<(), RepoError> {
        if self.held(module, version, &Artefact::Zip(version.clone()), CacheStatus::Hit).await?.is_some() {
            return Ok(());
        }
        let download = self.fetcher.download(module, version).await?;
        self.commit_download(module, version, download).await
    }
}
