//! A local repository: what was published to it, and nothing else. How things get in is in `publish.rs`.

use std::sync::Arc;
use std::time::SystemTime;

use shared::artefact::Artefact;
use shared::module::{ModulePath, Version};
use shared::request::ModuleRequest;

use super::figures::Figures;
use super::latest::{choose, is_written, unretracted};
use super::owner::Owners;
use super::{Answer, CacheStatus, RepoError, list};
use crate::store::{ChangeLog, Store, Stored, Subject, VersionRecord, from_ms};
use crate::upstream::describe;

/// A repository to which modules are published.
pub(super) struct Local {
    pub(super) name: String,
    pub(super) store: Store,
    pub(super) owners: Arc<Owners>,
    pub(super) figures: Figures,
    /// Its own log and those of the virtual repositories above it.
    pub(super) logs: Vec<String>,
    pub(super) log: ChangeLog,
}

impl Local {
    pub(super) async fn fetch(&self, request: &ModuleRequest) -> Result<Answer, RepoError> {
        let module = &request.module;
        let found = match &request.artefact {
            Artefact::List => self.list(request).await,
            Artefact::Latest => self.latest(request).await,
            // What is published has no branches; prefixes of versions the `go` command looks up in the list.
            Artefact::Query(_) => Err(not_found(request)),
            Artefact::Info(version) => self.held(request, version, |record| record.info).await,
            Artefact::Mod(version) => self.held(request, version, |record| record.gomod).await,
            Artefact::Zip(version) => self.held(request, version, |record| record.zip).await,
        }?;
        tracing::debug!(repository = self.name, %module, "answered from what was published");
        Ok(Answer { private: true, ..found })
    }

    async fn list(&self, request: &ModuleRequest) -> Result<Answer, RepoError> {
        // The head first: what is read afterwards reflects at least that.
        let head = self.log.head();
        let (versions, modified) = self.visible(request).await?;
        let tagged: Vec<Version> = versions.into_iter().filter(|version| !version.is_pseudo()).collect();
        Ok(Answer::computed(list::write(&tagged), modified, CacheStatus::Hit).reflecting(head))
    }

    async fn latest(&self, request: &ModuleRequest) -> Result<Answer, RepoError> {
        let head = self.log.head();
        let (versions, _) = self.visible(request).await?;
        let (pseudo, tagged): (Vec<Version>, Vec<Version>) = versions.into_iter().partition(Version::is_pseudo);
        let gomod = |version: Version| async move {
            self.held(request, &version, |record| record.gomod).await?.bytes(&self.store).await
        };
        let chosen = if let Some(version) = unretracted(&request.module, &tagged, gomod).await? {
            Some(version)
        } else {
            // All are retracted, which is for the one to say that would be the latest otherwise.
            let has_gomod = |version| async { Ok(is_written(&request.module, &gomod(version).await?)) };
            choose(&tagged, |_| true, has_gomod).await?
        };
        let chosen = match chosen {
            Some(version) => Some(version),
            None => list::newest(&pseudo).cloned(),
        };
        let removed = || RepoError::Gone(format!("all versions of {} were removed", request.module));
        let version = chosen.ok_or_else(removed)?;
        let answer = self.held(request, &version, |record| record.info).await?;
        Ok(answer.reflecting(head))
    }

    /// The versions that are there, sorted, and when the last of them came. Not found if none was ever published.
    async fn visible(&self, request: &ModuleRequest) -> Result<(Vec<Version>, SystemTime), RepoError> {
        let records = self.store.versions(&self.name, request.module.as_str()).await?;
        if records.is_empty() {
            return Err(not_found(request));
        }
        let modified = records.iter().map(|(_, record)| last_change(record)).max().unwrap_or_default();
        let visible = records.iter().filter(|(_, record)| record.zip.is_some() && record.tombstone.is_none());
        let mut versions = visible.filter_map(|(version, _)| Version::new(&request.module, version).ok()).collect();
        list::sort(&mut versions);
        Ok((versions, from_ms(modified)))
    }

    async fn held(
        &self,
        request: &ModuleRequest,
        version: &Version,
        part: impl Fn(&VersionRecord) -> Option<Stored>,
    ) -> Result<Answer, RepoError> {
        let record = self.store.version(&self.name, request.module.as_str(), version.as_str()).await?;
        let record = record.ok_or_else(|| not_found(request))?;
        if record.tombstone.is_some() {
            return Err(RepoError::Gone(format!("{}@{version} was removed", request.module)));
        }
        let stored = part(&record).ok_or_else(|| not_found(request))?;
        self.store.used(&self.name, request.module.as_str(), version.as_str());
        let answer = Answer::stored(&self.store, &stored, CacheStatus::Hit).await?;
        answer.ok_or_else(|| {
            tracing::error!(module = %request.module, %version, digest = %stored.digest, "a published body is missing");
            RepoError::Storage(format!("{}: its bytes are missing", describe(request)))
        })
    }

    pub(super) fn subject<'a>(&'a self, module: &'a ModulePath) -> Subject<'a> {
        Subject { repository: &self.name, logs: &self.logs, module: module.as_str() }
    }
}

fn last_change(record: &VersionRecord) -> u64 {
    record.tombstone.as_ref().map_or(record.created_ms, |tombstone| tombstone.at_ms)
}

fn not_found(request: &ModuleRequest) -> RepoError {
    RepoError::NotFound(format!("{} was not published here", describe(request)))
}
