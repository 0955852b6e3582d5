//! `.info`, `.mod` and `.zip` of a canonical version: fetched once, then served from the store for good.

use std::sync::Arc;

use bytes::Bytes;
use shared::artefact::Artefact;
use shared::fill::{Fill, FillErrorKind, FillWriter, Spooled};
use shared::module::{Version, h1};
use shared::request::ModuleRequest;

use super::{GOMOD_BYTES_MAX, INFO_BYTES_MAX, Remote, finish, tombstoned};
use crate::repository::latest::version_of_info;
use crate::repository::{Answer, Body, CacheStatus, Caveat, FetchOptions, FillHead, Proof, RepoError, Verdict};
use crate::store::{Draft, NewBody, Placed, Stored, VersionRecord, to_ms};
use crate::upstream::{Sender, describe};

/// How often a request looks again when the fill it joined turns out to have been needless or abandoned.
const ATTEMPTS_MAX: usize = 3;

impl Remote {
    pub(super) async fn immutable(
        self: &Arc<Self>,
        request: &ModuleRequest,
        version: &Version,
        options: &FetchOptions,
    ) -> Result<Answer, RepoError> {
        let mut cache = CacheStatus::Hit;
        for _ in 0..ATTEMPTS_MAX {
            if let Some(answer) = self.held(request, version, cache).await? {
                return Ok(answer);
            }
            if options.held_only {
                return Err(RepoError::NotFound(format!("{} is not held here", describe(request))));
            }
            if let Some(absence) = self.recorded_absence(request).await? {
                return Err(absence);
            }
            let this = Arc::clone(self);
            let asked = (request.clone(), version.clone());
            let (fill, _) =
                self.flights.join((request.module.clone(), request.artefact.clone()), |writer| async move {
                    this.fill(asked.0, asked.1, writer).await;
                });
            cache = CacheStatus::Miss;
            if !matches!(request.artefact, Artefact::Zip(_)) {
                fill.done().await?;
                match fill.head().await {
                    Ok(head) if head.unverified => return unverified(&fill, &head).await,
                    _ => continue,
                }
            }
            match fill.head().await {
                Ok(head) => {
                    return Ok(Answer {
                        digest: None,
                        len: head.len,
                        modified: head.modified,
                        change_id: None,
                        cache,
                        body: Body::Filling(fill),
                        private: false,
                        caveat: head.unverified.then_some(Caveat::Unverified),
                    });
                }
                // The store has it by now; see `fill`.
                Err(error) if error.kind == FillErrorKind::Abandoned => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RepoError::Storage(format!("{}: what was stored is not there", describe(request))))
    }

    async fn held(
        &self,
        request: &ModuleRequest,
        version: &Version,
        cache: CacheStatus,
    ) -> Result<Option<Answer>, RepoError> {
        let record = self.store.version(&self.name, request.module.as_str(), version.as_str()).await?;
        let Some(record) = record else {
            return Ok(None);
        };
        if record.tombstone.is_some() {
            return Err(tombstoned(&request.module, version));
        }
        match part(&record, &request.artefact) {
            Some(stored) => {
                self.store.used(&self.name, request.module.as_str(), version.as_str());
                Answer::stored(&self.store, &stored, cache).await
            }
            None => Ok(None),
        }
    }

    async fn fill(self: Arc<Self>, request: ModuleRequest, version: Version, writer: FillWriter<FillHead>) {
        let (store, what) = (self.store.clone(), self.work_on(&request));
        if let Err(error) = store.alone(&what, self.fill_alone(request, version, writer)).await {
            // The writer is gone, and with it the fill.
            tracing::warn!(what, %error, "a fill could not begin");
        }
    }

    async fn fill_alone(self: Arc<Self>, request: ModuleRequest, version: Version, mut writer: FillWriter<FillHead>) {
        // Between a request's look into the store and its joining a flight, the flight before may have landed, here or at another
        // replica.
        match self.held(&request, &version, CacheStatus::Hit).await {
            Ok(None) => {}
            // A dropped writer is an abandoned fill, upon which the request looks into the store again.
            Ok(Some(_)) if matches!(request.artefact, Artefact::Zip(_)) => return drop(writer),
            Ok(Some(_)) => return writer.commit(),
            Err(error) => return writer.fail(error.into()),
        }
        if matches!(request.artefact, Artefact::Zip(_)) {
            return self.fill_zip(request, version, writer).await;
        }
        let mut result = self.fetch_small(&request, &version, &mut writer).await;
        // Nobody has seen a byte yet: once more, unless the upstream gave its word or already took its time.
        if self.may_repeat(&result) {
            result = self.fetch_small(&request, &version, &mut writer).await;
        }
        let result = self.note_absence(&request, result).await;
        finish(writer, result);
    }

    /// Passes a result on, after keeping the upstream's word if it is "does not exist".
    pub(super) async fn note_absence(
        self: &Arc<Self>,
        request: &ModuleRequest,
        result: Result<(), RepoError>,
    ) -> Result<(), RepoError> {
        if let Err(error) = &result
            && let Err(storing) = self.record_absence(request, error).await
        {
            tracing::warn!(error = %storing, "an absence could not be recorded");
        }
        result
    }

    async fn fetch_small(
        self: &Arc<Self>,
        request: &ModuleRequest,
        version: &Version,
        writer: &mut FillWriter<FillHead>,
    ) -> Result<(), RepoError> {
        let is_mod = matches!(request.artefact, Artefact::Mod(_));
        let incoming = self.ask_body(request).await?;
        let (modified, sender) = (incoming.modified(), incoming.sender());
        let body = incoming.body(if is_mod { GOMOD_BYTES_MAX } else { INFO_BYTES_MAX }).await?;
        let mod_h1 = is_mod.then(|| h1::hash1_gomod(&body));
        match &mod_h1 {
            Some(h1) => {
                check_gomod(request, &body)?;
                let proven = self.prove(&request.module, version, Proof::Mod { h1 }).await;
                if let Err(error) = &proven {
                    let refused = Spooled::Memory(body.clone());
                    self.put_aside(describe(request), "mod", refused, error).await;
                }
                if proven.inspect_err(|error| note_lie(error, &sender))? == Verdict::Unverified {
                    let len = Some(body.len() as u64);
                    writer.head(FillHead { len, modified, unverified: true });
                    return Ok(writer.write(body).await?);
                }
            }
            None => check_info(request, version, &body)?,
        }
        let placed = self.store.place(NewBody::Memory(body), to_ms(modified)).await?;
        let (this, module, of) = (Arc::clone(self), request.module.clone(), version.clone());
        self.commit_part(request, version, placed, move |draft: &mut Draft, placed: &Placed| {
            match &mod_h1 {
                Some(h1) => {
                    let recorded = draft.identity.mod_h1.as_deref();
                    this.same_identity(&module, &of, recorded, Proof::Mod { h1 })?;
                    draft.identity.mod_h1 = Some(h1.clone());
                    draft.record.gomod = Some(placed.stored);
                }
                None => draft.record.info = Some(placed.stored),
            }
            Ok(())
        })
        .await
    }
}

pub(in crate::repository) fn part(record: &VersionRecord, artefact: &Artefact) -> Option<Stored> {
    match artefact {
        Artefact::Info(_) => record.info,
        Artefact::Mod(_) => record.gomod,
        Artefact::Zip(_) => record.zip,
        Artefact::List | Artefact::Latest | Artefact::Query(_) => None,
    }
}

/// The body of a fill that was served and not kept.
async fn unverified(fill: &Arc<Fill<FillHead>>, head: &FillHead) -> Result<Answer, RepoError> {
    let (mut reader, mut body) = (fill.reader(), Vec::new());
    while let Some(chunk) = reader.next().await? {
        body.extend_from_slice(&chunk);
    }
    let caveat = Some(Caveat::Unverified);
    Ok(Answer { caveat, ..Answer::computed(body.into(), head.modified, CacheStatus::Miss) })
}

/// Tells on whoever sent what is not recorded or proven.
pub(super) fn note_lie(error: &RepoError, sender: &Sender<'_>) {
    if matches!(error, RepoError::Integrity(_)) {
        sender.lied();
    }
}

/// A page for people may come as text too, and so may nothing at all or the error of some other service. More is not asked for: the
/// go.mod of a toolchain has no `module` line.
fn check_gomod(request: &ModuleRequest, body: &[u8]) -> Result<(), RepoError> {
    if matches!(body.trim_ascii_start().first(), None | Some(b'<' | b'{' | b'[')) || body.contains(&0) {
        return Err(RepoError::Upstream(format!("{}: the upstream's answer is no go.mod file", describe(request))));
    }
    Ok(())
}

fn check_info(request: &ModuleRequest, version: &Version, body: &Bytes) -> Result<(), RepoError> {
    match version_of_info(&request.module, body) {
        Some(named) if named == *version => Ok(()),
        _ => {
            Err(RepoError::Upstream(format!("{}: the upstream's answer is not about this version", describe(request))))
        }
    }
}
