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

use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use rocksdb::{
    BlockBasedOptions, Cache as BlockCache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, Direction,
    ErrorKind, IteratorMode, Options, ReadOptions, WriteBatch,
};
use shared::digest::Digest;

use super::CacheError;

const MIB: usize = 1 << 20;
const BLOCK_CACHE_BYTES: usize = 16 * MIB;
const WRITE_BUFFER_BYTES: usize = 8 * MIB;
/// All families' write buffers together.
const WRITE_BUFFERS_BYTES: usize = 32 * MIB;
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Rows that a scan reads at a time.
const PAGE_ROWS: usize = 256;

/// Room that opening the index may need: it writes down what its log holds.
pub(super) const OPEN_BYTES: usize = 32 * MIB;

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
    // Taken for writing only to open it anew. Readers nest, so they take it with `read_recursive`.
    db: RwLock<Option<DB>>,
}

impl Index {
    /// Opens or creates it. Only one process can.
    pub(super) fn open(dir: &Path) -> Result<Self, CacheError> {
        let db = open(dir, Access::Write)
            .map_err(|error| CacheError::Open { dir: dir.to_owned(), reason: error.into_string() })?;
        Ok(Self { dir: dir.to_owned(), db: RwLock::new(Some(db)) })
    }

    /// Opens it anew: after a failed write, RocksDB refuses all others until then.
    ///
    /// Where it cannot be opened for writing again, it is opened for reading, so that hits go on.
    pub(super) fn reopen(&self) -> Result<(), CacheError> {
        let mut db = self.db.write();
        // The old one holds the lock file.
        *db = None;
        match open(&self.dir, Access::Write) {
            Ok(opened) => {
                *db = Some(opened);
                Ok(())
            }
            Err(error) => {
                *db = open(&self.dir, Access::Read).ok();
                Err(storage(error))
            }
        }
    }

    /// A value. A damaged one is none: what is cached here can be fetched again.
    pub(super) fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, CacheError> {
        self.with(|db| match db.get_cf(handle(db, family), key) {
            Ok(value) => Ok(value),
            Err(error) if error.kind() == ErrorKind::Corruption => {
                tracing::error!(family = family.name(), %error, "a block of the index is damaged");
                Ok(None)
            }
            Err(error) => Err(storage(error)),
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
            rows.take(rows_max).map(|row| row.map_err(storage)).collect()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&DB) -> Result<T, CacheError>) -> Result<T, CacheError> {
        match &*self.db.read_recursive() {
            Some(db) => work(db),
            None => Err(CacheError::Storage("the index could not be opened again".to_owned())),
        }
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
                    // The smallest key after the last one.
                    self.next = Some([last, &[0][..]].concat());
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
            db.write(writes).map_err(storage)
        })
    }
}

/// The key of a reference from an entry to a body.
pub(super) fn ref_key(digest: &Digest, key: &[u8]) -> Vec<u8> {
    [digest.as_bytes(), key].concat()
}

/// The first key after all that start with `prefix`.
fn end_of(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[derive(Debug, Clone, Copy)]
enum Access {
    Write,
    Read,
}

fn open(dir: &Path, access: Access) -> Result<DB, rocksdb::Error> {
    let block_cache = BlockCache::new_lru_cache(BLOCK_CACHE_BYTES);
    let families = Family::ALL.map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(&block_cache)));
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_max_open_files(256);
    options.set_db_write_buffer_size(WRITE_BUFFERS_BYTES);
    options.set_max_total_wal_size(LOG_BYTES_MAX);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(MIB);
    match access {
        Access::Write => DB::open_cf_descriptors(&options, dir, families),
        Access::Read => DB::open_cf_descriptors_read_only(&options, dir, families, false),
    }
}

fn handle(db: &DB, family: Family) -> &ColumnFamily {
    db.cf_handle(family.name()).expect("the database was opened with all families")
}

fn family_options(block_cache: &BlockCache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(block_cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options
}

fn storage(error: rocksdb::Error) -> CacheError {
    CacheError::Storage(error.into_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_ends_with_its_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path()).unwrap();
        let mut batch = index.batch();
        for key in [&b"a"[..], b"a\0", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff1"] {
            batch.put(Family::State, key, key);
        }
        batch.write().unwrap();
        let below =
            |prefix: &[u8]| index.scan(Family::State, prefix).map(|row| row.unwrap().0.to_vec()).collect::<Vec<_>>();
        assert_eq!(below(b"a\xff"), [&b"a\xff"[..], b"a\xff\xff"]);
        assert_eq!(below(b"a").len(), 4);
        assert_eq!(below(b"\xff").len(), 2);
        assert_eq!(below(b"").len(), 7);
        assert!(index.scan(Family::Refs, b"").next().is_none());
    }

    #[test]
    fn a_scan_goes_on_after_its_page() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path()).unwrap();
        for count in [PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1, 3 * PAGE_ROWS] {
            let mut batch = index.batch();
            (0..count).for_each(|i| batch.put(Family::Uses, format!("{i:06}").as_bytes(), b""));
            batch.write().unwrap();
            let keys: Vec<_> = index.scan(Family::Uses, b"").map(|row| row.unwrap().0).collect();
            assert_eq!(keys.len(), count);
            assert!(keys.is_sorted());
        }
    }

    #[test]
    fn it_can_be_opened_anew_under_its_readers() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path()).unwrap();
        let mut batch = index.batch();
        (0..1000_u32).for_each(|i| batch.put(Family::Uses, &i.to_be_bytes(), b"x"));
        batch.write().unwrap();
        let mut scan = index.scan(Family::Uses, b"");
        scan.next().unwrap().unwrap();
        let batch = index.batch();
        index.reopen().unwrap();
        assert_eq!(scan.count(), 999);
        batch.write().unwrap();
        assert_eq!(index.get(Family::Uses, &7_u32.to_be_bytes()).unwrap().as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn a_blob_reads_back() {
        let blob = Blob { in_file: true, len: 70_000 };
        assert_eq!(Blob::decode(&blob.encode()), Some(blob));
        assert_eq!(Blob::decode(b"\x01"), None);
        assert_eq!((blob.cost(), Blob { in_file: false, len: 3 }.cost()), (73_728 + 512, 515));
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let _held = Index::open(dir.path()).unwrap();
        assert!(matches!(Index::open(dir.path()), Err(CacheError::Open { .. })));
    }
}
