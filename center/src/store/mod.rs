//! What the center keeps: metadata and the change log in RocksDB, bodies as blobs named by their SHA-256.
//!
//! Acknowledged means kept. A commit first writes the blob (synced, renamed, directory synced), then one RocksDB batch
//! with the metadata, the identity of the version and its change records, synced too. So a kill at any moment leaves at
//! worst a blob that nothing refers to.

mod blob;
mod change_log;
mod commit;
mod keys;
mod manifest;
mod metadata;
mod trim;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, Options, WriteOptions};

pub(crate) use self::blob::{BlobRef, Blobs, NewBody, Placed, Stored};
pub(crate) use self::change_log::{ChangeLog, ReadError, from_ms, now_ms, to_ms};
pub(crate) use self::commit::{Decision, Draft, Event, MutableEffects, Subject};
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

/// The store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<StoreInner>,
}

struct StoreInner {
    db: DB,
    blobs: Blobs,
    spool: PathBuf,
    /// The one lock under which a commit checks, numbers its change records and writes.
    commit: Mutex<()>,
    logs: Mutex<change_log::Logs>,
    manifests: Mutex<manifest::ManifestCache>,
    /// Counts the commits of versions, so that a manifest knows whether it is still true.
    commits: AtomicU64,
}

/// The column families, one subject each.
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
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_keep_log_file_num(4);
        options.set_max_total_wal_size(64 << 20);
        let families = family::ALL.map(|name| ColumnFamilyDescriptor::new(name, family_options()));
        let db = DB::open_cf_descriptors(&options, &metadata, families).map_err(|error| {
            let text = error.to_string();
            // The words of the system for a lock that another process, or this one, holds.
            let hint = if text.contains("Resource temporarily unavailable") || text.contains("lock hold by") {
                "it is in use by another process; stop that one or set another data directory"
            } else {
                "check its owner, its permissions and the free space"
            };
            StoreError::Directory {
                path: root.clone(),
                reason: format!("cannot open the metadata database: {hint} ({error})"),
            }
        })?;
        // Only now: the database's lock proves that no other center is writing into the spool.
        empty_directory(&spool)?;
        let blobs = Blobs::open(&blobs)?;
        let logs = change_log::Logs::default();
        Ok(Self {
            inner: Arc::new(StoreInner {
                db,
                blobs,
                spool,
                commit: Mutex::new(()),
                logs: Mutex::new(logs),
                manifests: Mutex::new(manifest::ManifestCache::default()),
                commits: AtomicU64::new(0),
            }),
        })
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
    pub(crate) fn sumdb_get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.inner.db.get_cf(self.family(family::SUMDB), key)?.map(Bytes::from))
    }

    /// Keeps a value for a checksum database. With `sync` it is on disk when this returns: call it where blocking is allowed.
    pub(crate) fn sumdb_put(&self, key: &str, value: &[u8], sync: bool) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        Ok(self.inner.db.put_cf_opt(self.family(family::SUMDB), key, value, &options)?)
    }

    fn family(&self, name: &'static str) -> &ColumnFamily {
        self.inner.db.cf_handle(name).expect("every family is opened with the database")
    }
}

fn family_options() -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(16 << 20);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    options
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
