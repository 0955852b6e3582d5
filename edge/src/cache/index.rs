//! The index: one RocksDB with a column family for each kind of row.
//!
//! | family | key | value |
//! |---|---|---|
//! | entries | cache key | [`Row`](super::entry::Row) |
//! | negatives | cache key | [`Row`](super::entry::Row) |
//! | blobs | SHA-256 | [`Blob`]: where the body lies |
//! | bodies | SHA-256 | a small body |
//! | refs | SHA-256, cache key | nothing: this entry needs this body |
//! | uses | cache key | Unix milliseconds of the last use, now and then |
//! | state | a name | cursors, tombstones, eras |
//!
//! Nothing is written with sync: the log is one for all families, so a crash loses a suffix of all of them together, and what stays is
//! consistent.

mod open;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::RwLock;
use rocksdb::{ColumnFamily, DB, Direction, ErrorKind, IteratorMode, ReadOptions, WriteBatch};
use shared::digest::Digest;

use self::open::Access;
pub(super) use self::open::OPEN_BYTES;
pub(super) use self::open::move_aside;
use super::CacheError;

/// Rows that a scan reads at a time.
const PAGE_ROWS: usize = 256;

/// A column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Entries,
    Negatives,
    Blobs,
    Bodies,
    Refs,
    Uses,
    State,
}

impl Family {
    const ALL: [Self; 7] =
        [Self::Entries, Self::Negatives, Self::Blobs, Self::Bodies, Self::Refs, Self::Uses, Self::State];

    const fn name(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Negatives => "negatives",
            Self::Blobs => "blobs",
            Self::Bodies => "bodies",
            Self::Refs => "refs",
            Self::Uses => "uses",
            Self::State => "state",
        }
    }
}

/// Where a body lies, and its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) in_file: bool,
    pub(super) len: u64,
}

impl Blob {
    pub(super) fn encode(self) -> [u8; 9] {
        let mut value = [0; 9];
        value[0] = u8::from(self.in_file);
        value[1..].copy_from_slice(&self.len.to_be_bytes());
        value
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let (in_file, len) = value.split_first()?;
        Some(Self { in_file: *in_file == 1, len: u64::from_be_bytes(len.try_into().ok()?) })
    }

    /// What it counts against the disk's budget: whole blocks of a file, and some room for the rows.
    pub(super) const fn cost(self) -> u64 {
        const ROWS: u64 = 512;
        if self.in_file { self.len.next_multiple_of(4096) + ROWS } else { self.len + ROWS }
    }
}

/// A row of a scan: key and value.
pub(super) type KeyValue = (Box<[u8]>, Box<[u8]>);

/// The opened index.
pub(super) struct Index {
    dir: PathBuf,
    // Taken for writing only to open or close it. Readers do not nest, and wait behind a writer, so that it is not starved.
    db: RwLock<State>,
    // A scan, a write or a compaction came upon damage; a single damaged value is none of it.
    damaged: AtomicBool,
}

enum State {
    Open(DB),
    /// It could not be opened anew, not even for reading.
    Failed,
    Closed,
}

impl Index {
    /// Opens or creates it. Only one process can. [`CacheError::Damaged`]: it will never open, and can be moved aside.
    ///
    /// Where it can be opened for reading only, because the disk is full or fails, the reason comes with it.
    pub(super) fn open(dir: &Path) -> Result<(Self, Option<String>), CacheError> {
        let (db, trouble) = match open::open(dir, Access::Write) {
            Ok(db) => (db, None),
            Err(error) => (open::read_only_after(dir, &error)?, Some(error.into_string())),
        };
        Ok((Self { dir: dir.to_owned(), db: RwLock::new(State::Open(db)), damaged: AtomicBool::new(false) }, trouble))
    }

    /// Opens it anew: after a failed write, RocksDB refuses all others until then.
    ///
    /// Where it cannot be opened for writing again, it is opened for reading, so that hits go on.
    pub(super) fn reopen(&self) -> Result<(), CacheError> {
        let mut db = self.db.write();
        if matches!(*db, State::Closed) {
            return Err(closed());
        }
        // The old one holds the lock file.
        *db = State::Failed;
        match open::open(&self.dir, Access::Write) {
            Ok(opened) => {
                *db = State::Open(opened);
                Ok(())
            }
            Err(error) => {
                if let Ok(opened) = open::open(&self.dir, Access::Read) {
                    *db = State::Open(opened);
                }
                Err(self.storage(error))
            }
        }
    }

    /// Moves what is damaged aside and goes on with an empty index.
    pub(super) fn start_over(&self) -> Result<(), CacheError> {
        let mut db = self.db.write();
        if matches!(*db, State::Closed) {
            return Err(closed());
        }
        *db = State::Failed;
        move_aside(&self.dir)?;
        *db = State::Open(open::open(&self.dir, Access::Write).map_err(|error| self.storage(error))?);
        self.damaged.store(false, Relaxed);
        Ok(())
    }

    /// Whether rows cannot be read or written because of damage.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Relaxed)
    }

    /// Waits for what reads or writes at this moment, and lets another process open it. Everything later fails.
    pub(super) fn close(&self) {
        *self.db.write() = State::Closed;
    }

    /// Opens it again after [`Index::close`]; fails while another process has it.
    pub(super) fn resume(&self) -> Result<(), CacheError> {
        let opened = open::open(&self.dir, Access::Write).map_err(|error| self.storage(error))?;
        *self.db.write() = State::Open(opened);
        Ok(())
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(*self.db.read(), State::Closed)
    }

    /// A value. A damaged one is none: what is cached here can be fetched again.
    pub(super) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, CacheError> {
        self.with(|db| match db.get_cf(handle(db, family), key) {
            Ok(value) => Ok(value),
            Err(error) if error.kind() == ErrorKind::Corruption => {
                tracing::error!(family = family.name(), %error, "a block of the index is damaged");
                Ok(None)
            }
            Err(error) => Err(self.storage(error)),
        })
    }

    /// Where a body lies.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Option<Blob>, CacheError> {
        Ok(self.get(Family::Blobs, digest.as_bytes())?.as_deref().and_then(Blob::decode))
    }

    /// Whether an entry needs the body.
    pub(super) fn is_needed(&self, digest: &Digest) -> Result<bool, CacheError> {
        Ok(!self.page(Family::Refs, digest.as_bytes(), end_of(digest.as_bytes()), 1)?.is_empty())
    }

    /// The rows whose keys start with `prefix`, in order. Read in pages: not one moment's picture, unless under the writer's lock.
    pub(super) fn scan(&self, family: Family, prefix: &[u8]) -> Scan<'_> {
        Scan { index: self, family, next: Some(prefix.to_vec()), end: end_of(prefix), page: Vec::new().into_iter() }
    }

    /// The rows whose keys come after `key`, in order, so many at most.
    pub(super) fn after(&self, family: Family, key: &[u8], rows_max: usize) -> Result<Vec<KeyValue>, CacheError> {
        self.page(family, &next_key(key), None, rows_max)
    }

    pub(super) fn batch(&self) -> Batch<'_> {
        Batch { index: self, writes: Vec::new() }
    }

    fn page(
        &self,
        family: Family,
        from: &[u8],
        end: Option<Vec<u8>>,
        rows_max: usize,
    ) -> Result<Vec<KeyValue>, CacheError> {
        let mut options = ReadOptions::default();
        // A scan reads what a hit will not ask for.
        options.fill_cache(false);
        if let Some(end) = end {
            options.set_iterate_upper_bound(end);
        }
        self.with(|db| {
            let mode = IteratorMode::From(from, Direction::Forward);
            let rows = db.iterator_cf_opt(handle(db, family), options, mode);
            rows.take(rows_max).map(|row| row.map_err(|error| self.storage(error))).collect()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&DB) -> Result<T, CacheError>) -> Result<T, CacheError> {
        match &*self.db.read() {
            State::Open(db) => work(db),
            State::Failed => Err(CacheError::Storage("the index could not be opened again".to_owned())),
            State::Closed => Err(closed()),
        }
    }

    fn storage(&self, error: rocksdb::Error) -> CacheError {
        if error.kind() == ErrorKind::Corruption {
            self.damaged.store(true, Relaxed);
            return CacheError::Damaged(error.into_string());
        }
        CacheError::Storage(error.into_string())
    }
}

/// Rows of a scan.
pub(super) struct Scan<'a> {
    index: &'a Index,
    family: Family,
    /// Where the next page begins; none after the last one.
    next: Option<Vec<u8>>,
    end: Option<Vec<u8>>,
    page: std::vec::IntoIter<KeyValue>,
}

impl Iterator for Scan<'_> {
    type Item = Result<KeyValue, CacheError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(row) = self.page.next() {
            return Some(Ok(row));
        }
        let from = self.next.take()?;
        match self.index.page(self.family, &from, self.end.clone(), PAGE_ROWS) {
            Ok(rows) => {
                if let (Some((last, _)), PAGE_ROWS) = (rows.last(), rows.len()) {
                    self.next = Some(next_key(last));
                }
                self.page = rows.into_iter();
                self.page.next().map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// Writes that happen together or not at all.
pub(super) struct Batch<'a> {
    index: &'a Index,
    writes: Vec<(Family, Vec<u8>, Option<Vec<u8>>)>,
}

impl Batch<'_> {
    pub(super) fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.writes.push((family, key.to_vec(), Some(value.to_vec())));
    }

    pub(super) fn delete(&mut self, family: Family, key: &[u8]) {
        self.writes.push((family, key.to_vec(), None));
    }

    pub(super) fn write(self) -> Result<(), CacheError> {
        self.index.with(|db| {
            let mut writes = WriteBatch::default();
            for (family, key, value) in &self.writes {
                match value {
                    Some(value) => writes.put_cf(handle(db, *family), key, value),
                    None => writes.delete_cf(handle(db, *family), key),
                }
            }
            db.write(writes).map_err(|error| self.index.storage(error))
        })
    }
}

/// The key of a reference from an entry to a body.
pub(super) fn ref_key(digest: &Digest, key: &[u8]) -> Vec<u8> {
    [digest.as_bytes(), key].concat()
}

/// The smallest key after this one.
fn next_key(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The first key after all that start with `prefix`.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

fn handle(db: &DB, family: Family) -> &ColumnFamily {
    db.cf_handle(family.name()).expect("the database was opened with all families")
}

fn closed() -> CacheError {
    CacheError::Storage("the index is closed".to_owned())
}

#[cfg(test)]
mod tests;
