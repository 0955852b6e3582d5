//! What all operations of the cache share: the tiers, the locks, the state, and the figures.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock};
use shared::change::ChangeId;
use shared::digest::Digest;

use super::clock::Clock;
use super::entry::Meta;
use super::evict::{Signal, Uses};
use super::files::Files;
use super::freshness::FreshnessPolicy;
use super::generation::{Eras, Generations};
use super::heat::Heat;
use super::index::{Batch, Blob, Family, Index};
use super::memory::Memory;
use super::{CacheConfig, CacheError, Stats};

const STRIPES: usize = 64;
const CURSOR: &[u8] = b"cursor\0";

/// The cache's inside. Its operations are in the files named after them.
pub(super) struct Store {
    pub(super) files: Files,
    pub(super) index: Index,
    pub(super) memory: Memory,
    pub(super) generations: Generations,
    pub(super) eras: Eras,
    pub(super) heat: Heat,
    pub(super) clock: Clock,
    pub(super) policy: FreshnessPolicy,
    pub(super) channel_healthy: AtomicBool,
    pub(super) uses: Uses,
    pub(super) signal: Arc<Signal>,
    pub(super) disk_bytes_max: u64,
    pub(super) disk_bytes: AtomicU64,
    pub(super) disk_objects: AtomicU64,
    pub(super) evictions: AtomicU64,
    pub(super) damaged: AtomicU64,
    cursors: RwLock<HashMap<String, ChangeId>>,
    trouble: Mutex<Option<String>>,
    // Held while a body's file is given its name and its row is written, or both are removed.
    stripes: [Mutex<()>; STRIPES],
    // The index has one writer at a time, so that a look and the write that hangs on it are one.
    writer: Mutex<()>,
}

impl Store {
    pub(super) fn open(config: CacheConfig, clock: Clock) -> Result<Self, CacheError> {
        let CacheConfig { dir, memory_bytes_max, disk_bytes_max, policy } = config;
        let files = Files::open(&dir).map_err(|(dir, source)| CacheError::Directory { dir, source })?;
        // The index comes first: it keeps a second process out, whose fills may be under way.
        let index = Index::open(&dir.join("index"))?;
        let orphans =
            files.clear_spool().map_err(|source| CacheError::Directory { dir: files.spool().to_owned(), source })?;
        if orphans > 0 {
            tracing::info!(orphans, "removed what interrupted fills left");
        }
        let eras = Eras::load(&index)?;
        let cursors = RwLock::new(load_cursors(&index)?);
        let store = Self {
            files,
            index,
            memory: Memory::new(memory_bytes_max),
            generations: Generations::new(),
            eras,
            heat: Heat::new(),
            clock,
            policy,
            channel_healthy: AtomicBool::new(false),
            uses: Uses::default(),
            signal: Arc::default(),
            disk_bytes_max,
            disk_bytes: AtomicU64::new(0),
            disk_objects: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            cursors,
            trouble: Mutex::new(None),
            stripes: std::array::from_fn(|_| Mutex::new(())),
            writer: Mutex::new(()),
        };
        store.count_blobs()?;
        Ok(store)
    }

    fn count_blobs(&self) -> Result<(), CacheError> {
        for row in self.index.scan(Family::Blobs, b"") {
            if let Some(blob) = Blob::decode(&row?.1) {
                self.count(blob);
            }
        }
        Ok(())
    }

    /// A body came.
    pub(super) fn count(&self, blob: Blob) {
        self.disk_bytes.fetch_add(blob.cost(), Relaxed);
        self.disk_objects.fetch_add(1, Relaxed);
    }

    /// A body went.
    pub(super) fn discount(&self, blob: Blob) {
        self.disk_bytes.fetch_sub(blob.cost(), Relaxed);
        self.disk_objects.fetch_sub(1, Relaxed);
    }

    /// First of the two locks: the body's.
    pub(super) fn lock_blob(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        self.stripes[usize::from(digest.as_bytes()[0]) % STRIPES].lock()
    }

    /// Second of the two locks: the index's writer.
    pub(super) fn lock_writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock()
    }

    pub(super) fn spool_dir(&self) -> &Path {
        self.files.spool()
    }

    pub(super) fn cursor(&self, repo: &str) -> ChangeId {
        self.cursors.read().get(repo).copied().unwrap_or_default()
    }

    /// To be called after [`put_cursor`]'s batch was written.
    pub(super) fn set_cursor(&self, repo: &str, cursor: ChangeId) {
        self.cursors.write().insert(repo.to_owned(), cursor);
    }

    pub(super) fn set_channel_health(&self, healthy: bool) {
        self.channel_healthy.store(healthy, Relaxed);
    }

    pub(super) fn age(&self, meta: &Meta) -> Duration {
        Duration::from_millis(self.clock.now_ms().saturating_sub(meta.stored_at_ms))
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Notes whether a write succeeded; the first failure and the first success after it are logged.
    pub(super) fn note_write(&self, failure: Option<&str>) {
        let mut trouble = self.trouble.lock();
        match (trouble.is_some(), failure) {
            (false, Some(reason)) => tracing::error!(reason, "nothing can be stored; going on with what is held"),
            (true, None) => tracing::info!("storing again"),
            (true, Some(_)) | (false, None) => {}
        }
        *trouble = failure.map(ToOwned::to_owned);
    }

    pub(super) fn stats(&self) -> Stats {
        let (memory_bytes, memory_objects) = self.memory.totals();
        Stats {
            memory_bytes,
            memory_objects,
            disk_bytes: self.disk_bytes.load(Relaxed),
            disk_objects: self.disk_objects.load(Relaxed),
            evictions: self.evictions.load(Relaxed),
            damaged: self.damaged.load(Relaxed),
        }
    }
}

/// Puts the cursor beside what it stands for.
pub(super) fn put_cursor(batch: &mut Batch<'_>, repo: &str, cursor: ChangeId) {
    batch.put(Family::State, &[CURSOR, repo.as_bytes()].concat(), cursor.to_string().as_bytes());
}

fn load_cursors(index: &Index) -> Result<HashMap<String, ChangeId>, CacheError> {
    let mut cursors = HashMap::new();
    for row in index.scan(Family::State, CURSOR) {
        let (key, value) = row?;
        let repo = String::from_utf8_lossy(&key[CURSOR.len()..]).into_owned();
        // One that cannot be read is none: the edge reconciles.
        if let Some(cursor) = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()) {
            cursors.insert(repo, cursor);
        }
    }
    Ok(cursors)
}
