//! Writing: from a proven body to a committed entry, and what a fill's ticket is for.
//!
//! ```text
//! sync the file ─▶ ┌ blob's lock ─────────────────────────────────────────────────┐ ─▶ into memory
//!                  │ rename ─▶ ┌ writer's lock: tombstoned? overtaken? one batch ┐ │
//!                  └───────────┴─────────────────────────────────────────────────┴─┘
//! ```
//! The row is written only after the file is durable. What came to be between the ticket and the writer's lock beats the fill.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use shared::change::ChangeId;
use shared::digest::Digest;
use shared::fill::Spooled;

use super::entry::{Entry, EntryBody, Meta, Row, Status};
use super::files::{Opened, Synced};
use super::generation::Seen;
use super::index::{Blob, Family, ref_key};
use super::key::Key;
use super::lookup::Body;
use super::memory::{Promotion, Standing};
use super::store::Store;
use super::{CacheError, CommitError, tombstone};

/// Bodies up to this size lie in the index, larger ones in files: measured, files are 2–10 times faster from 20 KiB up.
pub(super) const INLINE_BYTES_MAX: u64 = 32 * 1024;

/// What was known when a fill began. A change that comes later beats the fill.
#[derive(Debug)]
pub(crate) struct Ticket {
    key: Key,
    seen: Seen,
    era: u64,
    cursor: ChangeId,
    after_removal: bool,
}

impl Ticket {
    /// Of a fill that asks for a version which counted as removed before, and asks only whom knows of the removal: what it brings
    /// has been restored since.
    #[must_use]
    pub(crate) fn after_removal(self) -> Self {
        Self { after_removal: true, ..self }
    }
}

/// A proven body on its way in.
enum Incoming {
    Inline(Bytes),
    Synced(Synced),
}

/// A body in its place.
enum Placed {
    Inline(Bytes),
    File(Arc<File>),
}

/// A row that was written, and what it took the place of.
struct Written {
    /// As the row has it.
    meta: Meta,
    promotion: Promotion,
    replaced: Option<Digest>,
}

impl Store {
    pub(super) fn ticket(&self, key: &Key) -> Ticket {
        Ticket {
            key: key.clone(),
            // The era first: one that moves on in between leaves the ticket behind it.
            era: self.eras.state().now,
            seen: self.generations.seen(key.module_hash()),
            cursor: self.cursor(key.repo()),
            after_removal: false,
        }
    }

    pub(super) fn is_removed(&self, key: &Key) -> Result<bool, CacheError> {
        let Some(version) = key.version() else { return Ok(false) };
        tombstone::stands(&self.index, (key.repo(), key.module_path(), version))
    }

    pub(super) fn commit(&self, ticket: &Ticket, meta: Meta, spooled: Spooled) -> Result<Entry, CommitError> {
        let committed = self.try_commit(ticket, meta, spooled);
        match &committed {
            Ok(_) => self.note_write(None),
            Err(CommitError::Storage(reason)) => self.note_write(Some(reason)),
            Err(CommitError::Tombstoned | CommitError::Conflict { .. }) => {}
        }
        committed
    }

    fn try_commit(&self, ticket: &Ticket, mut meta: Meta, spooled: Spooled) -> Result<Entry, CommitError> {
        let digest = spooled.digest();
        if digest != meta.digest {
            return Err(CommitError::Storage(format!("the body has sha256 {digest}, not {}", meta.digest)));
        }
        meta.len = spooled.len();
        meta.stored_at_ms = self.clock.now_ms();
        let blob = Blob { in_file: meta.len > INLINE_BYTES_MAX, len: meta.len };
        let incoming = self.receive(blob, spooled)?;
        let (placed, written) = {
            let _blob = self.lock_blob(&digest);
            let placed = self.place(&digest, blob, incoming)?;
            match self.write_entry(ticket, &meta, blob, &placed) {
                Ok(written) => (placed, written),
                Err(error) => {
                    self.take_back(&digest, blob);
                    return Err(error);
                }
            }
        };
        if let Some(replaced) = written.replaced {
            self.release_quietly(&replaced);
        }
        if self.is_over_budget() {
            self.signal.wake();
        }
        let body = match placed {
            // A copy of its own: what came from the network may be a part of a buffer many times as large, and would keep all of it.
            Placed::Inline(bytes) => EntryBody::Memory(Bytes::copy_from_slice(&bytes)),
            Placed::File(file) => EntryBody::File(file),
        };
        let entry = Entry { status: Status::Found, meta: Arc::new(written.meta), body };
        self.promote(&ticket.key, &entry, written.promotion);
        Ok(entry)
    }

    /// Brings a large body to the disk, a small one into memory.
    fn receive(&self, blob: Blob, spooled: Spooled) -> Result<Incoming, CommitError> {
        if blob.in_file {
            return Ok(Incoming::Synced(self.files.sync(spooled).map_err(file_trouble)?));
        }
        match spooled {
            Spooled::Memory(bytes) => Ok(Incoming::Inline(bytes)),
            Spooled::File { file, len, .. } => {
                Ok(Incoming::Inline(super::lookup::read_whole(&file, len).map_err(file_trouble)?))
            }
        }
    }

    /// Gives a large body its name, unless an equal one has it already. Under the blob's lock.
    fn place(&self, digest: &Digest, blob: Blob, incoming: Incoming) -> Result<Placed, CommitError> {
        match incoming {
            Incoming::Inline(bytes) => Ok(Placed::Inline(bytes)),
            Incoming::Synced(synced) => {
                // Only one that was read since the start, and found right, is as good as the one at hand.
                if self.index.blob(digest)?.is_some()
                    && let Opened::Whole(file) = self.files.open_file(digest, blob.len).map_err(file_trouble)?
                    && self.verified.knows(digest, &file).map_err(file_trouble)?
                {
                    return Ok(Placed::File(file));
                }
                let file = self.files.place(digest, synced).map_err(file_trouble)?;
                self.verified.note(digest, &file).map_err(file_trouble)?;
                Ok(Placed::File(file))
            }
        }
    }

    /// Writes the row and all that belongs to it in one batch. Under the blob's lock; takes the writer's.
    fn write_entry(&self, ticket: &Ticket, meta: &Meta, blob: Blob, placed: &Placed) -> Result<Written, CommitError> {
        let _writer = self.lock_writer();
        let key = &ticket.key;
        if tombstone::refuses(&self.index, key, ticket.cursor, ticket.after_removal)? {
            return Err(CommitError::Tombstoned);
        }
        let held = self.row(key)?;
        if let Some(held) = &held
            && !key.is_mutable()
            && held.digest != meta.digest
            && matches!(self.body(held)?, Body::Whole(_))
        {
            // The first verified bytes are the ones served for good.
            return Err(CommitError::Conflict { held: held.digest, offered: meta.digest });
        }
        let changed = self.is_overtaken(ticket, meta.change_id);
        let row = self.row_of(key, meta, held.as_ref(), changed);
        let replaced = held.map(|row| row.digest).filter(|old| *old != meta.digest);
        let is_new = self.index.blob(&meta.digest)?.is_none();
        let mut batch = self.index.batch();
        batch.put(Family::Entries, key.bytes(), &row.encode());
        batch.delete(Family::Negatives, key.bytes());
        batch.put(Family::Refs, &ref_key(&meta.digest, key.bytes()), b"");
        if let Some(old) = &replaced {
            batch.delete(Family::Refs, &ref_key(old, key.bytes()));
        }
        batch.put(Family::Blobs, meta.digest.as_bytes(), &blob.encode());
        if let Placed::Inline(bytes) = placed {
            // Also where it is there already: this heals a damaged one.
            batch.put(Family::Bodies, meta.digest.as_bytes(), bytes);
        }
        batch.write()?;
        if is_new {
            self.count(blob);
        }
        let promotion = self.promotion(key, written_now(changed), meta.stored_at_ms);
        Ok(Written { meta: row.meta(), promotion, replaced })
    }

    /// The row to be written in the place of `held`.
    fn row_of(&self, key: &Key, meta: &Meta, held: Option<&Row>, changed: bool) -> Row {
        let mut row = Row::of(Status::Found, meta, changed, self.eras.state().now);
        // A list that came again as it was has not changed since, whatever its source says of the time: that makes a module stable.
        if let Some(held) = held.filter(|held| key.is_mutable() && held.digest == row.digest) {
            row.modified_ms = row.modified_ms.min(held.modified_ms);
        }
        row
    }

    /// The row of an entry that counts. Under the writer's lock.
    fn row(&self, key: &Key) -> Result<Option<Row>, CacheError> {
        let value = self.index.get(Family::Entries, key.bytes())?;
        let void_before = self.eras.state().void_before;
        Ok(value.and_then(|value| Row::decode(&value)).filter(|row| row.era >= void_before))
    }

    /// Whether a change came that a mutable answer may not know of. Under the writer's lock.
    fn is_overtaken(&self, ticket: &Ticket, change_id: Option<ChangeId>) -> bool {
        ticket.key.is_mutable()
            && (self.generations.seen(ticket.key.module_hash()).mutables != ticket.seen.mutables
                || self.eras.state().stale_before > ticket.era
                || change_id.is_some_and(|id| id < ticket.cursor))
    }

    /// Removes a file that got its name for a row that was then not written. Under the blob's lock.
    fn take_back(&self, digest: &Digest, blob: Blob) {
        let is_unknown = matches!(self.index.blob(digest), Ok(None));
        if blob.in_file
            && is_unknown
            && let Err(error) = self.files.remove(digest)
        {
            tracing::warn!(%error, "a file without an entry stays until the next start");
        }
    }

    pub(super) fn commit_negative(&self, ticket: &Ticket, status: Status, message: &str) -> Result<(), CacheError> {
        let recorded = self.try_commit_negative(ticket, status, message);
        self.note_write(recorded.as_ref().err().map(ToString::to_string).as_deref());
        if let Some(digest) = recorded? {
            self.release_quietly(&digest);
        }
        Ok(())
    }

    /// Answers with the digest of a mutable that the negative took the place of.
    fn try_commit_negative(
        &self,
        ticket: &Ticket,
        status: Status,
        message: &str,
    ) -> Result<Option<Digest>, CacheError> {
        debug_assert!(status.is_negative(), "a body is committed, not recorded");
        let key = &ticket.key;
        let _writer = self.lock_writer();
        let seen = self.generations.seen(key.module_hash());
        if seen.any != ticket.seen.any || self.eras.state().now != ticket.era {
            return Ok(None);
        }
        let mut meta = Meta::filled(Digest::of(b""), 0, std::time::UNIX_EPOCH, None);
        meta.stored_at_ms = self.clock.now_ms();
        message.clone_into(&mut meta.message);
        let mut batch = self.index.batch();
        batch.put(Family::Negatives, key.bytes(), &Row::of(status, &meta, false, ticket.era).encode());
        // A list that is no longer there is no longer served; a version that is held never goes for a "not found".
        let gone = if key.is_mutable() { self.row(key)? } else { None };
        if let Some(row) = &gone {
            batch.delete(Family::Entries, key.bytes());
            batch.delete(Family::Uses, key.bytes());
            batch.delete(Family::Refs, &ref_key(&row.digest, key.bytes()));
        }
        batch.write()?;
        if gone.is_some() {
            let touched = super::generation::Touched { mutables: true, drops: false };
            self.generations.bump(key.module_hash(), touched);
        }
        Ok(gone.map(|row| row.digest))
    }

    pub(super) fn touch_revalidated(
        &self,
        ticket: &Ticket,
        held: &Meta,
        change_id: Option<ChangeId>,
    ) -> Result<Option<Entry>, CacheError> {
        let touched = self.try_touch(ticket, held, change_id);
        self.note_write(touched.as_ref().err().map(ToString::to_string).as_deref());
        touched
    }

    fn try_touch(
        &self,
        ticket: &Ticket,
        held: &Meta,
        change_id: Option<ChangeId>,
    ) -> Result<Option<Entry>, CacheError> {
        let key = &ticket.key;
        let (row, promotion) = {
            let _writer = self.lock_writer();
            let Some(mut row) = self.row(key)?.filter(|row| row.digest == held.digest) else {
                return Ok(None);
            };
            row.stored_at_ms = self.clock.now_ms();
            row.change_id = change_id.or(row.change_id);
            row.stale = self.is_overtaken(ticket, change_id);
            row.era = self.eras.state().now;
            let mut batch = self.index.batch();
            batch.put(Family::Entries, key.bytes(), &row.encode());
            batch.write()?;
            let promotion = self.promotion(key, written_now(row.stale), row.stored_at_ms);
            (row, promotion)
        };
        let Body::Whole(body) = self.body(&row)? else {
            return Ok(None);
        };
        let entry = Entry { status: row.status, meta: Arc::new(row.meta()), body };
        self.promote(key, &entry, promotion);
        Ok(Some(entry))
    }

    fn is_over_budget(&self) -> bool {
        self.disk_bytes.load(Relaxed) > self.disk_bytes_max.load(Relaxed)
    }
}

// The one place where "storage" means that the body itself may be passed on uncached.
impl From<CacheError> for CommitError {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Storage(reason) => Self::Storage(reason),
            CacheError::Directory { .. } | CacheError::Open { .. } | CacheError::Damaged(_) => {
                Self::Storage(error.to_string())
            }
        }
    }
}

/// How an entry stands that was written just now: its age is known.
const fn written_now(changed: bool) -> Standing {
    Standing { changed, age_unknown: false }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn file_trouble(error: io::Error) -> CommitError {
    CommitError::Storage(format!("a cached file: {error}"))
}
