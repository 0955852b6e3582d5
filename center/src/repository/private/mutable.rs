//! `list`, `@latest` and queries: answered from what is held, asked anew behind that, so that a slow listing is paid once.

use std::sync::Arc;

use bytes::Bytes;
use shared::artefact::Artefact;
use shared::module::{ModulePath, Version};
use shared::request::ModuleRequest;

use super::{Flight, Private};
use crate::repository::latest::version_of_info;
use crate::repository::remote::{absence, is_within, mutable_events};
use crate::repository::{Answer, CacheStatus, FetchOptions, RepoError, list};
use crate::store::{MutableEffects, MutableOutcome, MutableRecord, NewBody, Placed, now_ms};
use crate::upstream::describe;

/// How often a request waits for another flight, because the one that it joined began before the last event.
const FLIGHTS_MAX: usize = 2;

impl Private {
    pub(super) async fn mutable(
        self: &Arc<Self>,
        request: &ModuleRequest,
        flight: Flight,
        options: &FetchOptions,
    ) -> Result<Answer, RepoError> {
        // The head before the record: the record then reflects at least that head.
        let head = self.log.head();
        let record = self.recorded(&request.module, &request.artefact).await?;
        if let Some(record) = record.as_ref().filter(|_| options.held_only || !self.renewals.awaits(&flight))
            && let Some(answer) = self.without_asking(record, &flight, options).await?
        {
            return Ok(if answer.cache == CacheStatus::Stale { answer } else { answer.reflecting(head) });
        }
        if options.held_only {
            return Err(RepoError::NotFound(format!("{} is not held here", describe(request))));
        }
        match self.ask(&flight).await {
            Ok(()) => self.asked(request).await,
            Err(error) if error.is_absent() || matches!(error, RepoError::Blocked(_)) => Err(error),
            Err(error) => {
                let may_be_old = |record: &MutableRecord| {
                    is_within(record.fetched_ms, self.periods.metadata + self.periods.stale_if_error)
                };
                match record.filter(may_be_old) {
                    Some(record) => self.held_mutable(&record, CacheStatus::Stale).await?.ok_or(error),
                    None => Err(error),
                }
            }
        }
    }

    /// What a record answers by itself, be it an absence; none if the source has to be asked first.
    async fn without_asking(
        self: &Arc<Self>,
        record: &MutableRecord,
        flight: &Flight,
        options: &FetchOptions,
    ) -> Result<Option<Answer>, RepoError> {
        if let Some(absence) = absence(record) {
            let counts = options.held_only || is_within(record.fetched_ms, options.fresh_for(self.periods.negative));
            return if counts { Err(absence) } else { Ok(None) };
        }
        if is_within(record.fetched_ms, options.fresh_for(self.periods.metadata)) {
            return self.held_mutable(record, CacheStatus::Hit).await;
        }
        let may_be_old =
            !options.revalidate && is_within(record.fetched_ms, self.periods.metadata + self.periods.refresh_behind);
        if !may_be_old && !options.held_only {
            return Ok(None);
        }
        let answer = self.held_mutable(record, CacheStatus::Stale).await?;
        if answer.is_some() && !options.held_only && !self.is_cooling() && !self.fetcher.is_busy() {
            self.join(flight);
        }
        Ok(answer)
    }

    /// Waits for a flight that began after the last event about it.
    async fn ask(self: &Arc<Self>, flight: &Flight) -> Result<(), RepoError> {
        for _ in 0..FLIGHTS_MAX {
            self.join(flight).done().await?;
            if !self.renewals.awaits(flight) {
                break;
            }
        }
        Ok(())
    }

    async fn asked(&self, request: &ModuleRequest) -> Result<Answer, RepoError> {
        let head = self.log.head();
        let lost = || RepoError::Storage(format!("{}: what was stored is not there", describe(request)));
        let record = self.recorded(&request.module, &request.artefact).await?.ok_or_else(lost)?;
        if let Some(absence) = absence(&record) {
            return Err(absence);
        }
        let answer = self.held_mutable(&record, CacheStatus::Miss).await?.ok_or_else(lost)?;
        Ok(answer.reflecting(head))
    }

    async fn held_mutable(&self, record: &MutableRecord, cache: CacheStatus) -> Result<Option<Answer>, RepoError> {
        match &record.outcome {
            MutableOutcome::Found(stored) => Answer::stored(&self.store, stored, cache).await,
            MutableOutcome::NotFound(_) | MutableOutcome::Gone(_) => Ok(None),
        }
    }

    pub(super) async fn fetch_listing(&self, module: &ModulePath) -> Result<(), RepoError> {
        let listing = self.fetcher.listing(module).await?;
        let mut versions: Vec<Version> = listing.versions.into_iter().filter(|version| !version.is_pseudo()).collect();
        list::sort(&mut versions);
        let present = list::contradicted(&self.store, &self.name, module, &versions).await?;
        self.keep_body(module, &Artefact::List, list::write(&versions), present).await?;
        if let Some(info) = listing.latest {
            return self.keep_info(module, &Artefact::Latest, info).await;
        }
        let outcome = MutableOutcome::NotFound(format!("{module}: no versions"));
        self.keep(module, &Artefact::Latest, outcome, None, Vec::new()).await
    }

    pub(super) async fn fetch_query(&self, module: &ModulePath, query: &str) -> Result<(), RepoError> {
        let info = self.fetcher.query(module, query).await?;
        self.keep_info(module, &Artefact::Query(query.to_owned()), info).await
    }

    async fn keep_info(&self, module: &ModulePath, artefact: &Artefact, info: Bytes) -> Result<(), RepoError> {
        if version_of_info(module, &info).is_none() {
            return Err(RepoError::Upstream(format!("{module}: the fetcher's answer names no canonical version")));
        }
        self.keep_body(module, artefact, info, Vec::new()).await
    }

    async fn keep_body(
        &self,
        module: &ModulePath,
        artefact: &Artefact,
        body: Bytes,
        present: Vec<String>,
    ) -> Result<(), RepoError> {
        let placed = self.store.place(NewBody::Memory(body), now_ms()).await?;
        self.keep(module, artefact, MutableOutcome::Found(placed.stored), Some(placed), present).await
    }

    /// Records an answer and tells the log if it differs from the one before.
    pub(super) async fn keep(
        &self,
        module: &ModulePath,
        artefact: &Artefact,
        outcome: MutableOutcome,
        body: Option<Placed>,
        present: Vec<String>,
    ) -> Result<(), RepoError> {
        let record = MutableRecord { outcome, fetched_ms: now_ms(), etag: None, last_modified: None, pseudo: None };
        let effects = |before: Option<&MutableRecord>| {
            let events = before.map_or_else(Vec::new, |before| mutable_events(artefact, before, &record));
            MutableEffects { events, present: present.clone() }
        };
        let name = artefact.file_name();
        Ok(self.store.commit_mutable(self.subject(module), &name, &record, body.as_ref(), effects).await?)
    }
}
