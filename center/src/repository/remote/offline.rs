//! A remote repository that is told to ask nobody: it speaks of what it holds.
//!
//! Its list names the versions whose zip is held, so that what a `go` command chooses from can also be had. "Not found" is
//! never said: that something is not held says nothing about whether it exists.

use std::sync::Arc;

use shared::artefact::Artefact;
use shared::module::Version;
use shared::request::ModuleRequest;

use super::Remote;
use crate::repository::answer::RETRY_AFTER;
use crate::repository::latest::unretracted;
use crate::repository::{Answer, CacheStatus, FetchOptions, RepoError, list};
use crate::store::from_ms;
use crate::upstream::describe;

impl Remote {
    pub(super) async fn offline(
        self: &Arc<Self>,
        request: &ModuleRequest,
        options: &FetchOptions,
    ) -> Result<Answer, RepoError> {
        let found = match &request.artefact {
            Artefact::List => self.held_list(request).await,
            Artefact::Latest => self.held_latest(request).await,
            Artefact::Query(_) => self.held_mutable(request).await,
            Artefact::Info(version) | Artefact::Mod(version) | Artefact::Zip(version) => {
                self.immutable(request, version, &FetchOptions::HELD_ONLY).await
            }
        };
        match found {
            Err(error) if error.is_absent() && !options.held_only => Err(RepoError::Unavailable {
                msg: format!("{}: not held, and nobody is asked for it", describe(request)),
                retry_after: RETRY_AFTER,
            }),
            found => found,
        }
    }

    async fn held_list(self: &Arc<Self>, request: &ModuleRequest) -> Result<Answer, RepoError> {
        let head = self.log.head();
        let (versions, modified_ms) = self.held_versions(request).await?;
        if versions.is_empty() {
            return self.held_mutable(request).await;
        }
        Ok(Answer::computed(list::write(&versions), from_ms(modified_ms), CacheStatus::Hit).reflecting(head))
    }

    async fn held_latest(self: &Arc<Self>, request: &ModuleRequest) -> Result<Answer, RepoError> {
        let (head, options) = (self.log.head(), FetchOptions::HELD_ONLY);
        let (versions, _) = self.held_versions(request).await?;
        let of = |artefact| ModuleRequest { module: request.module.clone(), artefact };
        let gomod = |version: Version| async move {
            let answer = self.immutable(&of(Artefact::Mod(version.clone())), &version, &options).await?;
            answer.bytes(&self.store).await
        };
        let Some(version) = unretracted(&request.module, &versions, gomod).await? else {
            return self.held_mutable(request).await;
        };
        let info = self.immutable(&of(Artefact::Info(version.clone())), &version, &options).await?;
        Ok(info.reflecting(head))
    }

    /// What was recorded of a list, `@latest` or query, whatever its age: while nobody is asked it is not stale.
    async fn held_mutable(self: &Arc<Self>, request: &ModuleRequest) -> Result<Answer, RepoError> {
        let head = self.log.head();
        let absent = || RepoError::NotFound(format!("{} is not held here", describe(request)));
        let record = self.recorded(request).await?.ok_or_else(absent)?;
        let answer = self.answer(&record, CacheStatus::Hit).await?.ok_or_else(absent)?;
        Ok(answer.reflecting(head))
    }

    /// The tagged versions whose zip is held, sorted, and when the last of them came.
    async fn held_versions(&self, request: &ModuleRequest) -> Result<(Vec<Version>, u64), RepoError> {
        let records = self.store.versions(&self.name, request.module.as_str()).await?;
        let held = records.iter().filter(|(_, record)| record.zip.is_some() && record.tombstone.is_none());
        let modified_ms = held.clone().map(|(_, record)| record.created_ms).max().unwrap_or_default();
        let versions = held.filter_map(|(version, _)| Version::new(&request.module, version).ok());
        let mut versions: Vec<Version> = versions.filter(|version| !version.is_pseudo()).collect();
        list::sort(&mut versions);
        Ok((versions, modified_ms))
    }
}
