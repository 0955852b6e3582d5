//! Repositories: where modules come from, and what all kinds of them have in common.
//!
//! A *local* repository holds what was published to it, a *private* one what it fetched from version control, a *remote* one is another GOPROXY server whose artefacts are kept
//! here, a *virtual* one is an ordered merge of the others. They answer the same question, [`Repository::fetch`], with an
//! [`Answer`] or a [`RepoError`]; nothing here knows of HTTP statuses (`error.rs` has the one table).
//!
//! What decides who may be asked is [`owner`]: a path that a local repository owns is asked of nobody else, also while
//! that repository cannot answer.

mod answer;
mod build;
mod error;
mod figures;
mod heal;
mod latest;
mod list;
mod local;
mod owner;
mod parts;
mod private;
mod publish;
mod quarantine;
mod remote;
pub(crate) mod retention;
mod scope;
mod settings;
#[cfg(test)]
mod testing;
mod verify;
mod virtual_;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use shared::artefact::Artefact;
use shared::change::ChangeId;
use shared::digest::Digest;
use shared::fill::Fill;
use shared::module::{ModulePath, Version};
use shared::request::ModuleRequest;

pub(crate) use self::build::Repositories;
pub(crate) use self::error::RepoError;
pub(crate) use self::parts::{Brought, Part};
pub(crate) use self::private::{Webhook, place_of};
pub(crate) use self::settings::{RepositoryKind, RepositorySettings, default_repositories};
pub(crate) use self::verify::{Proof, TOOLCHAIN, Verdict, Verifier, VerifyError};
use crate::store::{Manifest, OpenBlob, Store, Tombstone, View, now_ms};

/// How a request may be answered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FetchOptions {
    /// `Disable-Module-Fetch: true`: only from what is held, not found otherwise; nobody upstream is asked.
    pub(crate) held_only: bool,
    /// A list that is held is confirmed by its source first, however fresh it is; unless that was done a moment ago.
    pub(crate) revalidate: bool,
}

impl FetchOptions {
    /// Only from what is held.
    pub(crate) const HELD_ONLY: Self = Self { held_only: true, revalidate: false };

    /// With the sources' word of now.
    pub(crate) const REVALIDATE: Self = Self { held_only: false, revalidate: true };

    /// For how long an answer that was fetched counts as fresh, of `period` that it does otherwise.
    fn fresh_for(self, period: Duration) -> Duration {
        if self.revalidate { period.min(REVALIDATED_FOR) } else { period }
    }
}

/// Who wants the sources' word of now gets one that is no older. It is also what one module may cost an upstream at most.
const REVALIDATED_FOR: Duration = Duration::from_secs(1);

/// A found artefact.
#[derive(Debug)]
pub(crate) struct Answer {
    /// SHA-256 of the body; none while it is still filling.
    pub(crate) digest: Option<Digest>,
    /// Length of the body in bytes, where it is known (an upstream may stream without saying).
    pub(crate) len: Option<u64>,
    /// When the body was stored, published, or last modified at its upstream.
    pub(crate) modified: SystemTime,
    /// Mutable artefacts: a head of the asked repository's log that this answer reflects entirely. None for immutable
    /// ones, and for an answer that may lack a member's part: an edge then takes it as stale.
    pub(crate) change_id: Option<ChangeId>,
    /// Where it came from.
    pub(crate) cache: CacheStatus,
    /// The bytes, or how to get them.
    pub(crate) body: Body,
    /// Whether a local (or private) repository answered.
    pub(crate) private: bool,
    /// What whoever keeps this answer should know. One with a caveat is not kept here either.
    pub(crate) caveat: Option<Caveat>,
}

/// What an answer lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caveat {
    /// The part of a member that could not be asked.
    Partial,
    /// The proof of a checksum database that could not be asked.
    Unverified,
}

/// The body of an [`Answer`].
#[derive(Debug)]
pub(crate) enum Body {
    /// Small and in memory.
    Bytes(Bytes),
    /// A stored blob: `store.blobs().read_open(blob, range)`.
    Blob(OpenBlob),
    /// Still arriving from upstream. Its head is there already; after `fill.done()` the same fetch answers from the store.
    Filling(Arc<Fill<FillHead>>),
}

/// What is known of a fill's body before its bytes.
#[derive(Debug, Clone)]
pub(crate) struct FillHead {
    /// Length in bytes as the upstream said, if it did.
    pub(crate) len: Option<u64>,
    /// `Last-Modified` of the upstream, or the time the fill began.
    pub(crate) modified: SystemTime,
    /// Whether it may be served without having been verified; then it is not kept.
    pub(crate) unverified: bool,
}

/// How the store took part in an answer (`X-Cache`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheStatus {
    /// Held and fresh.
    Hit,
    /// Fetched for this request or for one that runs beside it.
    Miss,
    /// Held beyond its period, because the upstream could not be asked.
    Stale,
    /// Held, and the upstream confirmed it for this request.
    Revalidated,
    /// A recorded "not found". Answers carry it never; see [`RepoError::is_absent`].
    #[expect(dead_code, reason = "part of the X-Cache vocabulary; error answers get it from the error")]
    Negative,
}

/// An upload that lies in a file of [`Store::spool_dir`]. The file is copied; removing it is the caller's.
#[derive(Debug)]
pub(crate) struct Upload {
    /// The temporary file.
    pub(crate) path: PathBuf,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// Its SHA-256.
    pub(crate) sha256: Digest,
}

/// A published version.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// False if the same bytes were there before.
    pub(crate) created: bool,
    /// SHA-256 of the zip.
    pub(crate) sha256: Digest,
    /// `h1:` of the zip.
    pub(crate) h1: String,
    /// When it was (first) published.
    pub(crate) time: SystemTime,
    /// The local repository that holds it.
    pub(crate) repository: String,
    /// By log that tells of it, a change at or after which it does.
    pub(crate) changes: BTreeMap<String, ChangeId>,
}

/// Whether what is published may make a path the repository's that belongs to nobody yet. It then belongs to it in the whole center.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claiming {
    /// It may.
    Allowed,
    /// Only what the repository owns already may be published.
    Refused,
}

/// What the sources list of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refreshed {
    /// All tagged versions, sorted.
    pub(crate) versions: Vec<Version>,
    /// Those that were not held before; none where nothing was held.
    pub(crate) new: Vec<Version>,
    /// Every source that is asked has answered.
    pub(crate) is_confirmed: bool,
}

/// One configured repository.
pub(crate) struct Repository {
    name: String,
    store: Store,
    owners: Arc<owner::Owners>,
    scope: scope::Scope,
    priority: u32,
    hard_fail: bool,
    /// Stands for what is configured: who may answer for what follows from it, and from what was published.
    rules: Digest,
    inner: Inner,
}

enum Inner {
    Local(Arc<local::Local>),
    Private(Arc<private::Private>),
    Remote(Arc<remote::Remote>),
    Virtual(virtual_::Virtual),
}

impl Repository {
    /// Its name in URLs and in the change log.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Local, private, remote or virtual.
    pub(crate) const fn kind(&self) -> RepositoryKind {
        match self.inner {
            Inner::Local(_) => RepositoryKind::Local,
            Inner::Private(_) => RepositoryKind::Private,
            Inner::Remote(_) => RepositoryKind::Remote,
            Inner::Virtual(_) => RepositoryKind::Virtual,
        }
    }

    /// Answers a request for an artefact.
    pub(crate) fn fetch<'a>(
        &'a self,
        request: &'a ModuleRequest,
        options: &'a FetchOptions,
    ) -> BoxFuture<'a, Result<Answer, RepoError>> {
        Box::pin(async move {
            self.require_in_scope(&request.module)?;
            match &self.inner {
                Inner::Local(local) => local.fetch(request).await,
                Inner::Private(private) => private.fetch(request, options).await,
                Inner::Remote(remote) => remote.fetch(request, options).await,
                Inner::Virtual(virtual_) => virtual_.fetch(request, options).await,
            }
        })
    }

    /// Whether an administrator removed this version here or in a member.
    async fn is_tombstoned(&self, module: &ModulePath, version: &Version) -> Result<bool, RepoError> {
        for leaf in self.leaves() {
            let record = self.store.version(&leaf, module.as_str(), version.as_str()).await?;
            if record.is_some_and(|record| record.tombstone.is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes a version for good, unless restored: it is gone from lists, and a local repository answers it as gone, a
    /// remote one as blocked.
    pub(crate) async fn tombstone(&self, module: &ModulePath, version: &Version) -> Result<(), RepoError> {
        match &self.inner {
            Inner::Remote(remote) => remote.mark(module, version, Some(Tombstone { at_ms: now_ms() })).await,
            Inner::Private(private) => private.mark(module, version, Some(Tombstone { at_ms: now_ms() })).await,
            Inner::Local(_) | Inner::Virtual(_) => self.deployment()?.tombstone(module, version).await,
        }
    }

    /// Lifts a tombstone.
    pub(crate) async fn restore(&self, module: &ModulePath, version: &Version) -> Result<(), RepoError> {
        match &self.inner {
            Inner::Remote(remote) => remote.mark(module, version, None).await,
            Inner::Private(private) => private.mark(module, version, None).await,
            Inner::Local(_) | Inner::Virtual(_) => self.deployment()?.restore(module, version).await,
        }
    }

    /// This repository's webhook, if it has one.
    pub(crate) fn webhook(&self) -> Option<&Webhook> {
        match &self.inner {
            Inner::Private(private) => private.webhook(),
            Inner::Local(_) | Inner::Remote(_) | Inner::Virtual(_) => None,
        }
    }

    /// Asks anew, at once, for what is known of the version control repositories at these places ([`place_of`]). Returns how
    /// many modules that concerns.
    pub(crate) async fn renew(&self, places: &[String]) -> Result<usize, RepoError> {
        match &self.inner {
            Inner::Private(private) => private.renew(places).await,
            Inner::Local(_) | Inner::Remote(_) | Inner::Virtual(_) => Ok(0),
        }
    }

    /// The manifest of what this repository holds (a virtual one: of its members).
    pub(crate) async fn manifest(&self) -> Result<Manifest, RepoError> {
        let (members, rules) = (self.leaves(), self.rules);
        let may_answer = |member: &str, module: &str| self.owners.may_answer(member, module);
        let view = View { repository: &self.name, members: &members, rules, may_answer };
        Ok(self.store.manifest(&view).await?)
    }

    /// The lines of one of the manifest's 256 buckets.
    pub(crate) async fn manifest_bucket(&self, bucket: u8) -> Result<String, RepoError> {
        let (members, rules) = (self.leaves(), self.rules);
        let may_answer = |member: &str, module: &str| self.owners.may_answer(member, module);
        let view = View { repository: &self.name, members: &members, rules, may_answer };
        Ok(self.store.bucket(&view, usize::from(bucket)).await?)
    }

    /// The versions that the sources list of a module now, and those that were held before they were asked.
    pub(crate) async fn refresh(&self, module: &ModulePath) -> Result<Refreshed, RepoError> {
        let request = ModuleRequest { module: module.clone(), artefact: Artefact::List };
        let held = match self.fetch(&request, &FetchOptions::HELD_ONLY).await {
            Ok(answer) => Some(list::read_own(module, &answer.bytes(&self.store).await?)),
            // Nothing is held: then nothing is new either, as nobody has it in a list.
            Err(_) => None,
        };
        let answer = self.fetch(&request, &FetchOptions::REVALIDATE).await?;
        let is_confirmed = answer.cache != CacheStatus::Stale && answer.caveat.is_none();
        let versions = list::read_own(module, &answer.bytes(&self.store).await?);
        let is_new = |version: &&Version| held.as_ref().is_some_and(|held| !held.contains(version));
        let new = versions.iter().filter(is_new).cloned().collect();
        Ok(Refreshed { versions, new, is_confirmed })
    }

    /// The repositories that would be asked for a module and have a source to ask: remote and private ones.
    pub(crate) fn sources(&self, module: &ModulePath) -> Vec<&str> {
        if !self.may_answer(module) || self.require_in_scope(module).is_err() {
            return Vec::new();
        }
        match &self.inner {
            Inner::Local(_) => Vec::new(),
            Inner::Private(_) | Inner::Remote(_) => vec![&self.name],
            Inner::Virtual(virtual_) => virtual_.members.iter().flat_map(|member| member.sources(module)).collect(),
        }
    }

    /// The local repository that takes what is published here.
    fn deployment(&self) -> Result<&Arc<local::Local>, RepoError> {
        match &self.inner {
            Inner::Local(local) => Ok(local),
            Inner::Private(_) | Inner::Remote(_) => {
                Err(RepoError::NotWritable(format!("repository {:?} is a {} one", self.name, self.kind().as_str())))
            }
            Inner::Virtual(virtual_) => virtual_.deployment().ok_or_else(|| {
                RepoError::NotWritable(format!("repository {:?} has no default deployment repository", self.name))
            }),
        }
    }
}
