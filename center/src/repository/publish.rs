//! Publishing: how a module zip becomes a version, and how an administrator takes one away and gives it back.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use shared::change::{EventType, Kind};
use shared::digest::Digest;
use shared::module::zip::{ZIP_BYTES_MAX, ZipError, ZipSummary, verify_zip};
use shared::module::{ModulePath, Version, gomod, h1, split_path_version};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::figures::Refusal;
use super::local::Local;
use super::{Claiming, Inner, Published, RepoError, Repository, Upload};
use crate::store::{Decision, Draft, Event, NewBody, Placed, Stored, Tombstone, from_ms, now_ms};

/// What is published, proven and safe on disk but not yet visible.
struct Candidate {
    info: Placed,
    gomod: Placed,
    zip: Placed,
    h1: String,
    mod_h1: String,
    now_ms: u64,
}

impl Repository {
    /// Publishes a module zip. `expected` is what the client said the SHA-256 would be. Returns once everything is on disk.
    pub(crate) async fn publish(
        &self,
        module: &ModulePath,
        version: &Version,
        upload: Upload,
        expected: Option<Digest>,
        claiming: Claiming,
    ) -> Result<Published, RepoError> {
        self.require_in_scope(module)?;
        let local = self.deployment()?;
        self.keeper().require_in_scope(module)?;
        if let Some(owner) = self.owners.keeps_from(&local.name, module) {
            return Err(RepoError::Blocked(format!("{module} belongs to repository {owner:?}")));
        }
        self.require_claimable(module, claiming)?;
        local.publish(module, version, upload, expected).await
    }

    /// Fails if a path would become a repository's by being published, and that is not to be. What the operator has named for the
    /// repository, by `owns` or `include`, may.
    pub(super) fn require_claimable(&self, module: &ModulePath, claiming: Claiming) -> Result<(), RepoError> {
        let keeper = self.keeper();
        let is_named = !keeper.scope.include.is_empty() && keeper.scope.contains(module.as_str());
        if claiming == Claiming::Allowed || is_named || self.owners.is_claimed_for(&keeper.name, module) {
            return Ok(());
        }
        Err(RepoError::Blocked(format!(
            "{module} belongs to nobody yet, and a token that is limited to repositories cannot take it for the whole center; \
             name it in `owns` or `include` of repository {:?}, or publish it once with a token that is not limited",
            keeper.name
        )))
    }

    /// The repository that holds what is published here.
    fn keeper(&self) -> &Self {
        let Inner::Virtual(virtual_) = &self.inner else { return self };
        let name = virtual_.deployment().map(|local| &local.name);
        virtual_.members.iter().find(|member| Some(&member.name) == name).map_or(self, |member| member)
    }
}

impl Local {
    /// Publishes a zip. See [`super::Repository::publish`].
    pub(super) async fn publish(
        self: &Arc<Self>,
        module: &ModulePath,
        version: &Version,
        upload: Upload,
        expected: Option<Digest>,
    ) -> Result<Published, RepoError> {
        if let Some(expected) = expected.filter(|expected| *expected != upload.sha256) {
            return Err(RepoError::BadModule(format!(
                "the body's SHA-256 is {}, the request says {expected}",
                upload.sha256
            )));
        }
        if upload.len > ZIP_BYTES_MAX {
            return Err(RepoError::TooLarge(format!(
                "the zip has {} bytes, at most {ZIP_BYTES_MAX} are taken",
                upload.len
            )));
        }
        let summary = verify(module, version, &upload).await?;
        if let Some(name) = summary.irregular {
            return Err(RepoError::BadModule(format!("zip entry {name:?}: not a regular file")));
        }
        let body = check_gomod(module, version, summary.gomod)?;
        let now_ms = now_ms();
        let sent = self.sent_before(module, version, &body).await?;
        let zip = NewBody::File { path: upload.path.clone(), len: upload.len, digest: upload.sha256 };
        let candidate = Candidate {
            info: self.store.place(NewBody::Memory(sent.unwrap_or_else(|| info_of(version, now_ms))), now_ms).await?,
            mod_h1: h1::hash1_gomod(&body),
            gomod: self.store.place(NewBody::Memory(body), now_ms).await?,
            zip: self.store.place(zip, now_ms).await?,
            h1: summary.h1,
            now_ms,
        };
        self.commit(module, version, candidate).await
    }

    async fn commit(
        self: &Arc<Self>,
        module: &ModulePath,
        version: &Version,
        candidate: Candidate,
    ) -> Result<Published, RepoError> {
        let bodies = [candidate.info.clone(), candidate.gomod.clone(), candidate.zip.clone()];
        let what = format!("{module}@{version}");
        let (mut created, mut created_ms, mut recorded) = (false, 0, [None; 3]);
        let was_owned = self.owners.owns(&self.name, module.as_str());
        let decide = |draft: &mut Draft| {
            let decision = decide(&what, version, &candidate, draft).inspect_err(|_| {
                let refused = draft.identity.zip_h1.as_ref().is_some() && draft.record.zip.is_none();
                if refused {
                    self.figures.refused(&self.name, &what, Refusal::Identity, "publish");
                }
            })?;
            (created, created_ms) = (decision == Decision::Write, draft.record.created_ms);
            recorded = [draft.record.info, draft.record.gomod, draft.record.zip];
            if decision == Decision::Write {
                // Before anybody can see the version, so that no request slips to a remote repository.
                self.owners.claim(&self.name, module.as_str());
            }
            Ok::<_, RepoError>(decision)
        };
        self.store.commit_version(self.subject(module), version.as_str(), &bodies, decide).await?;
        if !created {
            self.put_back(version, &bodies, (&recorded, created_ms)).await?;
        }
        if created && !was_owned {
            self.store.renew_manifests(module.as_str()).await?;
        }
        let (sha256, h1) = (candidate.zip.stored.digest, candidate.h1);
        if !created {
            // Another replica may have published it.
            self.store.refresh().await?;
        }
        let changes = self.logs.iter().filter_map(|log| Some((log.clone(), self.store.change_log(log).ok()?.head())));
        let changes = changes.collect();
        Ok(Published { created, sha256, h1, time: from_ms(created_ms), repository: self.name.clone(), changes })
    }

    /// Heals what is lost of a version that was published again with the same bytes. Its `.info`, if none was sent, is that of
    /// then.
    async fn put_back(
        &self,
        version: &Version,
        bodies: &[Placed],
        (recorded, created_ms): (&[Option<Stored>], u64),
    ) -> Result<(), RepoError> {
        let info = self.store.place(NewBody::Memory(info_of(version, created_ms)), created_ms).await?;
        for body in bodies.iter().chain([&info]) {
            // Nobody refers to an `.info` of now.
            if recorded.iter().flatten().any(|stored| stored.digest == body.stored.digest) {
                self.store.put_back(body).await?;
            }
        }
        Ok(())
    }

    /// Tombstones a version. Doing it again changes nothing.
    pub(super) async fn tombstone(self: &Arc<Self>, module: &ModulePath, version: &Version) -> Result<(), RepoError> {
        self.mark(module, version, Some(Tombstone { at_ms: now_ms() })).await
    }

    /// Lifts a tombstone. Lifting none changes nothing.
    pub(super) async fn restore(self: &Arc<Self>, module: &ModulePath, version: &Version) -> Result<(), RepoError> {
        self.mark(module, version, None).await
    }

    async fn mark(
        self: &Arc<Self>,
        module: &ModulePath,
        version: &Version,
        tombstone: Option<Tombstone>,
    ) -> Result<(), RepoError> {
        let decide = |draft: &mut Draft| {
            let Some(zip) = draft.record.zip else {
                return Err(RepoError::NotFound(format!("{module}@{version} was not published here")));
            };
            if draft.record.tombstone.is_some() == tombstone.is_some() {
                return Ok(Decision::Keep);
            }
            let (event_type, reason) = match tombstone {
                Some(_) => (EventType::Delete, "delete"),
                None => (EventType::Create, "restore"),
            };
            let h1 = draft.identity.zip_h1.clone();
            draft.events.push(event(event_type, version, zip.digest, h1, reason));
            draft.record.tombstone.clone_from(&tombstone);
            Ok(Decision::Write)
        };
        self.store.commit_version(self.subject(module), version.as_str(), &[], decide).await
    }
}

/// Decides what becomes of a candidate, given what is recorded at that moment.
fn decide(what: &str, version: &Version, candidate: &Candidate, draft: &mut Draft) -> Result<Decision, RepoError> {
    let Draft { record, identity, events } = draft;
    if record.tombstone.is_some() {
        return Err(RepoError::Conflict(format!("{what} was removed; restore it instead")));
    }
    if let Some(Stored { digest, .. }) = record.zip {
        if digest == candidate.zip.stored.digest {
            return Ok(Decision::Keep);
        }
        return Err(RepoError::Conflict(format!("{what} exists with other bytes; a version never changes")));
    }
    let differs = |known: &Option<String>, new: &String| known.as_ref().is_some_and(|known| known != new);
    if differs(&identity.zip_h1, &candidate.h1) || differs(&identity.mod_h1, &candidate.mod_h1) {
        return Err(RepoError::Conflict(format!("{what} is known with another hash; a version never changes")));
    }
    record.info = Some(candidate.info.stored);
    record.gomod = Some(candidate.gomod.stored);
    record.zip = Some(candidate.zip.stored);
    record.created_ms = candidate.now_ms;
    record.announced = true;
    identity.zip_h1 = Some(candidate.h1.clone());
    identity.mod_h1 = Some(candidate.mod_h1.clone());
    let digest = candidate.zip.stored.digest;
    events.push(event(EventType::Create, version, digest, Some(candidate.h1.clone()), "publish"));
    Ok(Decision::Write)
}

fn event(event_type: EventType, version: &Version, sha256: Digest, h1: Option<String>, reason: &'static str) -> Event {
    Event { event_type, kind: Kind::Version, version: Some(version.to_string()), sha256: Some(sha256), h1, reason }
}

/// Judges an upload by the rules of `golang.org/x/mod/zip`.
pub(super) async fn verify(module: &ModulePath, version: &Version, upload: &Upload) -> Result<ZipSummary, RepoError> {
    let (module, version, path, len) = (module.clone(), version.clone(), upload.path.clone(), upload.len);
    blocking(move || {
        let file = File::open(&path).map_err(|error| unreadable(&error))?;
        verify_zip(file, len, &module, &version).map_err(|error| refusal(&error))
    })
    .await
}

fn refusal(error: &ZipError) -> RepoError {
    match error {
        ZipError::Io(error) => unreadable(error),
        ZipError::TooLarge(_) => RepoError::TooLarge(error.to_string()),
        ZipError::Format(_) | ZipError::Entry { .. } | ZipError::Foreign { .. } => {
            RepoError::BadModule(error.to_string())
        }
    }
}

fn unreadable(error: &std::io::Error) -> RepoError {
    tracing::error!(%error, "an upload cannot be read back");
    RepoError::Storage("the upload cannot be read back".to_owned())
}

/// The `.mod` of a version: the zip's go.mod, or the one that the `go` command makes up.
fn check_gomod(module: &ModulePath, version: &Version, found: Option<Bytes>) -> Result<Bytes, RepoError> {
    let Some(body) = found else {
        let major = split_path_version(module.as_str()).map_or("", |(_, major)| major);
        if major.starts_with('/') {
            return Err(RepoError::BadModule(format!("{module}: a module path that ends in {major} needs a go.mod")));
        }
        return Ok(gomod::synthesized(module).into());
    };
    if version.is_incompatible() {
        return Err(RepoError::BadModule(format!(
            "{module}@{version}: a module with a go.mod cannot be +incompatible; its path must end in the major version"
        )));
    }
    match gomod::module_path_of(&body) {
        Some(named) if named == module.as_str() => Ok(body),
        Some(named) => Err(RepoError::BadModule(format!("the go.mod names module {named:?}, not {module:?}"))),
        None => Err(RepoError::BadModule("the go.mod names no module".to_owned())),
    }
}

/// The `.info` of a version published at a time.
fn info_of(version: &Version, at_ms: u64) -> Bytes {
    let seconds = i64::try_from(at_ms / 1000).unwrap_or(0);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let time = time.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned());
    format!("{{\"Version\":\"{version}\",\"Time\":\"{time}\"}}").into()
}

/// Runs what waits for the disk where waiting is allowed.
pub(super) async fn blocking<T: Send + 'static, E: Into<RepoError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, RepoError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| {
        tracing::error!(%error, "a storage task ended early");
        RepoError::Storage("a storage task ended early".to_owned())
    })?;
    done.map_err(Into::into)
}

#[cfg(test)]
mod tests;
