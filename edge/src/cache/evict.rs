//! The background sweep: keeps the disk within its budget, forgets what is over, and looks whether a disk in trouble works again.
//!
//! What was used last is noted at most once a minute for an entry and written in batches: a hit never writes. Eviction then reads all
//! entries once for a cut-off time and a second time to remove what is older; eight bytes of memory for each pass over an entry, no ordered
//! index. It goes down to nine tenths of the budget, so that it is rare.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use shared::digest::Digest;

use super::CacheError;
use super::entry::Row;
use super::freshness::Freshness;
use super::index::{Family, Index, KeyValue, OPEN_BYTES, Scan, ref_key};
use super::store::Store;

const USE_EVERY_MS: u64 = 60_000;
/// Uses that wait to be written; more are not noted until then.
const USES_MAX: usize = 1 << 16;
/// What a disk that failed must take to count as working.
const PROBE_BYTES: usize = 1 << 20;
/// Rows written in one batch, so that a commit need not wait for long.
const BATCH_ROWS: usize = 512;

/// Uses that were not written yet.
#[derive(Default)]
pub(super) struct Uses(Mutex<HashMap<Box<[u8]>, u64>>);

impl Uses {
    /// Notes a use; `noted_ms` is when this entry's was last noted.
    pub(super) fn note(&self, key: &[u8], noted_ms: &AtomicU64, now_ms: u64) {
        if now_ms.saturating_sub(noted_ms.load(Relaxed)) < USE_EVERY_MS {
            return;
        }
        noted_ms.store(now_ms, Relaxed);
        // A serving thread does not wait for the sweep; a use that is lost is noted a minute later.
        let Some(mut uses) = self.0.try_lock() else {
            return;
        };
        if uses.len() < USES_MAX {
            uses.insert(key.into(), now_ms);
        }
    }
}

/// The uses beside the entries: both lie in the order of their keys, and a step costs less than a look-up.
struct UsesBeside<'a> {
    uses: Scan<'a>,
    next: Option<KeyValue>,
}

impl<'a> UsesBeside<'a> {
    fn new(index: &'a Index) -> Result<Self, CacheError> {
        let mut uses = index.scan(Family::Uses, b"");
        let next = uses.next().transpose()?;
        Ok(Self { uses, next })
    }

    /// When the entry was used last. Keys must come in order.
    fn used_ms(&mut self, key: &[u8], row: &Row) -> Result<u64, CacheError> {
        while self.next.as_ref().is_some_and(|(used, _)| &**used < key) {
            self.next = self.uses.next().transpose()?;
        }
        let used = self.next.as_ref().filter(|(used, _)| &**used == key);
        let used = used.and_then(|(_, value)| Some(u64::from_be_bytes((&**value).try_into().ok()?)));
        Ok(used.unwrap_or_default().max(row.stored_at_ms))
    }
}

impl Store {
    /// What an interrupted process left: bodies without entries, files without rows, entries of a void era.
    pub(super) fn reclaim(&self) -> Result<(), CacheError> {
        let void_before = self.eras.state().void_before;
        if void_before > 0 {
            self.remove_entries(|row, _| Ok(row.era < void_before))?;
        }
        self.unneeded()?.iter().try_for_each(|digest| self.release(digest))?;
        let mut removed = 0;
        let walked = self.files.walk(&mut |digest| {
            let _blob = self.lock_blob(&digest);
            if matches!(self.index.blob(&digest), Ok(None)) && self.files.remove(&digest).is_ok() {
                removed += 1;
            }
            !self.signal.has_ended()
        });
        if removed > 0 {
            tracing::info!(files = removed, "removed files without entries");
        }
        walked.map_err(|error| CacheError::Storage(format!("cached files: {error}")))
    }

    /// Bodies that no entry seems to need. References lie in the order of the bodies: both are read once, side by side.
    fn unneeded(&self) -> Result<Vec<Digest>, CacheError> {
        let mut unneeded = Vec::new();
        let mut refs = self.index.scan(Family::Refs, b"");
        let mut next = refs.next().transpose()?;
        for row in self.index.scan(Family::Blobs, b"") {
            let (blob, _) = row?;
            while next.as_ref().is_some_and(|(reference, _)| reference < &blob) {
                next = refs.next().transpose()?;
            }
            let is_needed = next.as_ref().is_some_and(|(reference, _)| reference.starts_with(&blob));
            if let (false, Ok(bytes)) = (is_needed, <[u8; 32]>::try_from(&*blob)) {
                unneeded.push(Digest::from_bytes(bytes));
            }
            if self.signal.has_ended() {
                break;
            }
        }
        Ok(unneeded)
    }

    /// One round.
    pub(super) fn sweep(&self) -> Result<(), CacheError> {
        if self.index.is_damaged() {
            self.start_over()?;
            self.reclaim()?;
        }
        self.probe();
        self.beat_if_due();
        self.write_uses()?;
        self.forget_negatives()?;
        self.evict()
    }

    /// A disk in trouble is tried, so that it is known to work again also when nobody asks for anything new.
    fn probe(&self) {
        if self.trouble().is_some() {
            self.note_write(self.try_disk().err().as_deref());
        }
    }

    fn try_disk(&self) -> Result<(), String> {
        self.try_file(PROBE_BYTES)?;
        let index_works = || {
            let mut batch = self.index.batch();
            batch.put(Family::State, b"probe", b"");
            batch.write().map_err(|error| error.to_string())
        };
        if index_works().is_ok() {
            return Ok(());
        }
        // It refuses all writes after one that failed, and is opened anew; but not before there is room for that.
        self.try_file(OPEN_BYTES)?;
        let _writer = self.lock_writer();
        self.index.reopen().map_err(|error| error.to_string())?;
        index_works()
    }

    fn try_file(&self, len: usize) -> Result<(), String> {
        let attempt = || {
            let mut file = tempfile::tempfile_in(self.spool_dir())?;
            file.write_all(&vec![0; len])?;
            file.sync_all()
        };
        attempt().map_err(|error: std::io::Error| error.to_string())
    }

    pub(super) fn write_uses(&self) -> Result<(), CacheError> {
        let uses = std::mem::take(&mut *self.uses.0.lock());
        let mut uses = uses.into_iter().peekable();
        while uses.peek().is_some() {
            let _writer = self.lock_writer();
            let mut batch = self.index.batch();
            for (key, used_ms) in uses.by_ref().take(BATCH_ROWS) {
                // An entry that went meanwhile must not leave its use behind.
                if self.index.get(Family::Entries, &key)?.is_some() {
                    batch.put(Family::Uses, &key, &used_ms.to_be_bytes());
                }
            }
            batch.write()?;
        }
        Ok(())
    }

    fn forget_negatives(&self) -> Result<(), CacheError> {
        let now_ms = self.clock.now_ms();
        let mut over = Vec::new();
        for row in self.index.scan(Family::Negatives, b"") {
            let (key, value) = row?;
            if Row::decode(&value).is_none_or(|row| self.is_over(&row, now_ms)) {
                over.push(key);
            }
        }
        for keys in over.chunks(BATCH_ROWS) {
            let _writer = self.lock_writer();
            let mut batch = self.index.batch();
            for key in keys {
                // It may have been recorded anew since.
                let now = self.index.get(Family::Negatives, key)?;
                if now.is_some_and(|now| Row::decode(&now).is_none_or(|row| self.is_over(&row, now_ms))) {
                    batch.delete(Family::Negatives, key);
                }
            }
            batch.write()?;
        }
        Ok(())
    }

    fn is_over(&self, row: &Row, now_ms: u64) -> bool {
        self.judge_negative(row, now_ms) != Freshness::Fresh
    }

    /// Removes the least recently used entries until nine tenths of the budget are left.
    pub(super) fn evict(&self) -> Result<(), CacheError> {
        let bytes_max = self.disk_bytes_max.load(Relaxed);
        if self.disk_bytes.load(Relaxed) <= bytes_max {
            return Ok(());
        }
        let target = bytes_max / 10 * 9;
        // Entries that share a body free it only with the last of them, so one cut may not be enough.
        while self.disk_bytes.load(Relaxed) > target && !self.signal.has_ended() {
            let excess = self.disk_bytes.load(Relaxed) - target;
            let Some(cut_ms) = self.cut(excess)? else { break };
            let mut uses = UsesBeside::new(&self.index)?;
            let removed = self.remove_entries(|row, key| {
                Ok(self.disk_bytes.load(Relaxed) > target && uses.used_ms(key, row)? <= cut_ms)
            })?;
            self.evictions.fetch_add(removed, Relaxed);
            if removed == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The time of use up to which entries must go to free `excess` bytes.
    fn cut(&self, excess: u64) -> Result<Option<u64>, CacheError> {
        let mut beside = UsesBeside::new(&self.index)?;
        let mut uses = Vec::new();
        for row in self.index.scan(Family::Entries, b"") {
            let (key, value) = row?;
            if let Some(row) = Row::decode(&value) {
                uses.push((beside.used_ms(&key, &row)?, row.len + 512));
            }
            if self.signal.has_ended() {
                return Ok(None);
            }
        }
        uses.sort_unstable();
        let mut freed = 0;
        let cut = uses.iter().find(|(_, bytes)| {
            freed += bytes;
            freed >= excess
        });
        Ok(cut.or(uses.last()).map(|(used_ms, _)| *used_ms))
    }

    /// Removes the entries that `goes` picks, and their bodies where no other entry needs them.
    fn remove_entries(&self, mut goes: impl FnMut(&Row, &[u8]) -> Result<bool, CacheError>) -> Result<u64, CacheError> {
        let mut removed = 0;
        for row in self.index.scan(Family::Entries, b"") {
            let (key, value) = row?;
            if let Some(row) = Row::decode(&value)
                && goes(&row, &key)?
                && let Some(digest) = self.remove_entry(&key, &value)?
            {
                removed += 1;
                self.release(&digest)?;
            }
            if self.signal.has_ended() {
                break;
            }
        }
        Ok(removed)
    }

    /// Removes an entry if it still is what was read.
    fn remove_entry(&self, key: &[u8], read: &[u8]) -> Result<Option<Digest>, CacheError> {
        let _writer = self.lock_writer();
        if self.index.get(Family::Entries, key)?.as_deref() != Some(read) {
            return Ok(None);
        }
        let Some(row) = Row::decode(read) else { return Ok(None) };
        let mut batch = self.index.batch();
        batch.delete(Family::Entries, key);
        batch.delete(Family::Uses, key);
        batch.delete(Family::Refs, &ref_key(&row.digest, key));
        batch.write()?;
        Ok(Some(row.digest))
    }

    /// Removes a body that no entry needs any more. Takes both locks.
    pub(super) fn release(&self, digest: &Digest) -> Result<(), CacheError> {
        let _blob = self.lock_blob(digest);
        let blob = {
            let _writer = self.lock_writer();
            if self.index.is_needed(digest)? {
                return Ok(());
            }
            let Some(blob) = self.index.blob(digest)? else { return Ok(()) };
            let mut batch = self.index.batch();
            batch.delete(Family::Blobs, digest.as_bytes());
            batch.delete(Family::Bodies, digest.as_bytes());
            batch.write()?;
            self.discount(blob);
            blob
        };
        if blob.in_file {
            // Row first: a file without a row is removed at the next start, a row without a file would be damage.
            let removed = self.files.remove(digest);
            removed.map_err(|error| CacheError::Storage(format!("a cached file: {error}")))?;
        }
        Ok(())
    }

    /// As [`Store::release`], where the operation itself is done and only room is at stake.
    pub(super) fn release_quietly(&self, digest: &Digest) {
        if let Err(error) = self.release(digest) {
            tracing::warn!(%error, "a body without an entry stays until the next start");
        }
    }
}
