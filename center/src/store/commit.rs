//! Commits: check, number and write as one, with nobody else in between.
//!
//! A commit's decision sees the records as they are at that moment, so a tombstone or an identity that arrived while a
//! fill was under way is never overlooked.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use shared::change::{Change, ChangeId, EventType, Kind};
use shared::digest::Digest;

use super::blob::Placed;
use super::change_log::{encode, now_ms};
use super::collect::{acquittals, sentence_of};
use super::engine::{Batch, Place};
use super::lease::fence;
use super::manifest::{self, generation_of};
use super::metadata::{IdentityRecord, MutableRecord, VersionRecord, decode};
use super::{Store, StoreError, family, keys};

/// Whose change it is, and which logs must tell of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// The repository that changes.
    pub(crate) repository: &'a str,
    /// The logs to append to: the repository's own and those of the virtual ones above it.
    pub(crate) logs: &'a [String],
    /// The module that changes.
    pub(crate) module: &'a str,
}

/// What the log is told.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "the name that it has on the wire")]
pub(crate) struct Event {
    /// CREATE, UPDATE or DELETE.
    pub(crate) event_type: EventType,
    /// What of.
    pub(crate) kind: Kind,
    /// The version, or the query that moved.
    pub(crate) version: Option<String>,
    /// SHA-256 of the zip or the mutable body.
    pub(crate) sha256: Option<Digest>,
    /// `h1:` of the zip.
    pub(crate) h1: Option<String>,
    /// Why: `publish`, `fill`, `refresh`, `tombstone`, `restore`.
    pub(crate) reason: &'static str,
}

/// The records of a version, as a commit's decision may change them.
#[derive(Debug)]
pub(crate) struct Draft {
    /// What the repository holds; a default one if it holds nothing.
    pub(crate) record: VersionRecord,
    /// The identity, shared by all repositories.
    pub(crate) identity: IdentityRecord,
    /// What the log is told.
    pub(crate) events: Vec<Event>,
}

/// What a new mutable answer brings with it.
#[derive(Debug, Default)]
pub(crate) struct MutableEffects {
    /// What the log is told.
    pub(crate) events: Vec<Event>,
    /// Artefacts of the module (file names) whose recorded absence the answer contradicts.
    pub(crate) present: Vec<String>,
}

/// Whether a decision wants its draft written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Write it.
    Write,
    /// Everything is as it should be.
    Keep,
}

impl Store {
    /// Changes what a repository holds of a version. `decide` sees the present records and changes them, or refuses; it is called
    /// again, with a new draft, where another commit came in between. Completes when everything is on disk.
    pub(crate) async fn commit_version<E: From<StoreError> + Send>(
        &self,
        subject: Subject<'_>,
        version: &str,
        bodies: &[Placed],
        mut decide: impl FnMut(&mut Draft) -> Result<Decision, E> + Send,
    ) -> Result<(), E> {
        let record_at = (family::VERSIONS, keys::version(subject.repository, subject.module, version));
        let identity_at = (family::IDENTITY, keys::identity(subject.module, version));
        let (repository, module) = (subject.repository, subject.module);
        let mut reads = vec![record_at.clone(), identity_at.clone(), generation_of(repository, module)];
        reads.extend(bodies.iter().map(|body| sentence_of(&body.stored.digest)));
        let (mut refusal, mut told) = (None, false);
        let mut attempt = |found: Vec<Option<Bytes>>| {
            refusal = None;
            let acquitted = acquittals(bodies, &found[3..])?;
            let [record, identity, generation] = take(found);
            let before: VersionRecord = read(&record_at, record)?;
            let mut draft =
                Draft { record: before.clone(), identity: read(&identity_at, identity)?, events: Vec::new() };
            match decide(&mut draft) {
                Ok(Decision::Write) => {}
                Ok(Decision::Keep) => return Ok(None),
                Err(error) => {
                    refusal = Some(error);
                    return Ok(None);
                }
            }
            let mut batch = batch_of(subject, bodies, draft.events, acquitted);
            let of = (repository, module, version);
            manifest::note(&mut batch, of, (&before, &draft.record), generation.as_ref());
            batch.puts.push((record_at.clone(), encode(&draft.record).into()));
            batch.puts.push((identity_at.clone(), encode(&draft.identity).into()));
            batch.sync = true;
            told = !batch.changes.is_empty();
            Ok(Some(batch))
        };
        self.inner.engine.commit(&reads, fence().as_ref(), &mut attempt).await?;
        if let Some(error) = refusal {
            return Err(error);
        }
        if told {
            self.trim_sometimes(subject.logs).await;
        }
        Ok(())
    }

    /// Records a mutable answer. `effects` sees the one before and says what follows from the new one; it is called again where
    /// another commit came in between.
    pub(crate) async fn commit_mutable(
        &self,
        subject: Subject<'_>,
        name: &str,
        record: &MutableRecord,
        body: Option<&Placed>,
        mut effects: impl FnMut(Option<&MutableRecord>) -> MutableEffects + Send,
    ) -> Result<(), StoreError> {
        let record_at = (family::MUTABLES, keys::mutable(subject.repository, subject.module, name));
        let bodies = body.map_or(&[] as &[Placed], std::slice::from_ref);
        let mut reads = vec![record_at.clone()];
        reads.extend(bodies.iter().map(|body| sentence_of(&body.stored.digest)));
        let mut told = false;
        let mut attempt = |found: Vec<Option<Bytes>>| {
            let acquitted = acquittals(bodies, &found[1..])?;
            let [before] = take(found);
            let before = before.map(|value| decode(&record_at.1, &value)).transpose()?;
            let effects = effects(before.as_ref());
            // A mutable answer that is lost is asked for again; a change record that was shown may never be.
            told = !effects.events.is_empty();
            let mut batch = batch_of(subject, bodies, effects.events, acquitted);
            let absent = |name: &String| keys::mutable(subject.repository, subject.module, name);
            batch.deletes.extend(effects.present.iter().map(|name| (family::MUTABLES, absent(name))));
            batch.puts.push((record_at.clone(), encode(record).into()));
            batch.sync = told;
            Ok(Some(batch))
        };
        self.inner.engine.commit(&reads, fence().as_ref(), &mut attempt).await?;
        if told {
            self.trim_sometimes(subject.logs).await;
        }
        Ok(())
    }
}

/// What was found at the places that were read, as many as were asked for.
fn take<const N: usize>(found: Vec<Option<Bytes>>) -> [Option<Bytes>; N] {
    let mut found = found.into_iter();
    std::array::from_fn(|_| found.next().flatten())
}

fn read<T: DeserializeOwned + Default>(place: &Place, value: Option<Bytes>) -> Result<T, StoreError> {
    value.map_or_else(|| Ok(T::default()), |value| decode(&place.1, &value))
}

/// What a commit writes besides its records.
fn batch_of(subject: Subject<'_>, bodies: &[Placed], events: Vec<Event>, acquitted: Batch) -> Batch {
    let small = bodies.iter().filter_map(|body| {
        let bytes = body.small.clone()?;
        Some(((family::SMALL, body.stored.digest.hex().into_bytes()), bytes))
    });
    let changes: Vec<Change> = events.into_iter().map(|event| to_change(subject, event)).collect();
    let logs = if changes.is_empty() { Vec::new() } else { subject.logs.to_vec() };
    let puts = acquitted.puts.into_iter().chain(small).collect();
    Batch { puts, logs, changes, ..acquitted }
}

fn to_change(subject: Subject<'_>, event: Event) -> Change {
    let now_ms = now_ms();
    Change {
        id: ChangeId::ZERO,
        repo: String::new(),
        event_type: event.event_type,
        module_id: subject.module.to_owned(),
        version: event.version,
        kind: event.kind,
        timestamp: now_ms / 1000,
        timestamp_ms: Some(now_ms),
        sha256: event.sha256,
        h1: event.h1,
        origin: Some(subject.repository.to_owned()),
        reason: event.reason.to_owned(),
        schema: 1,
        traceparent: None,
    }
}
