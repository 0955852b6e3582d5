//! What the center keeps: metadata and the change log in an [`engine`], bodies as blobs named by their SHA-256.
//!
//! Acknowledged means kept. A commit first writes the blob (synced, renamed, directory synced), then one batch with the
//! metadata, the identity of the version and its change records, synced too. So a kill at any moment leaves at worst a blob
//! that nothing refers to.

mod blob;
mod change_log;
mod commit;
mod engine;
mod keys;
mod manifest;
mod metadata;
mod trim;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

pub(crate) use self::blob::{BlobRef, Blobs, NewBody, Placed, Stored};
use self::change_log::Logs;
pub(crate) use self::change_log::{ChangeLog, ReadError, from_ms, now_ms, to_ms};
pub(crate) use self::commit::{Decision, Draft, Event, MutableEffects, Subject};
use self::engine::{Engine, Rocks};
pub(crate) use self::manifest::Manifest;
pub(crate) use self::metadata::{MutableOutcome, MutableRecord, Tombstone, VersionRecord};

/// Where and how the store keeps things.
#[derive(Debug, Clone)]
pub(crate) struct StoreConfig {
    /// The data directory. Below it: `metadata/` (RocksDB), `blobs/`, `spool/`.
    pub(crate) data_dir: PathBuf,
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
    spool: PathBuf,
    manifests: Mutex<manifest::ManifestCache>,
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
    /// All of them.
    pub(super) const ALL: [&str; 7] = [VERSIONS, IDENTITY, MUTABLES, CHANGES, LOGS, SMALL, SUMDB];
}

impl Store {
    /// Opens the store, creating what is missing, and removes what interrupted fills left.
    pub(crate) fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let root = &config.data_dir;
        let (spool, metadata, blobs) = (root.join("spool"), root.join("metadata"), root.join("blobs"));
        for directory in [root, &spool, &blobs] {
            make_directory(directory)?;
        }
        let logs = Arc::<Logs>::default();
        let engine = Rocks::open(&metadata, Arc::clone(&logs))?;
        // Only now: the database's lock proves that no other center is writing into the spool.
        empty_directory(&spool)?;
        let inner = StoreInner {
            engine: Box::new(engine),
            logs,
            blobs: Blobs::open(&blobs)?,
            spool,
            manifests: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
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
