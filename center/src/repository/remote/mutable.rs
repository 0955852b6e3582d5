//! `list`, `@latest` and queries: asked again after their period, served stale while the upstream fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use shared::artefact::Artefact;
use shared::fill::{Fill, FillWriter};
use shared::module::Version;
use shared::request::ModuleRequest;

use super::{INFO_BYTES_MAX, LIST_BYTES_MAX, Remote, absence, finish, is_within};
use crate::repository::latest::{choose, is_written, version_of_info};
use crate::repository::list::{self, ParsedList};
use crate::repository::{Answer, Body, CacheStatus, FetchOptions, FillHead, RepoError};
use crate::store::{MutableOutcome, MutableRecord, NewBody, now_ms, to_ms};
use crate::upstream::{Incoming, Reply, Validators, describe};

/// What a fetch of a mutable artefact found.
struct Fetched {
    body: bytes::Bytes,
    modified_ms: u64,
    validators: Validators,
    pseudo: Option<String>,
    /// Versions that a list names.
    listed: Vec<Version>,
}

impl Remote {
    /// Boxed, because the latest version may have to be taken from the list.
    pub(super) fn mutable<'a>(
        self: &'a Arc<Self>,
        request: &'a ModuleRequest,
        options: &'a FetchOptions,
    ) -> BoxFuture<'a, Result<Answer, RepoError>> {
        Box::pin(self.answer_mutable(request, options))
    }

    async fn answer_mutable(
        self: &Arc<Self>,
        request: &ModuleRequest,
        options: &FetchOptions,
    ) -> Result<Answer, RepoError> {
        // The head before the record: the record then reflects at least that head.
        let head = self.log.head();
        let record = self.recorded(request).await?;
        if let Some(record) = &record {
            if let Some(answer) = self.fresh(record, options).await? {
                self.refresh_ahead(request, record, *options);
                return Ok(if answer.cache == CacheStatus::Stale { answer } else { answer.reflecting(head) });
            }
            let counts = options.held_only || is_within(record.fetched_ms, options.fresh_for(self.periods.negative));
            if let Some(absence) = absence(record).filter(|_| counts) {
                return Err(absence);
            }
        }
        if options.held_only {
            return Err(RepoError::NotFound(format!("{} is not held here", describe(request))));
        }
        let stale = record.filter(|record| self.may_serve_stale(record));
        let is_cooling = now_ms() < self.cooling_until_ms.load(Ordering::Relaxed);
        if let Some(stale) = stale.as_ref().filter(|_| is_cooling)
            && let Some(answer) = self.answer(stale, CacheStatus::Stale).await?
        {
            return Ok(answer);
        }
        match self.refresh(request).await {
            Ok(cache) => self.refreshed(request, cache).await,
            // The upstream's word counts, its silence does not.
            Err(error) if error.is_absent() || matches!(error, RepoError::Blocked(_)) => Err(error),
            Err(error) => match &stale {
                Some(stale) => self.answer(stale, CacheStatus::Stale).await?.ok_or(error),
                None => Err(error),
            },
        }
    }

    pub(super) async fn recorded(&self, request: &ModuleRequest) -> Result<Option<MutableRecord>, RepoError> {
        let name = request.artefact.file_name();
        Ok(self.store.mutable(&self.name, request.module.as_str(), &name).await?)
    }

    /// An answer within its period, or whatever is held if nothing else may be asked.
    async fn fresh(&self, record: &MutableRecord, options: &FetchOptions) -> Result<Option<Answer>, RepoError> {
        if is_within(record.fetched_ms, options.fresh_for(self.periods.metadata)) {
            return self.answer(record, CacheStatus::Hit).await;
        }
        if options.held_only {
            return self.answer(record, CacheStatus::Stale).await;
        }
        Ok(None)
    }

    fn may_serve_stale(&self, record: &MutableRecord) -> bool {
        matches!(record.outcome, MutableOutcome::Found(_))
            && is_within(record.fetched_ms, self.periods.metadata + self.periods.stale_if_error)
    }

    /// The answer that a record holds, as of no head of the log.
    pub(super) async fn answer(&self, record: &MutableRecord, cache: CacheStatus) -> Result<Option<Answer>, RepoError> {
        let MutableOutcome::Found(stored) = &record.outcome else {
            return Ok(None);
        };
        Answer::stored(&self.store, stored, cache).await
    }

    async fn refreshed(&self, request: &ModuleRequest, cache: CacheStatus) -> Result<Answer, RepoError> {
        let head = self.log.head();
        let lost = || RepoError::Storage(format!("{}: what was stored is not there", describe(request)));
        let record = self.recorded(request).await?.ok_or_else(lost)?;
        if let Some(absence) = absence(&record) {
            return Err(absence);
        }
        let answer = self.answer(&record, cache).await?.ok_or_else(lost)?;
        Ok(answer.reflecting(head))
    }

    /// Asks the upstream, together with everybody who asks the same now.
    async fn refresh(self: &Arc<Self>, request: &ModuleRequest) -> Result<CacheStatus, RepoError> {
        let fill = self.begin_refresh(request);
        fill.done().await?;
        // The head says whether the upstream confirmed what is held.
        let confirmed = fill.head().await.is_ok_and(|head| head.len.is_none());
        Ok(if confirmed { CacheStatus::Revalidated } else { CacheStatus::Miss })
    }

    fn begin_refresh(self: &Arc<Self>, request: &ModuleRequest) -> Arc<Fill<FillHead>> {
        let (this, asked) = (Arc::clone(self), request.clone());
        let key = (request.module.clone(), request.artefact.clone());
        let (fill, _) = self.flights.join(key, |writer| async move { this.fill_mutable(asked, writer).await });
        fill
    }

    /// Refreshes what is asked often behind its clients' backs, so that none of them waits for it when its period ends.
    fn refresh_ahead(self: &Arc<Self>, request: &ModuleRequest, record: &MutableRecord, options: FetchOptions) {
        let key = (request.module.clone(), request.artefact.clone());
        let may_ask = !options.held_only && self.upstream.is_some();
        if may_ask && self.heat.is_due(&key, record.fetched_ms, self.periods.metadata) {
            // Nobody follows it; it runs to its end all the same.
            drop(self.begin_refresh(request));
        }
    }

    async fn fill_mutable(self: Arc<Self>, request: ModuleRequest, writer: FillWriter<FillHead>) {
        let (store, what) = (self.store.clone(), self.work_on(&request));
        let known_ms = self.recorded(&request).await.ok().flatten().map(|record| record.fetched_ms);
        if let Err(error) = store.alone(&what, self.fill_mutable_alone(request, known_ms, writer)).await {
            // The writer is gone, and with it the fill.
            tracing::warn!(what, %error, "a refresh could not begin");
        }
    }

    async fn fill_mutable_alone(
        self: Arc<Self>,
        request: ModuleRequest,
        known_ms: Option<u64>,
        mut writer: FillWriter<FillHead>,
    ) {
        let result = match self.recorded(&request).await {
            // Another replica was asked the same at the same time, and has the answer.
            Ok(Some(record)) if Some(record.fetched_ms) != known_ms => Ok(Some(0)),
            Ok(_) => self.fetch_mutable(&request).await,
            Err(error) => Err(error),
        };
        let result = match result {
            Ok(len) => {
                writer.head(FillHead { len, modified: std::time::SystemTime::now(), unverified: false });
                Ok(())
            }
            Err(error) => self.note_absence(&request, Err(error)).await,
        };
        finish(writer, result);
    }

    /// Fetches and records. Returns the length of a new body, none if the upstream confirmed the one that is held.
    async fn fetch_mutable(self: &Arc<Self>, request: &ModuleRequest) -> Result<Option<u64>, RepoError> {
        let before = self.recorded(request).await?;
        let validators = self.usable_validators(before.as_ref()).await?;
        let fetched = match self.ask(request, &validators).await {
            Ok(Reply::Found(incoming)) => self.read_mutable(request, incoming).await?,
            Ok(Reply::NotModified) => {
                let Some(before) = before else {
                    return Err(RepoError::Upstream(format!(
                        "{}: the upstream confirmed what it was not asked",
                        describe(request)
                    )));
                };
                self.keep(request, MutableRecord { fetched_ms: now_ms(), ..before }, None, Vec::new()).await?;
                return Ok(None);
            }
            Err(error) => self.without_latest(request, error).await?,
        };
        let len = fetched.body.len() as u64;
        let placed = self.store.place(NewBody::Memory(fetched.body), fetched.modified_ms).await?;
        let record = MutableRecord {
            outcome: MutableOutcome::Found(placed.stored),
            fetched_ms: now_ms(),
            etag: fetched.validators.etag,
            last_modified: fetched.validators.last_modified,
            pseudo: fetched.pseudo,
        };
        let present = list::contradicted(&self.store, &self.name, &request.module, &fetched.listed).await?;
        self.keep(request, record, Some(placed), present).await?;
        Ok(Some(len))
    }

    /// The validators of what is held, if its bytes are really there: a 304 must lead to an answer.
    async fn usable_validators(&self, before: Option<&MutableRecord>) -> Result<Validators, RepoError> {
        let Some(record) = before else {
            return Ok(Validators::default());
        };
        let is_held = self.answer(record, CacheStatus::Stale).await?.is_some();
        let validators = Validators { etag: record.etag.clone(), last_modified: record.last_modified.clone() };
        Ok(if is_held { validators } else { Validators::default() })
    }

    async fn read_mutable(&self, request: &ModuleRequest, incoming: Incoming<'_>) -> Result<Fetched, RepoError> {
        let (modified_ms, validators) = (to_ms(incoming.modified()), incoming.validators());
        if !matches!(request.artefact, Artefact::List) {
            let body = incoming.body(INFO_BYTES_MAX).await?;
            if version_of_info(&request.module, &body).is_none() {
                let what = describe(request);
                return Err(RepoError::Upstream(format!("{what}: the upstream's answer names no canonical version")));
            }
            return Ok(Fetched { body, modified_ms, validators, pseudo: None, listed: Vec::new() });
        }
        let body = incoming.body(LIST_BYTES_MAX).await?;
        let ParsedList { tagged, pseudo } = list::parse(&request.module, &body)?;
        let pseudo = pseudo.map(|version| version.to_string());
        Ok(Fetched { body: list::write(&tagged), modified_ms, validators, pseudo, listed: tagged })
    }

    /// Some upstreams have no `@latest`. The `go` command then takes the latest from the list, and so do we; if the list
    /// does not tell either, the upstream's own word stands.
    async fn without_latest(self: &Arc<Self>, request: &ModuleRequest, error: RepoError) -> Result<Fetched, RepoError> {
        let has_word = error.is_absent() || matches!(error, RepoError::Blocked(_));
        if !has_word || !matches!(request.artefact, Artefact::Latest) {
            return Err(error);
        }
        let options = FetchOptions::default();
        let of = |artefact| ModuleRequest { module: request.module.clone(), artefact };
        let list_request = of(Artefact::List);
        let listed = match self.mutable(&list_request, &options).await {
            Ok(answer) => list::read_own(&request.module, &answer.bytes(&self.store).await?),
            Err(other) if other.is_absent() => return Err(error),
            Err(other) => return Err(other),
        };
        let chosen = choose(
            &listed,
            |_| true,
            |version| async move {
                let gomod = self.immutable(&of(Artefact::Mod(version.clone())), &version, &options).await?;
                Ok(is_written(&request.module, &gomod.bytes(&self.store).await?))
            },
        );
        let mut chosen = chosen.await?;
        if chosen.is_none() {
            let pseudo = self.recorded(&list_request).await?.and_then(|record| record.pseudo);
            chosen = pseudo.and_then(|pseudo| Version::new(&request.module, &pseudo).ok());
        }
        let Some(version) = chosen else {
            // An upstream that lists nothing has the module, but nothing to call the latest.
            return Err(RepoError::NotFound(format!("{}: no versions", request.module)));
        };
        let info = self.immutable(&of(Artefact::Info(version.clone())), &version, &options).await?;
        let body = match &info.body {
            Body::Bytes(_) | Body::Blob(_) => info.bytes(&self.store).await?,
            Body::Filling(_) => return Err(error),
        };
        Ok(Fetched {
            body,
            modified_ms: to_ms(info.modified),
            validators: Validators::default(),
            pseudo: None,
            listed: Vec::new(),
        })
    }
}
