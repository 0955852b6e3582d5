//! What the center keeps: metadata and the change log in an [`engine`], bodies as blobs named by their SHA-256.
//!
//! Acknowledged means kept. A commit first writes the blob (synced, renamed, directory synced), then one batch with the
//! metadata, the identity of the version and its change records, synced too. So a kill at any moment leaves at worst a blob
//! that nothing refers to.

mod blob;
mod bodies;
mod catalog;
mod change_log;
mod collect;
mod commit;
#[cfg(test)]
mod conformance;
mod due;
mod engine;
mod handover;
mod keys;
mod lease;
mod manifest;
mod metadata;
mod moving;
mod properties;
mod recent;
mod settings;
mod standing;
mod tokens;
mod trim;
mod uses;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use self::blob::Hot;
pub(crate) use self::blob::{Blobs, NewBody, OpenBlob, Placed, Stored};
pub(crate) use self::bodies::Referrer;
pub(crate) use self::catalog::{Arrival, Listed};
use self::change_log::Logs;
pub(crate) use self::change_log::{ChangeLog, ReadError, from_ms, now_ms, to_ms};
pub(crate) use self::collect::Collected;
pub(crate) use self::commit::{Decision, Draft, Event, MutableEffects, Subject};
use self::engine::{Claim, Engine, Postgres, Rocks};
use self::handover::DirectoryLock;
pub(crate) use self::manifest::{Manifest, View};
pub(crate) use self::metadata::{MutableOutcome, MutableRecord, Tombstone, VersionRecord};
#[cfg(test)]
pub(crate) use self::moving::Moved;
pub(crate) use self::moving::{Stage, move_store};
pub(crate) use self::properties::Properties;
pub(crate) use self::settings::StorageSettings;
use self::trim::Turns;
use self::uses::Uses;
pub(crate) use self::verify::{Damage, Damaged};

/// Where and how the store keeps things.
#[derive(Debug, Clone)]
pub(crate) struct StoreConfig {
    /// The data directory. Below it: `metadata/` (RocksDB), `blobs/`, `spool/`.
    pub(crate) data_dir: PathBuf,
    /// Whether the process before this one still ends what it has begun there: its temporary files are then left to it.
    pub(crate) takes_over: bool,
}

impl StoreConfig {
    /// A store that nobody else has open.
    pub(crate) const fn new(data_dir: PathBuf) -> Self {
        Self { data_dir, takes_over: false }
    }
}

/// A failure of the disk or of what lies on it. For the log, not for clients.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The directory cannot be used; says what to do.
    #[error("data directory {path}: {reason}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What failed and what to do.
        reason: String,
    },
    /// RocksDB failed.
    #[error("metadata: {0}")]
    Metadata(#[from] rocksdb::Error),
    /// PostgreSQL failed or cannot be reached.
    #[error("metadata: {0}")]
    Database(String),
    /// What is configured cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// The database was given to the process that takes this one's place.
    #[error("the storage is closed: another process is taking over")]
    Closed,
    /// Another replica has taken over what was being done.
    #[error("another replica has taken over")]
    Fenced,
    /// A task of the store ended early: the center is stopping, or it panicked.
    #[error("a storage task ended early: {0}")]
    Task(String),
    /// A blob could not be written or read.
    #[error("blob: {0}")]
    Blob(String),
    /// A record cannot be decoded.
    #[error("record {key}: {reason}")]
    Record {
        /// Which one.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StoreError {
    /// A key stands where none of ours should.
    fn foreign_key(key: &[u8]) -> Self {
        Self::Record {
            key: String::from_utf8_lossy(key).replace('\0', " "),
            reason: "the key is not one of ours".to_owned(),
        }
    }

    /// A log is used before it was opened.
    fn no_log(repository: &str) -> Self {
        Self::Record { key: repository.to_owned(), reason: "its change log is not open".to_owned() }
    }
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<StoreInner>,
}

struct StoreInner {
    engine: Box<dyn Engine>,
    logs: Arc<Logs>,
    blobs: Blobs,
    hot: Hot,
    spool: PathBuf,
    uses: Uses,
    turns: Turns,
    /// Keeps other centers out of the data directory. RocksDB has a lock of its own.
    lock: Option<DirectoryLock>,
}

/// The families of keys, one subject each.
pub(crate) mod family {
    /// repository, module, version → [`super::VersionRecord`].
    pub(super) const VERSIONS: &str = "versions";
    /// module, version → [`super::metadata::IdentityRecord`].
    pub(super) const IDENTITY: &str = "identity";
    /// repository, module, artefact → [`super::MutableRecord`].
    pub(super) const MUTABLES: &str = "mutables";
    /// repository, seq → change record.
    pub(super) const CHANGES: &str = "changes";
    /// repository → head of its log.
    pub(super) const LOGS: &str = "logs";
    /// SHA-256 → a body of at most 32 KiB.
    pub(super) const SMALL: &str = "small";
    /// What the proxied checksum databases need kept.
    pub(super) const SUMDB: &str = "sumdb";
    /// repository, module, version (empty: of the module) → [`super::Properties`].
    pub(super) const PROPERTIES: &str = "properties";
    /// repository, module, version → how often its zip was asked for.
    pub(super) const DOWNLOADS: &str = "downloads";
    /// repository, time, module, version → nothing: versions as they came.
    pub(super) const INDEX: &str = "index";
    /// required module, repository, requiring module → the newest version that requires it.
    pub(super) const DEPENDENTS: &str = "dependents";
    /// time → who did what.
    pub(super) const AUDIT: &str = "audit";
    /// SHA-256 of a body → whether it is condemned, and how often an object of its name was given up, which is kept for good: a removal
    /// that comes late must find another name in use.
    pub(super) const CONDEMNED: &str = "condemned";
    /// repository, module → nothing: it has versions.
    pub(super) const MODULES: &str = "modules";
    /// repository, bucket, module, version → lines of the manifest.
    pub(super) const LINES: &str = "lines";
    /// repository, bucket → how often it has changed.
    pub(super) const GENERATIONS: &str = "generations";
    /// repository → its digests as they were computed last.
    pub(super) const MANIFESTS: &str = "manifests";
    /// repository, module, version → when somebody last asked for it.
    pub(super) const USES: &str = "uses";
    /// name → a token that was issued.
    pub(super) const TOKENS: &str = "tokens";
    /// work → when it was last begun.
    pub(super) const UPKEEP: &str = "upkeep";
    /// All of them.
    pub(super) const ALL: [&str; 20] = [
        VERSIONS,
        IDENTITY,
        MUTABLES,
        CHANGES,
        LOGS,
        SMALL,
        SUMDB,
        PROPERTIES,
        DOWNLOADS,
        INDEX,
        DEPENDENTS,
        AUDIT,
        CONDEMNED,
        MODULES,
        LINES,
        GENERATIONS,
        MANIFESTS,
        USES,
        TOKENS,
        UPKEEP,
    ];
}

impl Store {
    /// Opens a store that lies entirely in the data directory.
    #[cfg(test)]
    pub(crate) fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let logs = Arc::<Logs>::default();
        let engine = Self::open_embedded(config, &logs)?;
        Self::build(config, &StorageSettings::default(), engine, logs, None)
    }

    /// Opens the store, creating what is missing, and removes what interrupted fills left.
    pub(crate) async fn connect(config: &StoreConfig, settings: &StorageSettings) -> Result<Self, StoreError> {
        let store = Self::attach(config, settings, Claim::Shared).await?;
        store.refuse_moving().await?;
        // Only what several may have open says who does it.
        store.alone("index of manifests", store.index_once()).await??;
        Ok(store)
    }

    /// Opens the store as it stands.
    async fn attach(config: &StoreConfig, settings: &StorageSettings, claim: Claim) -> Result<Self, StoreError> {
        let logs = Arc::<Logs>::default();
        if !settings.is_shared() {
            let engine = Self::open_embedded(config, &logs)?;
            return Self::build(config, settings, engine, logs, None);
        }
        make_directory(&config.data_dir)?;
        let lock = DirectoryLock::take(&config.data_dir).await?;
        if settings.blobs.url.is_empty() {
            tracing::warn!("storage.blobs.url is not set: another center on this database would not find the bodies");
        }
        let engine = Postgres::open(&settings.address()?, Arc::clone(&logs), claim).await?;
        Self::build(config, settings, Box::new(engine), logs, Some(lock))
    }

    fn open_embedded(config: &StoreConfig, logs: &Arc<Logs>) -> Result<Box<dyn Engine>, StoreError> {
        make_directory(&config.data_dir)?;
        let engine = Rocks::open(&config.data_dir.join("metadata"), Arc::clone(logs))?;
        Ok(Box::new(engine))
    }

    fn build(
        config: &StoreConfig,
        settings: &StorageSettings,
        engine: Box<dyn Engine>,
        logs: Arc<Logs>,
        lock: Option<DirectoryLock>,
    ) -> Result<Self, StoreError> {
        let spool = config.data_dir.join("spool");
        make_directory(&spool)?;
        // A lock proves that no other center is writing into the spool, but for the one whose place is taken.
        if !config.takes_over {
            empty_directory(&spool)?;
        }
        let is_alone = !settings.is_shared() && !config.takes_over;
        let blobs = Blobs::open(&settings.blobs, &config.data_dir.join("blobs"), is_alone)?;
        let (hot, uses, turns) = (Hot::new(settings.memory), Uses::default(), Turns::default());
        let inner = StoreInner { engine, logs, blobs, hot, spool, uses, turns, lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The store, for as long as somebody else keeps it open.
    pub(crate) fn weak(&self) -> impl Fn() -> Option<Self> + Send + Sync + use<> {
        let inner = Arc::downgrade(&self.inner);
        move || inner.upgrade().map(|inner| Self { inner })
    }

    /// The directory for temporary files of fills and uploads: on the file system of the blobs, emptied at start.
    pub(crate) fn spool_dir(&self) -> &Path {
        &self.inner.spool
    }

    /// The bodies.
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    /// A value kept for a checksum database.
    pub(crate) async fn sumdb_get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.engine.get(family::SUMDB, key.as_bytes()).await
    }

    /// Keeps a value for a checksum database. With `sync` it is on disk when this returns.
    pub(crate) async fn sumdb_put(&self, key: &str, value: Bytes, sync: bool) -> Result<(), StoreError> {
        self.inner.engine.put(family::SUMDB, key.as_bytes(), value, sync).await
    }
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(path).map_err(|error| StoreError::Directory {
        path: path.to_owned(),
        reason: format!("cannot create it: {error}; set another data directory or correct its permissions"),
    })
}

fn empty_directory(path: &Path) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::Directory {
        path: path.to_owned(),
        reason: format!("cannot remove what an interrupted fill left: {error}"),
    };
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_file() {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}
