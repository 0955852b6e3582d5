//! Opening the index: RocksDB's options, and what an error at that means.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache as BlockCache, ColumnFamilyDescriptor, DB, DBCompressionType,
    ErrorKind, Options,
};

use super::super::CacheError;
use super::Family;

const MIB: usize = 1 << 20;
const BLOCK_CACHE_BYTES: usize = 16 * MIB;
const METADATA_BLOCK_BYTES: usize = 4096;
const WRITE_BUFFER_BYTES: usize = 8 * MIB;
/// All families' write buffers together.
const WRITE_BUFFERS_BYTES: usize = 32 * MIB;
const LOG_BYTES_MAX: u64 = 64 << 20;

/// Room that opening the index may need: it writes down what its log holds.
pub(in super::super) const OPEN_BYTES: usize = 32 * MIB;

/// What an index that was moved aside is called, before the time.
const ASIDE: &str = "index.damaged-";

/// What it is opened for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access {
    Write,
    Read,
}

/// Opens it; for writing, creates it where it is not there.
pub(super) fn open(dir: &Path, access: Access) -> Result<DB, rocksdb::Error> {
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

/// After it could not be opened for writing: for reading, if that may help.
pub(super) fn read_only_after(dir: &Path, error: &rocksdb::Error) -> Result<DB, CacheError> {
    match judge(dir, error) {
        Trouble::Held => Err(CacheError::Open { dir: dir.to_owned(), reason: error.to_string() }),
        Trouble::Damage => Err(CacheError::Damaged(error.to_string())),
        Trouble::Disk => {
            open(dir, Access::Read).map_err(|_| CacheError::Open { dir: dir.to_owned(), reason: error.to_string() })
        }
    }
}

/// What an error at opening means.
enum Trouble {
    /// Another process has it.
    Held,
    /// It will never open again.
    Damage,
    /// The disk is full, read-only, or fails; it may work again.
    Disk,
}

fn judge(dir: &Path, error: &rocksdb::Error) -> Trouble {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Corruption | ErrorKind::InvalidArgument | ErrorKind::NotSupported | ErrorKind::NotFound => {
            Trouble::Damage
        }
        // The lock is taken before anything is read, so all other errors are of an index that is ours.
        _ if text.contains("While lock file") || text.contains("lock hold by") => Trouble::Held,
        _ if text.contains("No such file") || (dir.exists() && !dir.is_dir()) => Trouble::Damage,
        _ => Trouble::Disk,
    }
}

/// Gives an index that cannot be used another name, for whoever wants to know what happened to it. Only the last one is kept.
pub(in super::super) fn move_aside(dir: &Path) -> Result<PathBuf, CacheError> {
    let failed = |source| CacheError::Directory { dir: dir.to_owned(), source };
    let parent = dir.parent().unwrap_or(dir);
    for earlier in fs::read_dir(parent).map_err(failed)? {
        let earlier = earlier.map_err(failed)?;
        if earlier.file_name().to_string_lossy().starts_with(ASIDE) {
            let path = earlier.path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.map_err(failed)?;
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let aside = parent.join(format!("{ASIDE}{}", now.as_millis()));
    fs::rename(dir, &aside).map_err(failed)?;
    Ok(aside)
}

fn family_options(block_cache: &BlockCache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(block_cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_bloom_filter(10.0, false);
    // In pieces: a whole one of a million rows is larger than a shard of the block cache, was never kept, and cost a millisecond a look-up.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(METADATA_BLOCK_BYTES);
    table.set_pin_top_level_index_and_filter(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(2);
    options
}
