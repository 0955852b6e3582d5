//! A virtual repository: an ordered merge of others.
//!
//! Owner rules go first: a path that a member owns is asked of its owners only. For everything else the members are asked by
//! priority and then in order; the first that has a version serves it, the lists of one priority are merged, and what a member
//! of a higher priority has is not asked of those below. "Not found" is said only if every member says so: one that could
//! not be asked might have it. A list that lacks a member's part is said to be partial, and is an error where the path is
//! owned or the member's failure is to fail all.

mod memo;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use shared::artefact::Artefact;
use shared::digest::Digest;
use shared::module::{ModulePath, Version};
use shared::request::ModuleRequest;
use tokio::time::timeout;

pub(super) use self::memo::Memo;
use self::memo::Merged;
use super::latest::{unretracted, version_of_info};
use super::local::Local;
use super::owner::Owners;
use super::{Answer, CacheStatus, Caveat, FetchOptions, Inner, RepoError, Repository, list};
use crate::store::{ChangeLog, Store};
use crate::upstream::describe;

/// How often an answer is computed again because something changed meanwhile. What is needed is held by then.
const SETTLE_ATTEMPTS_MAX: usize = 3;

/// An ordered merge of other repositories.
pub(super) struct Virtual {
    pub(super) store: Store,
    pub(super) log: ChangeLog,
    pub(super) owners: Arc<Owners>,
    /// By priority, highest first.
    pub(super) members: Vec<Arc<Repository>>,
    pub(super) default_deployment: Option<Arc<Local>>,
    pub(super) merge_timeout: Duration,
    pub(super) memo: Memo,
}

/// What the members said together.
struct Merge {
    answers: Vec<Answer>,
    /// The gravest of the failures, if there was one.
    failure: Option<RepoError>,
    /// Why there can be no answer at all, whatever the others say.
    refusal: Option<RepoError>,
}

impl Merge {
    fn is_outage(&self) -> bool {
        self.failure.as_ref().is_some_and(is_outage)
    }
}

impl Virtual {
    pub(super) async fn fetch(&self, request: &ModuleRequest, options: &FetchOptions) -> Result<Answer, RepoError> {
        match &request.artefact {
            Artefact::List => self.settled(|| self.list(request, options)).await,
            Artefact::Latest => self.settled(|| self.latest(request, options)).await,
            Artefact::Query(_) => self.settled(|| self.first(request, options)).await,
            Artefact::Info(version) | Artefact::Mod(version) | Artefact::Zip(version) => {
                self.version(request, version, options).await
            }
        }
    }

    /// The first owner among the members and what is below them.
    pub(super) fn owner_of(&self, module: &ModulePath) -> Option<&str> {
        self.members.iter().find_map(|member| member.owner_of(module))
    }

    pub(super) fn leaves(&self) -> Vec<String> {
        let mut leaves: Vec<String> = Vec::new();
        for leaf in self.members.iter().flat_map(|member| member.leaves()) {
            if !leaves.contains(&leaf) {
                leaves.push(leaf);
            }
        }
        leaves
    }

    pub(super) const fn deployment(&self) -> Option<&Arc<Local>> {
        self.default_deployment.as_ref()
    }

    /// The members that may answer for a path: its owners, or else all that are not local (what a local repository has,
    /// it owns), as far as their patterns have it.
    fn candidates(&self, module: &ModulePath) -> Result<Vec<&Arc<Repository>>, RepoError> {
        let members: Vec<_> = self.members.iter().filter(|member| member.may_answer(module)).collect();
        if members.is_empty() {
            return match self.owners.owner_of(module) {
                Some(owner) => Err(RepoError::Blocked(format!(
                    "{module} belongs to repository {owner:?} and is asked of no other"
                ))),
                None => Ok(members),
            };
        }
        let candidates: Vec<_> = members.into_iter().filter(|member| member.scope.contains(module.as_str())).collect();
        if candidates.is_empty() {
            // Not "not found": that would send `go` elsewhere with a name that is blocked here.
            return Err(RepoError::Blocked(format!("{module} is not among what any source answers for")));
        }
        Ok(candidates)
    }

    /// The same by priority, highest first.
    fn ranks(&self, module: &ModulePath) -> Result<Vec<Vec<&Arc<Repository>>>, RepoError> {
        let candidates = self.candidates(module)?;
        Ok(candidates.chunk_by(|one, next| one.priority == next.priority).map(<[_]>::to_vec).collect())
    }

    /// Computes a mutable answer as of a head of this repository's log: again, if the log moved meanwhile.
    async fn settled<F, Fut>(&self, compute: F) -> Result<Answer, RepoError>
    where
        F: Fn() -> Fut + Send,
        Fut: Future<Output = Result<Answer, RepoError>> + Send,
    {
        let mut head = self.log.head();
        let mut answer = compute().await?;
        for _ in 0..SETTLE_ATTEMPTS_MAX {
            let now = self.log.head();
            if now == head {
                break;
            }
            head = now;
            answer = Answer { cache: answer.cache, ..compute().await? };
        }
        // A member's answer without a head is stale or partial, and so is the merge.
        answer.change_id = answer.change_id.map(|_| head);
        Ok(answer)
    }

    async fn version(
        &self,
        request: &ModuleRequest,
        version: &Version,
        options: &FetchOptions,
    ) -> Result<Answer, RepoError> {
        // A tombstone beats every member behind it.
        for member in self.candidates(&request.module)? {
            if !member.kind().has_its_own() && member.is_tombstoned(&request.module, version).await? {
                let removed = format!("{}@{version} was removed by an administrator", request.module);
                return Err(RepoError::Blocked(removed));
            }
        }
        self.first(request, options).await
    }

    /// The answer of the first member that has it.
    async fn first(&self, request: &ModuleRequest, options: &FetchOptions) -> Result<Answer, RepoError> {
        let mut failure: Option<RepoError> = None;
        let ranks = self.ranks(&request.module)?;
        let last = ranks.len().saturating_sub(1);
        for (at, rank) in ranks.iter().enumerate() {
            for member in rank {
                match member.fetch(request, options).await {
                    Ok(answer) => return self.after(failure, request, answer),
                    Err(error) if member.hard_fail && is_outage(&error) => return Err(error),
                    Err(error) => failure = Some(graver(failure, error)),
                }
            }
            // Those below are asked only for modules that are not here.
            if at < last && (failure.as_ref().is_some_and(is_outage) || self.lists(rank, request, options).await?) {
                break;
            }
        }
        Err(failure.unwrap_or_else(|| nobody(request)))
    }

    /// An answer, after `failure` of members before it. What a version is does not depend on who is asked; what a branch is does.
    fn after(&self, failure: Option<RepoError>, request: &ModuleRequest, answer: Answer) -> Result<Answer, RepoError> {
        match failure.filter(is_outage) {
            Some(error) if request.artefact.is_mutable() => {
                if self.owners.owner_of(&request.module).is_some() {
                    return Err(error);
                }
                Ok(Answer { caveat: Some(Caveat::Partial), change_id: None, ..answer })
            }
            _ => Ok(answer),
        }
    }

    /// Whether one of these members has versions of the module.
    async fn lists(
        &self,
        rank: &[&Arc<Repository>],
        request: &ModuleRequest,
        options: &FetchOptions,
    ) -> Result<bool, RepoError> {
        let request = ModuleRequest { module: request.module.clone(), artefact: Artefact::List };
        let merge = self.merge_rank(rank, &request, options).await;
        let has_versions = merge.answers.iter().any(|answer| answer.len != Some(0));
        match merge.failure {
            Some(error) if !has_versions && is_outage(&error) => Err(error),
            _ => Ok(has_versions),
        }
    }

    /// What the members of the highest priority that have the module say together.
    async fn merge(&self, request: &ModuleRequest, options: &FetchOptions) -> Result<Merge, RepoError> {
        let mut merge = Merge { answers: Vec::new(), failure: None, refusal: None };
        for rank in self.ranks(&request.module)? {
            let more = self.merge_rank(&rank, request, options).await;
            merge.answers.extend(more.answers);
            merge.refusal = more.refusal;
            if let Some(error) = more.failure {
                merge.failure = Some(graver(merge.failure, error));
            }
            if merge.is_outage() || merge.answers.iter().any(|answer| answer.len != Some(0)) {
                break;
            }
        }
        // Of an owned path nothing may be missing: the next best version would be taken for the newest.
        if merge.is_outage() && self.owners.owner_of(&request.module).is_some() {
            merge.refusal = merge.refusal.or_else(|| merge.failure.clone());
        }
        match merge.refusal {
            Some(refusal) => Err(refusal),
            None => Ok(merge),
        }
    }

    async fn merge_rank(&self, rank: &[&Arc<Repository>], request: &ModuleRequest, options: &FetchOptions) -> Merge {
        let asked = rank.iter().map(|member| async move {
            let too_slow = || RepoError::Timeout(format!("{}: a source is too slow", describe(request)));
            timeout(self.merge_timeout, member.fetch(request, options)).await.unwrap_or_else(|_| Err(too_slow()))
        });
        let mut merge = Merge { answers: Vec::new(), failure: None, refusal: None };
        for (member, result) in rank.iter().zip(join_all(asked).await) {
            match result {
                Ok(answer) => merge.answers.push(answer),
                Err(error) => {
                    if member.hard_fail && is_outage(&error) {
                        merge.refusal = Some(graver(merge.refusal, error.clone()));
                    }
                    merge.failure = Some(graver(merge.failure, error));
                }
            }
        }
        merge
    }

    async fn list(&self, request: &ModuleRequest, options: &FetchOptions) -> Result<Answer, RepoError> {
        self.merged_list(request, options).await.map(|(answer, _)| answer)
    }

    async fn merged_list(
        &self,
        request: &ModuleRequest,
        options: &FetchOptions,
    ) -> Result<(Answer, Arc<Merged>), RepoError> {
        let merge = self.merge(request, options).await?;
        let is_outage = merge.is_outage();
        let Merge { answers, failure, .. } = merge;
        let merged = self.joined(&request.module, &answers).await?;
        if answers.is_empty() || (is_outage && merged.versions.is_empty()) {
            return Err(failure.unwrap_or_else(|| nobody(request)));
        }
        let modified = answers.iter().map(|answer| answer.modified).max().unwrap_or(SystemTime::UNIX_EPOCH);
        let cache = status_of(&answers, is_outage);
        let mut answer = Answer::known(merged.body.clone(), merged.digest, modified, cache);
        answer.private = answers.iter().any(|answer| answer.private);
        answer.change_id = answers.first().and_then(|answer| answer.change_id);
        if is_outage || answers.iter().any(|answer| answer.change_id.is_none()) {
            answer.change_id = None;
        }
        answer.caveat = caveat(is_outage, &answers);
        Ok((answer, merged))
    }

    /// The lists of members in one.
    async fn joined(&self, module: &ModulePath, answers: &[Answer]) -> Result<Arc<Merged>, RepoError> {
        let digests: Option<Vec<Digest>> = answers.iter().map(|answer| answer.digest).collect();
        if let Some(known) = digests.as_ref().and_then(|digests| self.memo.get(module, digests)) {
            return Ok(known);
        }
        let mut versions = Vec::new();
        for answer in answers {
            versions.extend(list::read_own(module, &answer.bytes(&self.store).await?));
        }
        let merged = Arc::new(Merged::of(versions));
        if let Some(digests) = digests {
            self.memo.put(module, digests, &merged);
        }
        Ok(merged)
    }

    /// As the `go` command defines it: over the merged list, or else the newest of what the members call their latest.
    async fn latest(&self, request: &ModuleRequest, options: &FetchOptions) -> Result<Answer, RepoError> {
        let of = |artefact| ModuleRequest { module: request.module.clone(), artefact };
        let list_request = of(Artefact::List);
        let (list, merged) = match self.merged_list(&list_request, options).await {
            Ok(found) => found,
            // Without a list a member may still know its latest.
            Err(error) if error.is_absent() => return self.members_latest(request, options).await,
            Err(error) => return Err(error),
        };
        let gomod = |version: Version| async move {
            let request = ModuleRequest { module: request.module.clone(), artefact: Artefact::Mod(version) };
            self.first(&request, options).await?.bytes(&self.store).await
        };
        let Some(version) = unretracted(&request.module, &merged.versions, gomod).await? else {
            return self.members_latest(request, options).await;
        };
        let info = self.first(&of(Artefact::Info(version)), options).await?;
        let cache = if list.cache == CacheStatus::Hit { info.cache } else { list.cache };
        let caveat = list.caveat.or(info.caveat);
        Ok(Answer { cache, change_id: list.change_id, private: list.private || info.private, caveat, ..info })
    }

    async fn members_latest(&self, request: &ModuleRequest, options: &FetchOptions) -> Result<Answer, RepoError> {
        let merge = self.merge(request, options).await?;
        let is_outage = merge.is_outage();
        let Merge { answers, failure, .. } = merge;
        let caveat = caveat(is_outage, &answers);
        let mut newest: Option<(Version, Answer)> = None;
        for answer in answers {
            let named = version_of_info(&request.module, &answer.bytes(&self.store).await?);
            if let Some(version) = named.filter(|version| newest.as_ref().is_none_or(|(best, _)| best < version)) {
                newest = Some((version, answer));
            }
        }
        let Some((_, mut answer)) = newest else {
            return Err(failure.unwrap_or_else(|| nobody(request)));
        };
        if is_outage {
            answer.change_id = None;
        }
        answer.caveat = caveat;
        Ok(answer)
    }
}

/// The kind of local repository a member is, if it is one.
pub(super) fn local_of(repository: &Repository) -> Option<Arc<Local>> {
    match &repository.inner {
        Inner::Local(local) => Some(Arc::clone(local)),
        Inner::Private(_) | Inner::Remote(_) | Inner::Virtual(_) => None,
    }
}

/// What a merge lacks: a member's part, or what a member's answer lacks itself.
fn caveat(is_outage: bool, answers: &[Answer]) -> Option<Caveat> {
    if is_outage { Some(Caveat::Partial) } else { answers.iter().find_map(|answer| answer.caveat) }
}

fn nobody(request: &ModuleRequest) -> RepoError {
    RepoError::NotFound(format!("{}: no repository has it", describe(request)))
}

/// Whether an error leaves open what the member has.
fn is_outage(error: &RepoError) -> bool {
    gravity(error) > gravity(&RepoError::Blocked(String::new()))
}

/// The graver of two failures, the earlier one of equals: an outage must never be told as "not found", nor a refusal.
fn graver(one: Option<RepoError>, other: RepoError) -> RepoError {
    match one {
        Some(one) if gravity(&one) >= gravity(&other) => one,
        _ => other,
    }
}

fn gravity(error: &RepoError) -> u8 {
    match error {
        RepoError::Gone(_) => 0,
        // Gone is said only if every member says so.
        RepoError::NotFound(_) => 1,
        RepoError::Blocked(_) => 2,
        RepoError::BadModule(_) | RepoError::Conflict(_) | RepoError::NotWritable(_) | RepoError::TooLarge(_) => 3,
        RepoError::Timeout(_) => 4,
        RepoError::Unavailable { .. } => 5,
        RepoError::Upstream(_) | RepoError::Credential(_) => 6,
        RepoError::Storage(_) => 7,
        RepoError::Integrity(_) => 8,
    }
}

fn status_of(answers: &[Answer], is_outage: bool) -> CacheStatus {
    let any = |status| answers.iter().any(|answer| answer.cache == status);
    if is_outage || any(CacheStatus::Stale) {
        CacheStatus::Stale
    } else if any(CacheStatus::Miss) {
        CacheStatus::Miss
    } else if any(CacheStatus::Revalidated) {
        CacheStatus::Revalidated
    } else {
        CacheStatus::Hit
    }
}

#[cfg(test)]
mod tests;
