//! The background scrub: everything on the disk is read and hashed again and again, slowly.
//!
//! What is asked for is hashed anyway. What nobody asks for may go bad for years, and be all there is on the day when the center
//! is out of reach. So first the bodies are walked, in the order of their digests, then the entries, whose rows must be readable
//! and have a body. A damaged one is removed as when a request had come upon it: the next use fills it again.
//!
//! Bytes are read at [`Scrub::set_rate`]; how far the walk has come is kept in the index, and a restart goes on from there.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use shared::digest::Digest;

use super::CacheError;
use super::entry::Row;
use super::files::Opened;
use super::index::{Blob, Family};
use super::store::Store;
use super::verified::{digest_of, digest_while};

const PLACE: &[u8] = b"scrub";
/// Rows looked at between two pauses at most.
const PAGE_ROWS: usize = 64;
/// What a row costs beside its body, in bytes. With a million small bodies a walk is their rows above all: at 512 it took a third
/// of a core for minutes, from the hits.
const ROW_BYTES: u64 = 4096;
/// How often the place is kept.
const KEEP_EVERY: Duration = Duration::from_mins(1);
/// Between two walks, and after an error.
const REST: Duration = Duration::from_secs(30);
/// How often a scrub that is switched off looks whether it still is.
const OFF: Duration = Duration::from_secs(1);

/// What the scrub has done since the start, and how fast it may go on.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    rate: AtomicU64,
    bytes: AtomicU64,
    walks: AtomicU64,
}

impl Scrub {
    /// Bytes a second; 0 switches it off.
    pub(super) fn set_rate(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Relaxed);
    }

    /// Bytes that were read and hashed.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Walks that came to their end.
    pub(super) fn walks(&self) -> u64 {
        self.walks.load(Relaxed)
    }
}

/// How far a walk has come: the key that was looked at last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    family: Family,
    after: Vec<u8>,
}

impl Place {
    const fn start() -> Self {
        Self { family: Family::Blobs, after: Vec::new() }
    }

    fn encode(&self) -> Vec<u8> {
        let family = if self.family == Family::Blobs { b'b' } else { b'e' };
        [&[family], &*self.after].concat()
    }

    /// What cannot be read is the start.
    fn decode(value: &[u8]) -> Self {
        match value.split_first() {
            Some((b'b', after)) => Self { family: Family::Blobs, after: after.to_vec() },
            Some((b'e', after)) => Self { family: Family::Entries, after: after.to_vec() },
            Some(_) | None => Self::start(),
        }
    }
}

impl Store {
    /// Walks until the cache is closed.
    pub(super) fn scrub(&self) {
        let mut place = self.scrub_place();
        let mut kept_at = Instant::now();
        loop {
            let rest = if self.scrub.rate.load(Relaxed) == 0 { OFF } else { self.scrub_on(&mut place) };
            if self.signal.has_ended() || kept_at.elapsed() >= KEEP_EVERY || !rest.is_zero() {
                self.keep_place(&place);
                kept_at = Instant::now();
            }
            if !self.signal.pause(rest) {
                return;
            }
        }
    }

    /// Looks at some rows, and says for how long to rest after them.
    fn scrub_on(&self, place: &mut Place) -> Duration {
        match self.scrub_page(place) {
            Ok(true) => Duration::ZERO,
            Ok(false) => {
                self.scrub.walks.fetch_add(1, Relaxed);
                REST
            }
            Err(error) => {
                tracing::warn!(%error, "the scrub of the disk pauses");
                REST
            }
        }
    }

    /// One whole walk from the start, at once.
    #[cfg(test)]
    pub(super) fn scrub_everything(&self) -> Result<(), CacheError> {
        self.scrub.set_rate(u64::MAX);
        let mut place = Place::start();
        while self.scrub_page(&mut place)? {}
        Ok(())
    }

    fn scrub_place(&self) -> Place {
        let kept = self.index.get(Family::State, PLACE);
        kept.ok().flatten().map_or_else(Place::start, |value| Place::decode(&value))
    }

    fn keep_place(&self, place: &Place) {
        let mut batch = self.index.batch();
        batch.put(Family::State, PLACE, &place.encode());
        if let Err(error) = batch.write() {
            tracing::debug!(%error, "the scrub's place is not kept: it will begin at an earlier one");
        }
    }

    /// `false`: the walk is at its end, and the place at the start again.
    fn scrub_page(&self, place: &mut Place) -> Result<bool, CacheError> {
        let rows = self.index.after(place.family, &place.after, PAGE_ROWS)?;
        if rows.is_empty() {
            let bodies_done = place.family == Family::Blobs;
            *place = if bodies_done { Place { family: Family::Entries, after: Vec::new() } } else { Place::start() };
            return Ok(bodies_done);
        }
        for (key, value) in rows {
            let is_body = place.family == Family::Blobs;
            let scrubbed = if is_body { self.scrub_body(&key, &value) } else { self.scrub_entry(&key, &value) };
            if let Err(error) = scrubbed {
                // A sector that cannot be read must not keep the walk from what lies behind it.
                place.after = key.into();
                return Err(error);
            }
            if !self.scrub_pause(ROW_BYTES) {
                return Ok(true);
            }
            place.after = key.into();
        }
        Ok(true)
    }

    /// Reads a body. One that is damaged goes, with all entries that need it.
    fn scrub_body(&self, key: &[u8], value: &[u8]) -> Result<(), CacheError> {
        let Ok(digest) = <[u8; 32]>::try_from(key).map(Digest::from_bytes) else { return Ok(()) };
        let Some(blob) = Blob::decode(value) else {
            return self.remove_damaged_body(&digest, "where it lies cannot be read");
        };
        let is_right = if blob.in_file { self.scrub_file(&digest, blob)? } else { self.scrub_inline(&digest)? };
        // It may have been evicted or filled again meanwhile: what is there now counts.
        if is_right || self.index.blob(&digest)? != Some(blob) || self.is_right_now(&digest, blob)? {
            return Ok(());
        }
        self.remove_damaged_body(&digest, "the scrub found other bytes")
    }

    fn scrub_inline(&self, digest: &Digest) -> Result<bool, CacheError> {
        let Some(body) = self.index.get(Family::Bodies, digest.as_bytes())? else { return Ok(false) };
        self.scrub_paced(body.len() as u64);
        Ok(Digest::of(&body) == *digest)
    }

    /// Also right when it was not read to its end, because the cache is being closed.
    fn scrub_file(&self, digest: &Digest, blob: Blob) -> Result<bool, CacheError> {
        let file = match self.files.open_file(digest, blob.len).map_err(file_trouble)? {
            Opened::Whole(file) => file,
            Opened::Missing | Opened::WrongLength(_) => return Ok(false),
        };
        let found = digest_while(&file, |len| self.scrub_paced(len)).map_err(file_trouble)?;
        let Some(found) = found else { return Ok(true) };
        if found == *digest {
            self.verified.note(digest, &file).map_err(file_trouble)?;
        }
        Ok(found == *digest)
    }

    fn is_right_now(&self, digest: &Digest, blob: Blob) -> Result<bool, CacheError> {
        if !blob.in_file {
            let body = self.index.get(Family::Bodies, digest.as_bytes())?;
            return Ok(body.is_some_and(|body| Digest::of(&body) == *digest));
        }
        match self.files.open_file(digest, blob.len).map_err(file_trouble)? {
            Opened::Whole(file) => Ok(digest_of(&file).map_err(file_trouble)? == *digest),
            Opened::Missing | Opened::WrongLength(_) => Ok(false),
        }
    }

    fn remove_damaged_body(&self, digest: &Digest, reason: &str) -> Result<(), CacheError> {
        self.verified.forget(digest);
        let references: Vec<_> = self.index.scan(Family::Refs, digest.as_bytes()).collect::<Result<_, _>>()?;
        for (reference, _) in references {
            let key = &reference[digest.as_bytes().len()..];
            let value = self.index.get(Family::Entries, key)?;
            let needs = |value: &Vec<u8>| Row::decode(value).is_some_and(|row| row.digest == *digest);
            if let Some(value) = value.filter(needs) {
                self.heal(key, &value, Some(*digest), reason)?;
            }
        }
        // Also without an entry it must not be found by a fill.
        self.discard_damaged(digest)?;
        self.release(digest)
    }

    /// An entry's row must be readable and have a body of its length; the body itself was read before.
    fn scrub_entry(&self, key: &[u8], value: &[u8]) -> Result<(), CacheError> {
        let Some(row) = Row::decode(value) else {
            return self.heal(key, value, None, "its row cannot be read");
        };
        match self.index.blob(&row.digest)? {
            Some(blob) if blob.len == row.len => Ok(()),
            Some(_) => self.heal(key, value, Some(row.digest), "its body has another length"),
            None => self.heal(key, value, Some(row.digest), "its body is not in the index"),
        }
    }

    /// Counts what was read of a body and waits as long as that may take; `false`: the cache is being closed.
    fn scrub_paced(&self, bytes: u64) -> bool {
        self.scrub.bytes.fetch_add(bytes, Relaxed);
        self.scrub_pause(bytes)
    }

    fn scrub_pause(&self, bytes: u64) -> bool {
        let rate = self.scrub.rate.load(Relaxed).max(1);
        // Not longer than it may take until another pace is noticed.
        self.signal.pause(Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate).min(REST))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn file_trouble(error: io::Error) -> CacheError {
    CacheError::Storage(format!("a cached file: {error}"))
}
