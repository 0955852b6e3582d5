//! What all operations of the cache share: the tiers, the locks, the state, and the figures.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard, RwLock};
use shared::change::ChangeId;
use shared::digest::Digest;

use super::background::Signal;
use super::clock::{self, Clock, HEARTBEAT_EVERY_MS};
use super::entry::Meta;
use super::evict::Uses;
use super::files::Files;
use super::freshness::FreshnessPolicy;
use super::generation::{Eras, Generations};
use super::heat::Heat;
use super::index::{self, Batch, Blob, Family, Index};
use super::memory::Memory;
use super::scrub::Scrub;
use super::seen::Moved;
use super::verified::Verified;
use super::{CacheConfig, CacheError, Stats};

const STRIPES: usize = 64;
const CURSOR: &[u8] = b"cursor\0";
const HEARTBEAT: &[u8] = b"heartbeat";

/// The cache's inside. Its operations are in the files named after them.
pub(super) struct Store {
    pub(super) files: Files,
    pub(super) index: Index,
    pub(super) memory: Memory,
    pub(super) generations: Generations,
    pub(super) eras: Eras,
    pub(super) heat: Heat,
    pub(super) clock: Clock,
    pub(super) policy: ArcSwap<FreshnessPolicy>,
    // Until when changes are trusted to arrive, by the cache's clock.
    channel_trusted_until_ms: AtomicU64,
    pub(super) uses: Uses,
    pub(super) verified: Verified,
    pub(super) signal: Arc<Signal>,
    pub(super) scrub: Scrub,
    pub(super) moved: Moved,
    pub(super) disk_bytes_max: AtomicU64,
    pub(super) disk_bytes: AtomicU64,
    pub(super) disk_objects: AtomicU64,
    pub(super) evictions: AtomicU64,
    pub(super) damaged: AtomicU64,
    resets: AtomicU64,
    cursors: RwLock<HashMap<String, ChangeId>>,
    trouble: Mutex<Option<String>>,
    heartbeat_ms: AtomicU64,
    // Held while a body's file is given its name and its row is written, or both are removed.
    stripes: [Mutex<()>; STRIPES],
    // The index has one writer at a time, so that a look and the write that hangs on it are one.
    writer: Mutex<()>,
}

/// What is in the index when it is opened.
struct Opened {
    index: Index,
    /// Why it can only be read.
    trouble: Option<String>,
    eras: Eras,
    cursors: HashMap<String, ChangeId>,
    bytes: u64,
    objects: u64,
    heartbeat_ms: Option<u64>,
}

impl Store {
    pub(super) fn open(config: CacheConfig, clock: Clock) -> Result<Self, CacheError> {
        let CacheConfig { dir, memory_bytes_max, disk_bytes_max, scrub_bytes_per_second, policy } = config;
        let files = Files::open(&dir).map_err(|(dir, source)| CacheError::Directory { dir, source })?;
        // The index comes first: it keeps a second process out, whose fills may be under way.
        let (opened, resets) = open_index(&dir.join("index"))?;
        let Opened { index, trouble, eras, cursors, bytes, objects, heartbeat_ms } = opened;
        let orphans =
            files.clear_spool().map_err(|source| CacheError::Directory { dir: files.spool().to_owned(), source })?;
        if orphans > 0 {
            tracing::info!(orphans, "removed what interrupted fills left");
        }
        let store = Self {
            files,
            index,
            memory: Memory::new(memory_bytes_max),
            generations: Generations::new(),
            eras,
            heat: Heat::new(),
            clock,
            policy: ArcSwap::from_pointee(policy),
            channel_trusted_until_ms: AtomicU64::new(0),
            uses: Uses::default(),
            verified: Verified::default(),
            signal: Arc::default(),
            scrub: Scrub::default(),
            moved: Moved::default(),
            disk_bytes_max: AtomicU64::new(disk_bytes_max),
            disk_bytes: AtomicU64::new(bytes),
            disk_objects: AtomicU64::new(objects),
            evictions: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            resets: AtomicU64::new(resets),
            cursors: RwLock::new(cursors),
            trouble: Mutex::new(None),
            heartbeat_ms: AtomicU64::new(0),
            stripes: std::array::from_fn(|_| Mutex::new(())),
            writer: Mutex::new(()),
        };
        store.scrub.set_rate(scrub_bytes_per_second);
        store.note_write(trouble.as_deref());
        store.check_clock(heartbeat_ms);
        Ok(store)
    }

    /// Marks what is held as of unknown age if the clock jumped since the last heartbeat, and beats.
    fn check_clock(&self, heartbeat_ms: Option<u64>) {
        let now_ms = self.clock.now_ms();
        let mut batch = self.index.batch();
        if let Some(heartbeat_ms) = heartbeat_ms.filter(|last| clock::has_jumped(*last, now_ms)) {
            tracing::warn!(
                heartbeat_ms,
                now_ms,
                "the clock jumped, or the edge was off for long: nobody knows how old lists are, so all are refreshed as they are asked for"
            );
            let eras = self.eras.state().all_doubted();
            eras.put(&mut batch);
            self.eras.set(eras);
        }
        self.beat(batch);
    }

    /// Keeps the time. One that could not be kept is kept a minute later.
    pub(super) fn beat(&self, mut batch: Batch<'_>) {
        let now_ms = self.clock.now_ms();
        batch.put(Family::State, HEARTBEAT, &now_ms.to_be_bytes());
        match batch.write() {
            Ok(()) => self.heartbeat_ms.store(now_ms, Relaxed),
            Err(error) => tracing::debug!(%error, "the time could not be kept"),
        }
    }

    /// Beats if the last beat is long ago.
    pub(super) fn beat_if_due(&self) {
        if self.clock.now_ms().abs_diff(self.heartbeat_ms.load(Relaxed)) >= HEARTBEAT_EVERY_MS {
            self.beat(self.index.batch());
        }
    }

    /// Throws a damaged index away while the edge runs: the cache is empty then, and changes are followed from the start.
    pub(super) fn start_over(&self) -> Result<(), CacheError> {
        let _writer = self.lock_writer();
        self.index.start_over()?;
        self.resets.fetch_add(1, Relaxed);
        // What memory holds goes as well: which changes it knows of is not known any more.
        let eras = self.eras.state().all_void();
        self.eras.set(eras);
        self.cursors.write().clear();
        self.disk_bytes.store(0, Relaxed);
        self.disk_objects.store(0, Relaxed);
        let mut batch = self.index.batch();
        eras.put(&mut batch);
        batch.write()
    }

    /// Notes what is only in memory, and closes the index. Entries that were given out stay usable.
    pub(super) fn close(&self) {
        if self.index.is_closed() {
            return;
        }
        if let Err(error) = self.write_uses() {
            tracing::warn!(%error, "what was used last is not kept");
        }
        self.beat(self.index.batch());
        self.index.close();
    }

    /// Opens the index again after [`Store::close`].
    pub(super) fn resume(&self) -> Result<(), CacheError> {
        self.index.resume()
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

    pub(super) fn reconfigure(&self, config: &CacheConfig) {
        self.policy.store(Arc::new(config.policy.clone()));
        self.disk_bytes_max.store(config.disk_bytes_max, Relaxed);
        self.scrub.set_rate(config.scrub_bytes_per_second);
        self.signal.wake();
    }

    pub(super) fn trust_channel(&self, period: Duration) {
        let until_ms = if period.is_zero() {
            0
        } else {
            self.clock.now_ms().saturating_add(u64::try_from(period.as_millis()).unwrap_or(u64::MAX))
        };
        self.channel_trusted_until_ms.store(until_ms, Relaxed);
    }

    /// Whether changes arrive, as far as was heard of late.
    pub(super) fn is_channel_healthy(&self, now_ms: u64) -> bool {
        now_ms < self.channel_trusted_until_ms.load(Relaxed)
    }

    pub(super) fn age(&self, meta: &Meta) -> Duration {
        Duration::from_millis(self.clock.now_ms().saturating_sub(meta.stored_at_ms))
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Notes whether a write succeeded; the first failure and the first success after it are logged.
    pub(super) fn note_write(&self, failure: Option<&str>) {
        if self.index.is_closed() {
            return;
        }
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
            scrubbed_bytes: self.scrub.bytes(),
            scrubs: self.scrub.walks(),
            resets: self.resets.load(Relaxed),
            in_trouble: self.trouble.lock().is_some(),
        }
    }
}

/// Puts the cursor beside what it stands for.
pub(super) fn put_cursor(batch: &mut Batch<'_>, repo: &str, cursor: ChangeId) {
    batch.put(Family::State, &[CURSOR, repo.as_bytes()].concat(), cursor.to_string().as_bytes());
}

/// Opens the index, or an empty one in the place of one that is damaged. How often that happened comes with it.
fn open_index(dir: &Path) -> Result<(Opened, u64), CacheError> {
    match read_index(dir) {
        Err(CacheError::Damaged(reason)) => {
            let aside = index::move_aside(dir)?;
            tracing::error!(
                reason, aside = %aside.display(),
                "the index cannot be used: it was moved aside, and the cache starts empty"
            );
            Ok((read_index(dir)?, 1))
        }
        opened => Ok((opened?, 0)),
    }
}

fn read_index(dir: &Path) -> Result<Opened, CacheError> {
    let (index, trouble) = Index::open(dir)?;
    let (mut bytes, mut objects) = (0, 0);
    for row in index.scan(Family::Blobs, b"") {
        if let Some(blob) = Blob::decode(&row?.1) {
            bytes += blob.cost();
            objects += 1;
        }
    }
    let heartbeat = index.get(Family::State, HEARTBEAT)?;
    Ok(Opened {
        trouble,
        eras: Eras::load(&index)?,
        cursors: load_cursors(&index)?,
        bytes,
        objects,
        heartbeat_ms: heartbeat.and_then(|value| Some(u64::from_be_bytes(value.try_into().ok()?))),
        index,
    })
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
