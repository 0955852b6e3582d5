//! A remote repository: another GOPROXY server, whose artefacts are kept here.
//!
//! ```text
//! fetch ─▶ owned by a local repository? ─▶ blocked
//!       ─▶ held and fresh? ─▶ answer          (immutable.rs, mutable.rs)
//!       ─▶ join the flight of this artefact ─▶ upstream ─▶ proof ─▶ commit ─▶ answer
//! ```
//!
//! Everything that is fetched goes through one single flight; there is no second layer.

mod heat;
mod immutable;
mod intake;
mod mutable;
mod offline;
mod proof;
mod zip;

pub(super) use self::heat::Heat;
pub(super) use self::immutable::part;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use shared::artefact::Artefact;
use shared::change::{EventType, Kind};
use shared::fill::{FillWriter, Flights};
use shared::module::{ModulePath, Version};
use shared::request::ModuleRequest;

use super::answer::RETRY_AFTER;
use super::figures::Figures;
use super::owner::Owners;
use super::quarantine::Quarantine;
use super::{Answer, FetchOptions, FillHead, RepoError, Verifier};
use crate::store::{
    ChangeLog, Decision, Draft, Event, MutableEffects, MutableOutcome, MutableRecord, Placed, Store, Subject,
    Tombstone, now_ms,
};
use crate::upstream::{Incoming, Reply, Upstream, Validators, describe};

/// Largest list that is taken, in bytes.
const LIST_BYTES_MAX: u64 = 16 << 20;
/// Largest `.info` that is taken, in bytes.
const INFO_BYTES_MAX: u64 = 1 << 20;
/// Largest `.mod` that is taken, in bytes.
const GOMOD_BYTES_MAX: u64 = shared::module::zip::GOMOD_BYTES_MAX;

/// How long answers count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Periods {
    pub(super) metadata: Duration,
    pub(super) negative: Duration,
    pub(super) stale_if_error: Duration,
    /// After a connection could not be made or timed out, whoever holds something stale serves it for this long without
    /// trying again.
    pub(super) assumed_offline: Duration,
}

/// Which fetches are one: those of the same artefact of the same module.
type FlightKey = (ModulePath, Artefact);

/// Another GOPROXY server.
pub(super) struct Remote {
    pub(super) name: String,
    pub(super) store: Store,
    pub(super) owners: Arc<Owners>,
    pub(super) figures: Figures,
    pub(super) logs: Vec<String>,
    pub(super) log: ChangeLog,
    pub(super) upstream: Option<Upstream>,
    /// Nobody is asked.
    pub(super) offline: bool,
    pub(super) periods: Periods,
    pub(super) verifier: Arc<dyn Verifier>,
    pub(super) quarantine: Quarantine,
    pub(super) flights: Flights<FlightKey, FillHead>,
    /// How often mutable artefacts are asked.
    pub(super) heat: Heat,
    /// Until when the upstream is left alone where something stale can be served: Unix time in milliseconds.
    pub(super) cooling_until_ms: AtomicU64,
}

impl Remote {
    pub(super) async fn fetch(
        self: &Arc<Self>,
        request: &ModuleRequest,
        options: &FetchOptions,
    ) -> Result<Answer, RepoError> {
        if !self.owners.may_answer(&self.name, request.module.as_str()) {
            let module = &request.module;
            let owner = self.owners.owner_of(module).unwrap_or_default();
            return Err(RepoError::Blocked(format!(
                "{module} belongs to repository {owner:?} and is asked of no other"
            )));
        }
        if self.offline {
            return self.offline(request, options).await;
        }
        match &request.artefact {
            Artefact::List | Artefact::Latest | Artefact::Query(_) => self.mutable(request, options).await,
            Artefact::Info(version) | Artefact::Mod(version) | Artefact::Zip(version) => {
                self.immutable(request, version, options).await
            }
        }
    }

    /// Asks the upstream, counting what comes of it.
    async fn ask(&self, request: &ModuleRequest, validators: &Validators) -> Result<Reply<'_>, RepoError> {
        let Some(upstream) = &self.upstream else {
            let msg = format!("{}: no upstream is configured", describe(request));
            return Err(RepoError::Unavailable { msg, retry_after: RETRY_AFTER });
        };
        let reply = upstream.get(request, validators).await;
        let outcome = match &reply {
            Ok(Reply::Found(_)) => "found",
            Ok(Reply::NotModified) => "not_modified",
            Err(error) => outcome_of(error),
        };
        self.figures.asked(&self.name, outcome);
        upstream.phases().for_each(|(number, phase)| self.figures.breaker(&self.name, number, phase));
        if matches!(reply, Err(RepoError::Unavailable { .. } | RepoError::Timeout(_))) {
            let until = now_ms().saturating_add(millis(self.periods.assumed_offline));
            self.cooling_until_ms.store(until, Ordering::Relaxed);
        }
        reply
    }

    /// Whether a fetch that ended so may be made anew: the upstream failed, or one of several servers sent wrong bytes.
    fn may_repeat(&self, result: &Result<(), RepoError>) -> bool {
        let Some(upstream) = &self.upstream else { return false };
        match result {
            Err(RepoError::Upstream(_) | RepoError::Unavailable { .. }) => upstream.may_repeat(),
            Err(RepoError::Integrity(_)) => upstream.has_others() && upstream.may_repeat(),
            _ => false,
        }
    }

    /// As [`Remote::ask`] without validators, so that there is nothing but a body to come back.
    async fn ask_body(&self, request: &ModuleRequest) -> Result<Incoming<'_>, RepoError> {
        match self.ask(request, &Validators::default()).await? {
            Reply::Found(incoming) => Ok(incoming),
            Reply::NotModified => Err(RepoError::Upstream(format!(
                "{}: the upstream answered 304 to an unconditional request",
                describe(request)
            ))),
        }
    }

    /// The reason, if the upstream said a short while ago that the artefact does not exist.
    async fn recorded_absence(&self, request: &ModuleRequest) -> Result<Option<RepoError>, RepoError> {
        let name = request.artefact.file_name();
        let Some(record) = self.store.mutable(&self.name, request.module.as_str(), &name).await? else {
            return Ok(None);
        };
        Ok(absence(&record).filter(|_| is_within(record.fetched_ms, self.periods.negative)))
    }

    /// Keeps the upstream's word that an artefact does not exist.
    async fn record_absence(self: &Arc<Self>, request: &ModuleRequest, error: &RepoError) -> Result<(), RepoError> {
        let outcome = match error {
            RepoError::NotFound(reason) => MutableOutcome::NotFound(reason.clone()),
            RepoError::Gone(reason) => MutableOutcome::Gone(reason.clone()),
            _ => return Ok(()),
        };
        let record = MutableRecord { outcome, fetched_ms: now_ms(), etag: None, last_modified: None, pseudo: None };
        self.keep(request, record, None, Vec::new()).await
    }

    /// Records a mutable answer and tells the log if it differs from the one before.
    async fn keep(
        self: &Arc<Self>,
        request: &ModuleRequest,
        record: MutableRecord,
        body: Option<Placed>,
        present: Vec<String>,
    ) -> Result<(), RepoError> {
        let (name, subject) = (request.artefact.file_name(), self.subject(&request.module));
        let effects = |before: Option<&MutableRecord>| {
            let events = before.map_or_else(Vec::new, |before| mutable_events(&request.artefact, before, &record));
            MutableEffects { events, present: present.clone() }
        };
        Ok(self.store.commit_mutable(subject, &name, &record, body.as_ref(), effects).await?)
    }

    /// Commits a part of a version: the record and its identity are checked and changed by `change`, as they are at that moment.
    async fn commit_part(
        self: &Arc<Self>,
        request: &ModuleRequest,
        version: &Version,
        body: Placed,
        change: impl Fn(&mut Draft, &Placed) -> Result<(), RepoError> + Send + Sync,
    ) -> Result<(), RepoError> {
        let (subject, bodies) = (self.subject(&request.module), [body]);
        let decide = |draft: &mut Draft| {
            if draft.record.tombstone.is_some() {
                return Err(tombstoned(&request.module, version));
            }
            let is_new = [draft.record.info, draft.record.gomod, draft.record.zip].iter().all(Option::is_none);
            change(draft, &bodies[0])?;
            if is_new {
                draft.record.created_ms = now_ms();
            }
            if !draft.record.announced {
                let zip = draft.record.zip;
                draft.record.announced = true;
                draft.events.push(Event {
                    event_type: EventType::Create,
                    kind: Kind::Version,
                    version: Some(version.to_string()),
                    sha256: zip.map(|zip| zip.digest),
                    h1: zip.and_then(|_| draft.identity.zip_h1.clone()),
                    reason: "fill",
                });
            }
            Ok::<_, RepoError>(Decision::Write)
        };
        self.store.commit_version(subject, version.as_str(), &bodies, decide).await
    }

    /// What a fetch is called among all replicas, of which one does it at a time.
    fn work_on(&self, request: &ModuleRequest) -> String {
        format!("{} {} {}", self.name, request.module, request.artefact.file_name())
    }

    fn subject<'a>(&'a self, module: &'a ModulePath) -> Subject<'a> {
        Subject { repository: &self.name, logs: &self.logs, module: module.as_str() }
    }

    /// Blocks a version here: an administrator's DELETE. It need not be held.
    pub(super) async fn mark(
        self: &Arc<Self>,
        module: &ModulePath,
        version: &Version,
        tombstone: Option<Tombstone>,
    ) -> Result<(), RepoError> {
        let decide = |draft: &mut Draft| {
            if draft.record.tombstone.is_some() == tombstone.is_some() {
                return Ok::<_, RepoError>(Decision::Keep);
            }
            let zip = draft.record.zip;
            draft.events.push(Event {
                event_type: if tombstone.is_some() { EventType::Delete } else { EventType::Create },
                kind: Kind::Version,
                version: Some(version.to_string()),
                sha256: zip.map(|zip| zip.digest),
                h1: zip.and_then(|_| draft.identity.zip_h1.clone()),
                reason: if tombstone.is_some() { "delete" } else { "restore" },
            });
            draft.record.tombstone.clone_from(&tombstone);
            Ok(Decision::Write)
        };
        self.store.commit_version(self.subject(module), version.as_str(), &[], decide).await
    }
}

/// Ends a fill: the tail is let go, or every reader gets the error.
fn finish(writer: FillWriter<FillHead>, result: Result<(), RepoError>) {
    match result {
        Ok(()) => writer.commit(),
        Err(error) => writer.fail(error.into()),
    }
}

/// What changed between two answers for the same artefact. The first answer ever changes nothing that anybody holds.
pub(super) fn mutable_events(artefact: &Artefact, before: &MutableRecord, after: &MutableRecord) -> Vec<Event> {
    let digest = |record: &MutableRecord| match &record.outcome {
        MutableOutcome::Found(stored) => Some(stored.digest),
        MutableOutcome::NotFound(_) | MutableOutcome::Gone(_) => None,
    };
    if digest(before) == digest(after) {
        return Vec::new();
    }
    let (kinds, version): (&[Kind], _) = match artefact {
        // A repository above takes its latest from the lists.
        Artefact::List => (&[Kind::List, Kind::Latest], None),
        Artefact::Latest => (&[Kind::Latest], None),
        Artefact::Query(query) => (&[Kind::Query], Some(query.clone())),
        // Absences of immutable artefacts end by the CREATE of the version.
        Artefact::Info(_) | Artefact::Mod(_) | Artefact::Zip(_) => (&[], None),
    };
    let event = |kind: &Kind| Event {
        event_type: EventType::Update,
        kind: *kind,
        version: version.clone(),
        sha256: None,
        h1: None,
        reason: "refresh",
    };
    kinds.iter().map(event).collect()
}

pub(super) fn absence(record: &MutableRecord) -> Option<RepoError> {
    match &record.outcome {
        MutableOutcome::Found(_) => None,
        MutableOutcome::NotFound(reason) => Some(RepoError::NotFound(reason.clone())),
        MutableOutcome::Gone(reason) => Some(RepoError::Gone(reason.clone())),
    }
}

fn tombstoned(module: &ModulePath, version: &Version) -> RepoError {
    // 410 would send `go` to `direct` for it.
    RepoError::Blocked(format!("{module}@{version} was removed by an administrator"))
}

/// Whether a moment lies less than `period` back. A moment in the future (the clock was set back) does not count.
pub(super) fn is_within(at_ms: u64, period: Duration) -> bool {
    now_ms().checked_sub(at_ms).is_some_and(|age| age < millis(period))
}

pub(super) fn millis(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn outcome_of(error: &RepoError) -> &'static str {
    match error {
        RepoError::NotFound(_) | RepoError::Gone(_) => "absent",
        RepoError::Blocked(_) => "blocked",
        RepoError::Unavailable { .. } => "unavailable",
        RepoError::Timeout(_) => "timeout",
        RepoError::BadModule(_)
        | RepoError::Conflict(_)
        | RepoError::NotWritable(_)
        | RepoError::Integrity(_)
        | RepoError::Upstream(_)
        | RepoError::Credential(_)
        | RepoError::TooLarge(_)
        | RepoError::Storage(_) => "error",
    }
}

#[cfg(test)]
mod tests;
