//! Reading: what is held of a key, and how fresh it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use shared::digest::Digest;

use super::CacheError;
use super::entry::{Entry, EntryBody, Meta, Row, unix_ms};
use super::files::Opened;
use super::freshness::{Class, Facts, Freshness, early_permille, freshness, is_over_in_memory};
use super::index::{Family, ref_key};
use super::key::Key;
use super::memory::{BODY_BYTES_MAX, Held, Promotion, Standing};
use super::store::Store;
use super::verified::digest_of;

/// A body as it was found.
pub(super) enum Body {
    Whole(EntryBody),
    /// It is not what the row says; why, for the log.
    Damaged(String),
}

impl Store {
    pub(super) fn memory(&self, key: &Key) -> Option<(Entry, Freshness)> {
        let now_ms = self.clock.now_ms();
        if key.is_mutable() {
            self.heat.ask(key.module_hash(), now_ms);
        }
        let held = self.memory.get(key).filter(|held| self.is_current(key, held))?;
        if key.is_mutable() && is_over_in_memory(held.promotion.now_ms, &self.policy.load(), now_ms) {
            return None;
        }
        self.uses.note(key.bytes(), &held.used_at_ms, now_ms);
        let fresh = self.judge(key, &held.entry.meta, held.promotion.standing, now_ms);
        Some((held.entry.clone(), fresh))
    }

    pub(super) fn disk(&self, key: &Key) -> Result<Option<(Entry, Freshness)>, CacheError> {
        match self.disk_only(key) {
            // The disk does not answer: what memory has is better than nothing, however long it has been there.
            Err(error) => match self.memory.get(key).filter(|held| self.is_current(key, held)) {
                Some(held) => {
                    tracing::warn!(%error, "answering from memory: the disk does not");
                    let fresh = self.judge(key, &held.entry.meta, held.promotion.standing, self.clock.now_ms());
                    Ok(Some((held.entry.clone(), fresh)))
                }
                None => Err(error),
            },
            found => found,
        }
    }

    fn is_current(&self, key: &Key, held: &Held) -> bool {
        let (eras, seen) = (self.eras.state(), self.generations.seen(key.module_hash()));
        let Promotion { seen: then, era, .. } = held.promotion;
        let dropped = then.drops != seen.drops || era < eras.void_before;
        let overtaken = then.mutables != seen.mutables || era < eras.stale_before;
        !(dropped || key.is_mutable() && overtaken)
    }

    fn disk_only(&self, key: &Key) -> Result<Option<(Entry, Freshness)>, CacheError> {
        // Before the row is read: a change that comes after that leaves what goes into memory here behind it.
        let now_ms = self.clock.now_ms();
        let mut promotion = self.promotion(key, Standing::default(), now_ms);
        let eras = self.eras.state();
        let Some(value) = self.index.get(Family::Entries, key.bytes())? else {
            return self.negative(key, now_ms);
        };
        let Some(row) = Row::decode(&value) else {
            self.heal(key.bytes(), &value, None, "its row cannot be read")?;
            return Ok(None);
        };
        if row.era < eras.void_before {
            return Ok(None);
        }
        let body = match self.body(&row)? {
            Body::Whole(body) => body,
            Body::Damaged(reason) => {
                self.heal(key.bytes(), &value, Some(row.digest), &reason)?;
                return Ok(None);
            }
        };
        let standing =
            Standing { changed: row.stale || row.era < eras.stale_before, age_unknown: row.era < eras.doubted_before };
        let entry = Entry { status: row.status, meta: Arc::new(row.meta()), body };
        let fresh = self.judge(key, &entry.meta, standing, now_ms);
        let used_at_ms = AtomicU64::new(0);
        self.uses.note(key.bytes(), &used_at_ms, now_ms);
        promotion.standing = standing;
        self.promote(key, &entry, promotion);
        Ok(Some((entry, fresh)))
    }

    /// What an entry takes into memory with it: before its row is read, or under the writer's lock after it was written.
    pub(super) fn promotion(&self, key: &Key, standing: Standing, now_ms: u64) -> Promotion {
        Promotion {
            standing,
            era: self.eras.state().now,
            seen: self.generations.seen(key.module_hash()),
            order: self.memory.next_order(),
            now_ms,
        }
    }

    /// Brings an entry into memory.
    pub(super) fn promote(&self, key: &Key, entry: &Entry, promotion: Promotion) {
        if matches!(entry.body, EntryBody::Memory(_)) {
            self.memory.put(Held {
                key: key.clone(),
                entry: entry.clone(),
                used_at_ms: AtomicU64::new(promotion.now_ms),
                promotion,
            });
        }
    }

    /// Up to 1 MiB in memory, above that an open file.
    pub(super) fn body(&self, row: &Row) -> Result<Body, CacheError> {
        let Some(blob) = self.index.blob(&row.digest)? else {
            return Ok(Body::Damaged("its body is not in the index".to_owned()));
        };
        if blob.len != row.len {
            return Ok(Body::Damaged(format!("its body has {} bytes instead of {}", blob.len, row.len)));
        }
        if !blob.in_file {
            let body = self.index.get(Family::Bodies, row.digest.as_bytes())?;
            return Ok(match body {
                Some(body) if Digest::of(&body) == row.digest => {
                    Body::Whole(EntryBody::Memory(Bytes::copy_from_slice(&body)))
                }
                Some(_) => Body::Damaged("its body has another digest".to_owned()),
                None => Body::Damaged("its body is missing".to_owned()),
            });
        }
        let storage = |error: std::io::Error| CacheError::Storage(format!("a cached file: {error}"));
        let file = match self.files.open_file(&row.digest, row.len).map_err(storage)? {
            Opened::Whole(file) => file,
            Opened::Missing => return Ok(Body::Damaged("its file is missing".to_owned())),
            Opened::WrongLength(found) => {
                return Ok(Body::Damaged(format!("its file has {found} bytes instead of {}", row.len)));
            }
        };
        if row.len > BODY_BYTES_MAX {
            return Ok(if self.verified.check(&row.digest, &file).map_err(storage)? {
                Body::Whole(EntryBody::File(file))
            } else {
                Body::Damaged("its file has another digest".to_owned())
            });
        }
        let bytes = read_whole(&file, row.len).map_err(storage)?;
        // It was read anyway, and one digest serves many hits.
        if Digest::of(&bytes) != row.digest {
            return Ok(Body::Damaged("its file has another digest".to_owned()));
        }
        Ok(Body::Whole(EntryBody::Memory(bytes)))
    }

    fn negative(&self, key: &Key, now_ms: u64) -> Result<Option<(Entry, Freshness)>, CacheError> {
        let Some(value) = self.index.get(Family::Negatives, key.bytes())? else {
            return Ok(None);
        };
        let Some(row) = Row::decode(&value).filter(|row| row.era >= self.eras.state().stale_before) else {
            return Ok(None);
        };
        let fresh = self.judge_negative(&row, now_ms);
        let entry = Entry { status: row.status, meta: Arc::new(row.meta()), body: EntryBody::Empty };
        Ok((fresh == Freshness::Fresh).then_some((entry, fresh)))
    }

    pub(super) fn judge_negative(&self, row: &Row, now_ms: u64) -> Freshness {
        let facts = Facts {
            class: Class::Negative,
            stored_at_ms: row.stored_at_ms,
            age_known: row.era >= self.eras.state().doubted_before,
            early_permille: 0,
            last_change_ms: row.modified_ms,
            channel_healthy: true,
        };
        freshness(&facts, &self.policy.load(), now_ms)
    }

    fn judge(&self, key: &Key, meta: &Meta, standing: Standing, now_ms: u64) -> Freshness {
        let (class, early_permille) = if key.is_mutable() {
            let hot = self.heat.is_hot(key.module_hash(), now_ms);
            (Class::Mutable { hot, changed: standing.changed }, early_permille(key.own_hash()))
        } else {
            (Class::Immutable, 0)
        };
        let facts = Facts {
            class,
            stored_at_ms: meta.stored_at_ms,
            age_known: !standing.age_unknown,
            early_permille,
            last_change_ms: unix_ms(meta.modified),
            channel_healthy: self.is_channel_healthy(now_ms),
        };
        freshness(&facts, &self.policy.load(), now_ms)
    }

    /// Removes a damaged entry, unless it was replaced or evicted since it was read.
    pub(super) fn heal(&self, key: &[u8], read: &[u8], digest: Option<Digest>, reason: &str) -> Result<(), CacheError> {
        {
            let _writer = self.lock_writer();
            let now = self.index.get(Family::Entries, key)?;
            if now.as_deref() != Some(read) {
                return Ok(());
            }
            let mut batch = self.index.batch();
            batch.delete(Family::Entries, key);
            batch.delete(Family::Uses, key);
            if let Some(digest) = &digest {
                batch.delete(Family::Refs, &ref_key(digest, key));
            }
            batch.write()?;
        }
        self.damaged.fetch_add(1, Relaxed);
        tracing::error!(key = %String::from_utf8_lossy(key), reason, "a damaged entry was removed");
        if let Some(digest) = digest {
            self.discard_damaged(&digest)?;
            self.release(&digest)?;
        }
        Ok(())
    }

    /// Removes the file of a body if it is not what its name says: another entry may need the body, and a fill must not find it there.
    pub(super) fn discard_damaged(&self, digest: &Digest) -> Result<(), CacheError> {
        let _blob = self.lock_blob(digest);
        let Some(blob) = self.index.blob(digest)?.filter(|blob| blob.in_file) else {
            return Ok(());
        };
        let is_right = match self.files.open_file(digest, blob.len) {
            Ok(Opened::Whole(file)) => digest_of(&file).is_ok_and(|found| found == *digest),
            Ok(Opened::Missing | Opened::WrongLength(_)) | Err(_) => false,
        };
        if is_right {
            return Ok(());
        }
        self.files.remove(digest).map_err(|error| CacheError::Storage(format!("a cached file: {error}")))
    }
}

pub(super) fn read_whole(file: &std::fs::File, len: u64) -> std::io::Result<Bytes> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; usize::try_from(len).map_err(std::io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.into())
}
