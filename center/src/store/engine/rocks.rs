//! RocksDB: one process, one directory.
//!
//! A point read looks into the memory of the database first, on the spot; what has to wait for the disk goes to the threads where
//! waiting is allowed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, Direction, ErrorKind, IteratorMode, Options, ReadOptions, ReadTier,
    WriteBatch, WriteOptions,
};
use shared::change::Change;
use tokio::sync::Mutex;

use super::{Batch, Decide, Engine, Entry, Fence, Place};
use crate::store::change_log::{LogHead, Logs, encode, now_ms};
use crate::store::metadata::decode;
use crate::store::standing::{Standing, Writing};
use crate::store::{StoreError, family, keys};

/// How long what is being read may keep the database open that is to be closed.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether it still does.
const CLOSE_PAUSE: Duration = Duration::from_millis(5);

/// The engine.
pub(in crate::store) struct Rocks {
    directory: PathBuf,
    logs: Arc<Logs>,
    /// None while another process has the database.
    shared: ArcSwapOption<RocksShared>,
    /// The one lock under which a commit reads, numbers its change records and writes.
    commit: Arc<Mutex<()>>,
}

/// What the threads that wait for the disk need too.
struct RocksShared {
    db: DB,
    logs: Arc<Logs>,
    /// Of this database, for as long as no other process has it.
    standing: Arc<Standing>,
}

impl Rocks {
    /// Opens the database in `directory`, creating what is missing. It is locked against other processes.
    pub(in crate::store) fn open(directory: &Path, logs: Arc<Logs>) -> Result<Self, StoreError> {
        let shared = RocksShared { db: open(directory)?, logs: Arc::clone(&logs), standing: Arc::default() };
        let shared = ArcSwapOption::from_pointee(shared);
        Ok(Self { directory: directory.to_owned(), logs, shared, commit: Arc::default() })
    }

    fn shared(&self) -> Result<Arc<RocksShared>, StoreError> {
        self.shared.load_full().ok_or(StoreError::Closed)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&RocksShared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.shared()?;
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.map_err(|error| StoreError::Task(error.to_string()))?
    }
}

#[async_trait]
impl Engine for Rocks {
    async fn get(&self, family: &'static str, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::BlockCache);
        {
            let shared = self.shared.load();
            let shared = shared.as_deref().ok_or(StoreError::Closed)?;
            match shared.db.get_cf_opt(shared.family(family), key, &options) {
                Ok(found) => return Ok(found.map(Bytes::from)),
                Err(error) if error.kind() == ErrorKind::Incomplete => {}
                Err(error) => return Err(error.into()),
            }
        }
        let key = key.to_owned();
        self.blocking(move |shared| Ok(shared.db.get_cf(shared.family(family), key)?.map(Bytes::from))).await
    }

    async fn scan(
        &self,
        family: &'static str,
        prefix: &[u8],
        after: &[u8],
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.to_owned());
        self.blocking(move |shared| shared.scan(family, &prefix, &after, limit)).await
    }

    async fn put(&self, family: &'static str, key: &[u8], value: Bytes, sync: bool) -> Result<(), StoreError> {
        let key = key.to_owned();
        self.blocking(move |shared| {
            let _writing = shared.writing([&(family, key.clone())].into_iter());
            Ok(shared.db.put_cf_opt(shared.family(family), key, value, &write_options(sync))?)
        })
        .await
    }

    async fn commit(&self, reads: &[Place], _: Option<&Fence>, decide: Decide<'_>) -> Result<(), StoreError> {
        let lock = Arc::clone(&self.commit).lock_owned().await;
        let mut found = Vec::with_capacity(reads.len());
        for (family, key) in reads {
            found.push(self.get(family, key).await?);
        }
        let Some(batch) = decide(found)? else { return Ok(()) };
        self.blocking(move |shared| {
            // Held to the end of the writing, also if the caller has left.
            let _lock = lock;
            shared.write(&batch)
        })
        .await
    }

    async fn open_log(&self, repository: &str) -> Result<LogHead, StoreError> {
        let repository = repository.to_owned();
        let lock = Arc::clone(&self.commit).lock_owned().await;
        self.blocking(move |shared| {
            let _lock = lock;
            shared.open_log(&repository)
        })
        .await
    }

    async fn changes(&self, repository: &str, first: u64, last: u64, limit: usize) -> Result<Vec<Change>, StoreError> {
        let repository = repository.to_owned();
        self.blocking(move |shared| shared.changes(&repository, first, last, limit)).await
    }

    async fn logs(&self) -> Result<Vec<(String, LogHead)>, StoreError> {
        let found = self.scan(family::LOGS, &[], &[], usize::MAX).await?;
        let log = |(key, value): Entry| Ok((String::from_utf8_lossy(&key).into_owned(), decode(&key, &value)?));
        found.into_iter().map(log).collect()
    }

    async fn copy_log(&self, repository: &str, head: LogHead, changes: &[Change]) -> Result<(), StoreError> {
        let records = changes.iter().map(|change| (keys::change(repository, change.id.seq), encode(change)));
        let (repository, records) = (repository.to_owned(), records.collect::<Vec<_>>());
        self.blocking(move |shared| {
            let mut writes = WriteBatch::default();
            for (key, record) in records {
                writes.put_cf(shared.family(family::CHANGES), key, record);
            }
            writes.put_cf(shared.family(family::LOGS), repository, encode(&head));
            Ok(shared.db.write(writes)?)
        })
        .await
    }

    async fn drop_log(&self, repository: &str) -> Result<(), StoreError> {
        let repository = repository.to_owned();
        self.blocking(move |shared| {
            let mut writes = WriteBatch::default();
            let (first, end) = (keys::change(&repository, 0), keys::change(&repository, u64::MAX));
            writes.delete_range_cf(shared.family(family::CHANGES), first, end);
            writes.delete_cf(shared.family(family::LOGS), repository);
            Ok(shared.db.write(writes)?)
        })
        .await
    }

    async fn trim(&self, repository: &str, kept: u64, before_s: u64) -> Result<(), StoreError> {
        let repository = repository.to_owned();
        let lock = Arc::clone(&self.commit).lock_owned().await;
        self.blocking(move |shared| {
            let _lock = lock;
            shared.trim(&repository, kept, before_s)
        })
        .await
    }

    fn standing(&self) -> Option<Arc<Standing>> {
        self.shared.load().as_ref().map(|shared| Arc::clone(&shared.standing))
    }

    async fn close(&self) -> Result<(), StoreError> {
        // A commit that has begun is ended; those that wait find nothing to write to.
        let _turn = self.commit.lock().await;
        let Some(mut shared) = self.shared.swap(None) else { return Ok(()) };
        let began = Instant::now();
        loop {
            match Arc::try_unwrap(shared) {
                Ok(last) => {
                    let closed = tokio::task::spawn_blocking(move || drop(last)).await;
                    return closed.map_err(|error| StoreError::Task(error.to_string()));
                }
                Err(_) if began.elapsed() > CLOSE_PATIENCE => {
                    return Err(StoreError::Unusable("the metadata database is still being read".to_owned()));
                }
                Err(held) => shared = held,
            }
            tokio::time::sleep(CLOSE_PAUSE).await;
        }
    }

    async fn reopen(&self) -> Result<(), StoreError> {
        let _turn = self.commit.lock().await;
        if self.shared.load().is_some() {
            return Ok(());
        }
        let (directory, logs) = (self.directory.clone(), Arc::clone(&self.logs));
        let opened = tokio::task::spawn_blocking(move || {
            let shared = RocksShared { db: open(&directory)?, logs, standing: Arc::default() };
            // The process that had it may have written before it failed.
            for name in shared.logs.names() {
                shared.logs.advance(&name, shared.open_log(&name)?);
            }
            Ok::<_, StoreError>(shared)
        });
        let opened = opened.await.map_err(|error| StoreError::Task(error.to_string()))??;
        self.shared.store(Some(Arc::new(opened)));
        Ok(())
    }
}

fn open(directory: &Path) -> Result<DB, StoreError> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_keep_log_file_num(4);
    options.set_max_total_wal_size(64 << 20);
    let families = family::ALL.map(|name| ColumnFamilyDescriptor::new(name, family_options()));
    DB::open_cf_descriptors(&options, directory, families).map_err(|error| {
        let text = error.to_string();
        // The words of the system for a lock that another process, or this one, holds.
        let hint = if text.contains("Resource temporarily unavailable") || text.contains("lock hold by") {
            "it is in use by another process; stop that one or set another data directory"
        } else {
            "check its owner, its permissions and the free space"
        };
        StoreError::Directory {
            path: directory.parent().unwrap_or(directory).to_owned(),
            reason: format!("cannot open the metadata database: {hint} ({error})"),
        }
    })
}

impl RocksShared {
    fn family(&self, name: &'static str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("every family is opened with the database")
    }

    /// Says which records are about to be written.
    fn writing<'a>(&self, places: impl Iterator<Item = &'a Place>) -> Writing {
        self.standing.writing(places.filter(|(family, _)| *family == family::VERSIONS).map(|(_, key)| key.as_slice()))
    }

    fn scan(&self, family: &'static str, prefix: &[u8], after: &[u8], limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mode = IteratorMode::From(prefix.max(after), Direction::Forward);
        let mut found = Vec::new();
        for entry in self.db.iterator_cf(self.family(family), mode) {
            let (key, value) = entry?;
            if found.len() == limit || !key.starts_with(prefix) {
                break;
            }
            if *key != *after {
                found.push((key.into_vec(), Bytes::from(value)));
            }
        }
        Ok(found)
    }

    /// Only under the commit lock.
    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut writes = WriteBatch::default();
        for (family, key) in &batch.deletes {
            writes.delete_cf(self.family(family), key);
        }
        for ((family, key), value) in &batch.puts {
            writes.put_cf(self.family(family), key, value);
        }
        let mut heads = Vec::new();
        for log in &batch.logs {
            let mut head = self.logs.head(log).ok_or_else(|| StoreError::no_log(log))?;
            for change in &batch.changes {
                head.seq += 1;
                let change = Change { id: head.id(), repo: log.clone(), ..change.clone() };
                writes.put_cf(self.family(family::CHANGES), keys::change(log, head.seq), encode(&change));
            }
            writes.put_cf(self.family(family::LOGS), log, encode(&head));
            heads.push((log, head));
        }
        let _writing = self.writing(batch.deletes.iter().chain(batch.puts.iter().map(|(place, _)| place)));
        self.db.write_opt(writes, &write_options(batch.sync))?;
        for (log, head) in heads {
            self.logs.advance(log, head);
        }
        Ok(())
    }

    fn open_log(&self, repository: &str) -> Result<LogHead, StoreError> {
        let family = self.family(family::LOGS);
        if let Some(value) = self.db.get_pinned_cf(family, repository)? {
            return decode(repository.as_bytes(), &value);
        }
        let head = LogHead { epoch: now_ms(), seq: 0, oldest: 1 };
        self.db.put_cf_opt(family, repository, encode(&head), &write_options(true))?;
        Ok(head)
    }

    fn changes(&self, repository: &str, first: u64, last: u64, limit: usize) -> Result<Vec<Change>, StoreError> {
        let (start, prefix) = (keys::change(repository, first), keys::repository(repository));
        let mode = IteratorMode::From(&start, Direction::Forward);
        let mut changes: Vec<Change> = Vec::new();
        for entry in self.db.iterator_cf(self.family(family::CHANGES), mode).take(limit) {
            let (key, value) = entry?;
            if !key.starts_with(&prefix) {
                break;
            }
            let change: Change = decode(&key, &value)?;
            if change.id.seq > last {
                break;
            }
            changes.push(change);
        }
        Ok(changes)
    }

    /// Only under the commit lock.
    fn trim(&self, repository: &str, kept: u64, before_s: u64) -> Result<(), StoreError> {
        let Some(head) = self.logs.head(repository) else { return Ok(()) };
        let limit = (head.seq + 1).saturating_sub(kept);
        let oldest = self.first_younger(repository, head, limit, before_s)?;
        if oldest <= head.oldest {
            return Ok(());
        }
        let trimmed = LogHead { oldest, ..head };
        let mut batch = WriteBatch::default();
        let (first, end) = (keys::change(repository, head.oldest), keys::change(repository, oldest));
        batch.delete_range_cf(self.family(family::CHANGES), first, end);
        batch.put_cf(self.family(family::LOGS), repository, encode(&trimmed));
        self.db.write(batch)?;
        self.logs.advance(repository, trimmed);
        Ok(())
    }

    /// The first number, at most `limit`, whose record is not older than `before_s`.
    fn first_younger(&self, log: &str, head: LogHead, limit: u64, before_s: u64) -> Result<u64, StoreError> {
        let first = keys::change(log, head.oldest);
        let mode = IteratorMode::From(&first, Direction::Forward);
        let mut seq = head.oldest;
        for entry in self.db.iterator_cf(self.family(family::CHANGES), mode) {
            if seq >= limit {
                break;
            }
            let (key, value) = entry?;
            let change: Change = decode(&key, &value)?;
            if change.timestamp >= before_s {
                break;
            }
            seq += 1;
        }
        Ok(seq)
    }
}

fn family_options() -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(16 << 20);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    options
}

fn write_options(sync: bool) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(sync);
    options
}
