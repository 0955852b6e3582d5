//! From what a fetcher brought to a version of this repository: checked like any other, and committed as one.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use shared::change::{EventType, Kind};
use shared::digest::{Digest, Hasher};
use shared::module::zip::{ZipError, ZipSummary, verify_zip};
use shared::module::{ModulePath, Version, gomod, h1};

use super::fetcher::{Download, Metadata};
use super::{Private, name_of};
use crate::repository::RepoError;
use crate::repository::figures::Refusal;
use crate::repository::latest::version_of_info;
use crate::store::{Decision, Draft, Event, NewBody, Placed, Tombstone, now_ms};

/// What is proven and safe on disk but not yet visible.
struct Candidate {
    info: Placed,
    gomod: Placed,
    mod_h1: String,
    /// With its `h1:`.
    zip: Option<(Placed, String)>,
}

impl Private {
    pub(super) async fn commit_metadata(
        &self,
        module: &ModulePath,
        version: &Version,
        metadata: Metadata,
    ) -> Result<(), RepoError> {
        let Metadata { info, gomod } = metadata;
        let candidate = self.candidate(module, version, info, gomod).await?;
        self.commit(module, version, candidate).await
    }

    pub(super) async fn commit_download(
        &self,
        module: &ModulePath,
        version: &Version,
        download: Download,
    ) -> Result<(), RepoError> {
        let Download { info, gomod, zip, h1, folder } = download;
        let (digest, len, summary) = self.inspect(module, version, &zip).await?;
        let what = name_of(module, version);
        if let Some(stated) = h1.filter(|stated| *stated != summary.h1) {
            let detail = format!("zip {}, stated {stated}", summary.h1);
            self.figures.refused(&self.name, &what, Refusal::BadZip, &detail);
            return Err(RepoError::Integrity(format!("{what}: the fetched zip is not the one that was announced")));
        }
        let inside = summary.gomod.unwrap_or_else(|| gomod::synthesized(module).into());
        let gomod = gomod.unwrap_or(inside);
        if h1::hash1_gomod(&gomod) != summary.gomod_h1 {
            self.figures.refused(&self.name, &what, Refusal::BadZip, "the go.mod inside is another one");
            return Err(RepoError::Integrity(format!("{what}: the go.mod inside the fetched zip is another one")));
        }
        let mut candidate = self.candidate(module, version, info, gomod).await?;
        let placed = self.store.place(NewBody::File { path: zip, len, digest }, now_ms()).await?;
        candidate.zip = Some((placed, summary.h1));
        // The file was copied; the folder may hold many more of them.
        tokio::task::spawn_blocking(move || drop(folder));
        self.commit(module, version, candidate).await
    }

    async fn candidate(
        &self,
        module: &ModulePath,
        version: &Version,
        info: Bytes,
        gomod: Bytes,
    ) -> Result<Candidate, RepoError> {
        if version_of_info(module, &info).as_ref() != Some(version) {
            let what = name_of(module, version);
            return Err(RepoError::Upstream(format!("{what}: the fetcher's answer is not about this version")));
        }
        Ok(Candidate {
            mod_h1: h1::hash1_gomod(&gomod),
            info: self.store.place(NewBody::Memory(info), now_ms()).await?,
            gomod: self.store.place(NewBody::Memory(gomod), now_ms()).await?,
            zip: None,
        })
    }

    /// Judges the zip by the rules of `golang.org/x/mod/zip`, and hashes it.
    async fn inspect(
        &self,
        module: &ModulePath,
        version: &Version,
        zip: &Path,
    ) -> Result<(Digest, u64, ZipSummary), RepoError> {
        let (of, at, path) = (module.clone(), version.clone(), zip.to_owned());
        let inspected = tokio::task::spawn_blocking(move || {
            let (digest, len) = hash_file(&path)?;
            let summary = verify_zip(File::open(&path)?, len, &of, &at)?;
            Ok::<_, ZipError>((digest, len, summary))
        });
        let inspected = inspected.await.map_err(|error| RepoError::Storage(error.to_string()))?;
        inspected.map_err(|error| {
            let what = name_of(module, version);
            if error.is_io() {
                tracing::error!(what, %error, "a fetched zip cannot be read back");
                return RepoError::Storage("a fetched zip cannot be read back".to_owned());
            }
            self.figures.refused(&self.name, &what, Refusal::BadZip, &error.to_string());
            RepoError::Integrity(format!("{what}: the fetched zip is not valid: {error}"))
        })
    }

    async fn commit(&self, module: &ModulePath, version: &Version, candidate: Candidate) -> Result<(), RepoError> {
        let mut bodies = vec![candidate.info.clone(), candidate.gomod.clone()];
        bodies.extend(candidate.zip.iter().map(|(zip, _)| zip.clone()));
        let decide = |draft: &mut Draft| {
            decide(module, version, &candidate, draft).inspect_err(|error| {
                if matches!(error, RepoError::Integrity(_)) {
                    let what = name_of(module, version);
                    self.figures.refused(&self.name, &what, Refusal::Identity, "version control has other bytes now");
                }
            })
        };
        self.store.commit_version(self.subject(module), version.as_str(), &bodies, decide).await
    }

    /// An administrator's DELETE, or its end. The version need not be held.
    pub(in crate::repository) async fn mark(
        &self,
        module: &ModulePath,
        version: &Version,
        tombstone: Option<Tombstone>,
    ) -> Result<(), RepoError> {
        let decide = |draft: &mut Draft| {
            if draft.record.tombstone.is_some() == tombstone.is_some() {
                return Ok::<_, RepoError>(Decision::Keep);
            }
            let (event_type, reason) = match tombstone {
                Some(_) => (EventType::Delete, "delete"),
                None => (EventType::Create, "restore"),
            };
            draft.events.push(event(event_type, version, draft, reason));
            draft.record.tombstone.clone_from(&tombstone);
            Ok(Decision::Write)
        };
        self.store.commit_version(self.subject(module), version.as_str(), &[], decide).await
    }
}

/// Decides under the commit lock what becomes of a candidate. What is there stays: a version never changes.
fn decide(
    module: &ModulePath,
    version: &Version,
    candidate: &Candidate,
    draft: &mut Draft,
) -> Result<Decision, RepoError> {
    let what = || name_of(module, version);
    if draft.record.tombstone.is_some() {
        return Err(RepoError::Gone(format!("{} was removed", what())));
    }
    let differs = |known: Option<&String>, new: &String| known.is_some_and(|known| known != new);
    let identity = &mut draft.identity;
    let zip_differs = candidate.zip.as_ref().is_some_and(|(_, h1)| differs(identity.zip_h1.as_ref(), h1));
    if zip_differs || differs(identity.mod_h1.as_ref(), &candidate.mod_h1) {
        return Err(RepoError::Integrity(format!(
            "{}: version control has other bytes now than those that are recorded; was the tag moved?",
            what()
        )));
    }
    identity.mod_h1 = Some(candidate.mod_h1.clone());
    let record = &mut draft.record;
    if [record.info, record.gomod, record.zip].iter().all(Option::is_none) {
        record.created_ms = now_ms();
    }
    record.info.get_or_insert(candidate.info.stored);
    record.gomod.get_or_insert(candidate.gomod.stored);
    if let Some((zip, h1)) = &candidate.zip {
        identity.zip_h1 = Some(h1.clone());
        // Bytes that were lost are replaced by others of the same identity.
        record.zip = Some(zip.stored);
    }
    if !record.announced {
        record.announced = true;
        let event = event(EventType::Create, version, draft, "fill");
        draft.events.push(event);
    }
    Ok(Decision::Write)
}

fn event(event_type: EventType, version: &Version, draft: &Draft, reason: &'static str) -> Event {
    let zip = draft.record.zip;
    Event {
        event_type,
        kind: Kind::Version,
        version: Some(version.to_string()),
        sha256: zip.map(|zip| zip.digest),
        h1: zip.and_then(|_| draft.identity.zip_h1.clone()),
        reason,
    }
}

fn hash_file(path: &Path) -> std::io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::default();
    let mut chunk = vec![0; 256 << 10];
    let mut len = 0;
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok((hasher.digest(), len));
        }
        hasher.update(&chunk[..count]);
        len += count as u64;
    }
}
