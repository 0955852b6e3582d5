//! Commits: check, number and write under one lock, as one synced batch.
//!
//! A commit's decision sees the records as they are at that moment, so a tombstone or an identity that arrived while a
//! fill was under way is never overlooked.

use std::sync::atomic::Ordering;

use rocksdb::{WriteBatch, WriteOptions};
use shared::change::{Change, ChangeId, EventType, Kind};
use shared::digest::Digest;

use super::blob::Placed;
use super::change_log::{encode, now_ms};
use super::metadata::{IdentityRecord, MutableRecord, VersionRecord};
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
    /// Changes what a repository holds of a version. `decide` sees the present records and changes them, or refuses.
    /// Blocks until the batch is on disk.
    pub(crate) fn commit_version<E: From<StoreError>>(
        &self,
        subject: Subject<'_>,
        version: &str,
        bodies: &[Placed],
        decide: impl FnOnce(&mut Draft) -> Result<Decision, E>,
    ) -> Result<(), E> {
        let _lock = self.inner.commit.lock();
        let record = self.version(subject.repository, subject.module, version)?;
        let identity = self.identity(subject.module, version)?;
        let mut draft = Draft { record: record.unwrap_or_default(), identity, events: Vec::new() };
        if decide(&mut draft)? == Decision::Keep {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        let key = keys::version(subject.repository, subject.module, version);
        batch.put_cf(self.family(family::VERSIONS), key, encode(&draft.record));
        let key = keys::identity(subject.module, version);
        batch.put_cf(self.family(family::IDENTITY), key, encode(&draft.identity));
        self.write(batch, subject, bodies, draft.events, true)?;
        self.inner.commits.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Records a mutable answer. `effects` sees the one before and says what follows from the new one.
    pub(crate) fn commit_mutable(
        &self,
        subject: Subject<'_>,
        name: &str,
        record: &MutableRecord,
        body: Option<&Placed>,
        effects: impl FnOnce(Option<&MutableRecord>) -> MutableEffects,
    ) -> Result<(), StoreError> {
        let _lock = self.inner.commit.lock();
        let before = self.mutable(subject.repository, subject.module, name)?;
        let effects = effects(before.as_ref());
        let mut batch = WriteBatch::default();
        let family = self.family(family::MUTABLES);
        for name in &effects.present {
            batch.delete_cf(family, keys::mutable(subject.repository, subject.module, name));
        }
        batch.put_cf(family, keys::mutable(subject.repository, subject.module, name), encode(record));
        // A mutable answer that is lost is asked for again; a change record that was shown may never be.
        let sync = !effects.events.is_empty();
        self.write(batch, subject, body.map_or(&[], std::slice::from_ref), effects.events, sync)
    }

    fn write(
        &self,
        mut batch: WriteBatch,
        subject: Subject<'_>,
        bodies: &[Placed],
        events: Vec<Event>,
        sync: bool,
    ) -> Result<(), StoreError> {
        for body in bodies {
            if let Some(bytes) = &body.small {
                batch.put_cf(self.family(family::SMALL), body.stored.digest.hex(), bytes);
            }
        }
        let changes: Vec<Change> = events.into_iter().map(|event| to_change(subject, event)).collect();
        let mut heads = Vec::new();
        for log in subject.logs {
            let mut head = self.log_head(log).ok_or_else(|| StoreError::Record {
                key: log.clone(),
                reason: "its change log is not open".to_owned(),
            })?;
            for change in &changes {
                head = self.append(&mut batch, log, head, change.clone());
            }
            heads.push((log, head));
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.inner.db.write_opt(batch, &options)?;
        if changes.is_empty() {
            return Ok(());
        }
        for (log, head) in &heads {
            self.advance(log, *head);
        }
        self.trim_sometimes(subject.logs);
        Ok(())
    }
}

fn to_change(subject: Subject<'_>, event: Event) -> Change {
    Change {
        id: ChangeId::ZERO,
        repo: String::new(),
        event_type: event.event_type,
        module_id: subject.module.to_owned(),
        version: event.version,
        kind: event.kind,
        timestamp: now_ms() / 1000,
        sha256: event.sha256,
        h1: event.h1,
        origin: Some(subject.repository.to_owned()),
        reason: event.reason.to_owned(),
        schema: 1,
        traceparent: None,
    }
}

#[cfg(test)]
mod tests;
