//! The cache engine: what the edge holds, how fresh it is, and how it gets there.
//!
//! ```text
//!   Key::of(repository, request)
//!     ├─ memory(key)   never blocks ── TinyUFO, bodies up to 1 MiB
//!     ├─ disk(key)     blocks ─────── RocksDB row ─▶ body in RocksDB (≤ 32 KiB) or file named by SHA-256
//!     └─ a miss: ticket(key) ─▶ fill ─▶ commit(ticket, meta, spooled)
//! ```
//!
//! **Freshness** is decided by [`freshness`] alone, without I/O. **Changes** come in through [`Cache::apply`]; the cursor moves in the
//! same RocksDB batch as what they drop or make stale. **A fill beats nothing**: its [`Ticket`] is taken before it starts, so a change
//! that arrives meanwhile wins: a mutable answer is then stored already stale, a tombstoned version is not stored at all.
//!
//! Durability: a body's file is synced before the row that names it is written, and rows are written without sync. A crash thus loses
//! a suffix of the rows, all column families together: a lost row is a miss and leaves an orphan file, which the next start removes.
//!
//! Locks, always taken in this order: a blob's stripe, then the one writer of the index. Hits take neither.

mod background;
mod changes;
mod clock;
mod entry;
mod evict;
mod files;
mod fill;
mod freshness;
mod generation;
mod heat;
mod index;
mod key;
mod lookup;
mod memory;
mod repair;
mod scrub;
mod seen;
mod store;
#[cfg(test)]
mod tests;
mod tombstone;
mod verdict;
mod verified;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shared::change::{Change, ChangeId};
use shared::digest::Digest;
use shared::fill::Spooled;
use shared::module::{ModulePath, Version};

use self::background::Background;
pub(crate) use self::changes::{Applied, ApplyError};
pub(crate) use self::entry::{Entry, EntryBody, Meta, Status};
pub(crate) use self::fill::Ticket;
pub(crate) use self::freshness::{Freshness, FreshnessPolicy};
pub(crate) use self::key::Key;
pub(crate) use self::repair::{Listed, Repaired};
use self::store::Store;

/// What the cache is built from.
#[derive(Debug, Clone)]
pub(crate) struct CacheConfig {
    /// Directory of everything below; one process at a time.
    pub(crate) dir: PathBuf,
    /// Bytes that the memory tier may hold.
    pub(crate) memory_bytes_max: u64,
    /// Bytes that the disk tier may hold; the least recently used go first.
    pub(crate) disk_bytes_max: u64,
    /// Bytes of the disk that are read again in a second, to find what went bad; 0: none.
    pub(crate) scrub_bytes_per_second: u64,
    /// How long answers stay fresh.
    pub(crate) policy: FreshnessPolicy,
}

/// The cache could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// The directory cannot be used.
    #[error("data directory {}: {source}; is it writable by this user, and on a disk that works?", dir.display())]
    Directory {
        /// The directory, or what of it failed.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The index in it cannot be opened.
    #[error("data directory {}: {reason}; only one edge may use it at a time", dir.display())]
    Open {
        /// The directory.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
    /// The index, or a part of it, is not what was written; the cache starts over without it.
    #[error("the index is damaged: {0}")]
    Damaged(String),
    /// Reading or writing failed.
    #[error("cache storage: {0}")]
    Storage(String),
}

/// A filled body was not stored. Its readers must not get its tail.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// The version was removed by an administrator.
    #[error("the version was removed")]
    Tombstoned,
    /// Another body of the same artefact is held, and a version never changes.
    #[error("the artefact is held with sha256 {held}, and came with {offered}")]
    Conflict {
        /// What is held, and goes on being served.
        held: Digest,
        /// What the fill brought.
        offered: Digest,
    },
    /// The body is right, but could not be stored; it may be passed on uncached.
    #[error("cache storage: {0}")]
    Storage(String),
}

/// What the cache holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Bytes of bodies in memory.
    pub(crate) memory_bytes: u64,
    /// Objects in memory.
    pub(crate) memory_objects: u64,
    /// Bytes on disk, as counted against the budget.
    pub(crate) disk_bytes: u64,
    /// Bodies on disk; equal ones count once.
    pub(crate) disk_objects: u64,
    /// Entries evicted from disk for space since start.
    pub(crate) evictions: u64,
    /// Entries that were found damaged and removed since start.
    pub(crate) damaged: u64,
    /// Bytes that the scrub read since start.
    pub(crate) scrubbed_bytes: u64,
    /// How often the scrub read everything since start.
    pub(crate) scrubs: u64,
    /// How often the index was damaged, and the cache started over without it, since start.
    pub(crate) resets: u64,
    /// Whether nothing can be stored at the moment.
    pub(crate) in_trouble: bool,
}

/// The edge's cache. Build it once; all methods take `&self`. Dropping it closes it.
pub(crate) struct Cache {
    store: Arc<Store>,
    background: Background,
}

impl Cache {
    /// Opens or creates the cache in `config.dir` and removes what an interrupted fill left there. Blocks.
    pub(crate) fn open(config: CacheConfig) -> Result<Self, CacheError> {
        let store = Arc::new(Store::open(config, clock::Clock::start())?);
        let background = Background::start(&store)?;
        Ok(Self { store, background })
    }

    /// Ends the background sweep and scrub and closes the index, so that another process can open it. Blocks until what reads or writes at this
    /// moment has ended.
    ///
    /// Entries that were given out stay usable: their bodies are in memory or open files. What memory holds is still found;
    /// everything else is an error from then on, which callers take for a miss, or for a disk that stores nothing.
    pub(crate) fn close(&self) {
        self.background.end();
        self.store.close();
    }

    /// Opens the index again after [`Cache::close`], and sweeps again. Fails while another process has it. Blocks.
    pub(crate) fn resume(&self) -> Result<(), CacheError> {
        self.store.resume()?;
        self.background.begin(&self.store)
    }

    /// Takes over the periods of freshness, the disk's budget and the scrub's pace. The memory tier keeps the size it was built with.
    pub(crate) fn reconfigure(&self, config: &CacheConfig) {
        self.store.reconfigure(config);
    }

    /// What memory holds of `key`. Never blocks.
    ///
    /// `None` also when the memory tier's own period is over: [`Cache::disk`] knows more then.
    pub(crate) fn memory(&self, key: &Key) -> Option<(Entry, Freshness)> {
        self.store.memory(key)
    }

    /// What the disk holds of `key`; brings bodies up to 1 MiB into memory. Blocks.
    ///
    /// A damaged entry is removed and is a miss. `Expired` answers are given too: their digest can still be confirmed by a 304.
    pub(crate) fn disk(&self, key: &Key) -> Result<Option<(Entry, Freshness)>, CacheError> {
        self.store.disk(key)
    }

    /// Take it BEFORE the fill asks upstream: it remembers which changes the answer may not know of.
    pub(crate) fn ticket(&self, key: &Key) -> Ticket {
        self.store.ticket(key)
    }

    /// Whether the key's version counts as removed, as far as this edge knows. Blocks.
    pub(crate) fn is_removed(&self, key: &Key) -> bool {
        // Where it cannot be read the commit finds out.
        self.store.is_removed(key).unwrap_or_default()
    }

    /// Stores a proven body under the ticket's key. Blocks. `meta` comes from [`Meta::filled`].
    ///
    /// On [`CommitError::Storage`] nothing is stored and [`Cache::disk_trouble`] says why, until a later write succeeds.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket is for one fill and is used up by it")]
    pub(crate) fn commit(&self, ticket: Ticket, meta: Meta, spooled: Spooled) -> Result<Entry, CommitError> {
        self.store.commit(&ticket, meta, spooled)
    }

    /// Records that the ticket's key does not exist (`NotFound`, `Gone`), unless a change of its module came meanwhile. Blocks.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket is for one fill and is used up by it")]
    pub(crate) fn commit_negative(&self, ticket: Ticket, status: Status, message: &str) -> Result<(), CacheError> {
        self.store.commit_negative(&ticket, status, message)
    }

    /// A 304 confirmed the body of `held` for the ticket's key: its age starts anew. Blocks.
    ///
    /// `None` when that body is no longer held. A change that came after the ticket was taken leaves the entry stale.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket is for one fill and is used up by it")]
    pub(crate) fn touch_revalidated(
        &self,
        ticket: Ticket,
        held: &Meta,
        change_id: Option<ChangeId>,
    ) -> Result<Option<Entry>, CacheError> {
        self.store.touch_revalidated(&ticket, held, change_id)
    }

    /// Where fills spool; on the same file system as the files, so that a commit renames.
    pub(crate) fn spool_dir(&self) -> &Path {
        self.store.spool_dir()
    }

    /// The last change of `repo` that was applied; [`ChangeId::ZERO`] before the first.
    pub(crate) fn cursor(&self, repo: &str) -> ChangeId {
        self.store.cursor(repo)
    }

    /// Applies changes in order, with the cursor, in one batch. Blocks. Ids not above the cursor are ignored.
    ///
    /// [`ApplyError::Gap`]: the changes before the hole were applied; those after it were not.
    pub(crate) fn apply(&self, repo: &str, changes: &[Change]) -> Result<Applied, ApplyError> {
        self.store.apply(repo, changes)
    }

    /// Applies changes once more that are not above the cursor, which stays; what later ones did is kept. Blocks. Returns how
    /// many there were.
    pub(crate) fn reapply(&self, repo: &str, changes: &[Change]) -> Result<usize, CacheError> {
        self.store.reapply(repo, changes)
    }

    /// Which changes came cannot be known any more: all mutables become stale, all negatives go, `removed` (DELETEs of
    /// versions, from the manifest) takes the place of the tombstones, the cursor is set to `head`; one batch. Blocks.
    pub(crate) fn reset_after_gap(&self, repo: &str, head: ChangeId, removed: &[Change]) -> Result<(), CacheError> {
        self.store.reset_after_gap(repo, head, removed)
    }

    /// Brings what is held of some modules into line with what the center's manifest lists of them. Blocks.
    ///
    /// `as_of` was the cursor when the manifest's lines were asked for: what was applied since then may be newer than they are.
    /// `None`: the changes up to `head` are not all applied yet, and nothing was compared.
    pub(crate) fn repair(
        &self,
        repo: &str,
        (head, as_of): (ChangeId, ChangeId),
        listed: &BTreeMap<String, Listed>,
    ) -> Result<Option<Repaired>, CacheError> {
        self.store.repair(repo, (head, as_of), listed)
    }

    /// The digest that each bucket of the manifest had when it was compared; none where it must be compared again. Blocks.
    pub(crate) fn seen(&self, repo: &str) -> Result<Vec<Option<Digest>>, CacheError> {
        self.store.seen(repo)
    }

    /// The same of the parts of one bucket; left out are those that must be compared again. Blocks.
    pub(crate) fn seen_parts(&self, repo: &str, bucket: usize) -> Result<BTreeMap<u8, Digest>, CacheError> {
        self.store.seen_parts(repo, bucket)
    }

    /// Notes that a bucket, which was asked for when `as_of` was the cursor, was compared, and how these of its parts stood. Blocks.
    pub(crate) fn note_seen(
        &self,
        repo: &str,
        bucket: (usize, &Digest),
        parts: &BTreeMap<u8, Digest>,
        as_of: ChangeId,
    ) -> Result<(), CacheError> {
        self.store.note_seen(repo, bucket, parts, as_of)
    }

    /// Changes arrive: for `period` from now they may be trusted to, unless this is said anew; zero: they do not. While they are not
    /// trusted to arrive, mutables stay fresh for a shorter time. Nothing is trusted at the start.
    pub(crate) fn trust_channel(&self, period: Duration) {
        self.store.trust_channel(period);
    }

    /// The time since the entry was stored or last confirmed: the `Age` of an answer.
    pub(crate) fn age(&self, meta: &Meta) -> Duration {
        self.store.age(meta)
    }

    /// What is held.
    pub(crate) fn stats(&self) -> Stats {
        self.store.stats()
    }

    /// A fill could not write down what came. [`Cache::disk_trouble`] says so until a write succeeds.
    pub(crate) fn spooling_failed(&self, reason: &str) {
        self.store.note_write(Some(reason));
    }

    /// Why nothing can be stored at the moment; `None` once a write succeeded again.
    pub(crate) fn disk_trouble(&self) -> Option<String> {
        self.store.trouble()
    }

    /// Drops a module's entries, or all, and says how many; tombstones stay. Blocks.
    pub(crate) fn purge(&self, module: Option<&ModulePath>) -> Result<u64, CacheError> {
        self.store.purge(module)
    }

    /// Drops what is held of a version in `repo`, and says how many entries that were; a tombstone stays. Blocks.
    pub(crate) fn purge_version(&self, repo: &str, module: &ModulePath, version: &Version) -> Result<u64, CacheError> {
        self.store.purge_version(repo, module, version.as_str())
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
