//! The cache as a whole, on a real disk, with a clock that the test sets.

mod changing;
mod clocks;
mod damaged;
mod evicting;
mod keeping;
mod killed;
mod racing;
mod repairing;
mod scrubbing;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use shared::change::{Change, ChangeId, EventType, Kind, SCHEMA};
use shared::digest::Digest;
use shared::fill::{SPOOL_PREFIX, Spooled};
use shared::request::Request;
use tempfile::TempDir;

use super::clock::Clock;
use super::store::Store;
use super::{CacheConfig, CommitError, Entry, EntryBody, Freshness, FreshnessPolicy, Key, Meta};

const REPO: &str = "golang-virtual";
const START_MS: u64 = 1_763_670_000_000;
const MIB: u64 = 1 << 20;
const LIST: &str = "example.com/a/@v/list";
const ZIP: &str = "example.com/a/@v/v1.0.0.zip";

/// A cache without its background sweep, so that tests say when it happens.
struct Rig {
    dir: TempDir,
    now_ms: Arc<AtomicU64>,
    store: Store,
}

impl Rig {
    fn new() -> Self {
        Self::with_disk(100 * MIB)
    }

    fn with_disk(disk_bytes_max: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now_ms = Arc::new(AtomicU64::new(START_MS));
        let store = open(dir.path(), &now_ms, disk_bytes_max);
        Self { dir, now_ms, store }
    }

    /// Closes the cache and opens it again.
    fn reopened(self) -> Self {
        let Self { dir, now_ms, store } = self;
        let disk_bytes_max = store.disk_bytes_max.load(SeqCst);
        store.close();
        drop(store);
        let store = open(dir.path(), &now_ms, disk_bytes_max);
        Self { dir, now_ms, store }
    }

    fn pass(&self, time: Duration) {
        self.now_ms.fetch_add(u64::try_from(time.as_millis()).unwrap(), SeqCst);
    }

    fn commit(&self, path: &str, body: &[u8]) -> Result<Entry, CommitError> {
        let ticket = self.store.ticket(&key(path));
        self.store.commit(&ticket, meta(body), self.spooled(body))
    }

    /// A body as a fill hands it over: above 64 KiB in a file.
    fn spooled(&self, body: &[u8]) -> Spooled {
        if body.len() as u64 <= shared::fill::MEMORY_MAX {
            return Spooled::Memory(Bytes::copy_from_slice(body));
        }
        let spool = self.store.spool_dir();
        let (mut file, path) = tempfile::Builder::new().prefix(SPOOL_PREFIX).tempfile_in(spool).unwrap().into_parts();
        file.write_all(body).unwrap();
        Spooled::File { path, file: Arc::new(file), len: body.len() as u64, digest: Digest::of(body) }
    }

    fn disk(&self, path: &str) -> Option<(Vec<u8>, Freshness)> {
        self.store.disk(&key(path)).unwrap().map(|(entry, fresh)| (read(&entry), fresh))
    }

    fn memory(&self, path: &str) -> Option<(Vec<u8>, Freshness)> {
        self.store.memory(&key(path)).map(|(entry, fresh)| (read(&entry), fresh))
    }

    fn apply(&self, changes: &[Change]) -> super::Applied {
        self.store.apply(REPO, changes).unwrap()
    }

    /// All files of bodies.
    fn files(&self) -> usize {
        let mut count = 0;
        self.store
            .files
            .walk(&mut |_| {
                count += 1;
                true
            })
            .unwrap();
        count
    }

    fn spool_files(&self) -> usize {
        fs::read_dir(self.store.spool_dir()).unwrap().count()
    }
}

fn open(dir: &Path, now_ms: &Arc<AtomicU64>, disk_bytes_max: u64) -> Store {
    Store::open(config(dir, disk_bytes_max), Clock::Set(Arc::clone(now_ms))).unwrap()
}

fn config(dir: &Path, disk_bytes_max: u64) -> CacheConfig {
    CacheConfig {
        dir: dir.to_owned(),
        memory_bytes_max: 16 * MIB,
        disk_bytes_max,
        scrub_bytes_per_second: 0,
        policy: FreshnessPolicy::default(),
    }
}

fn key(path: &str) -> Key {
    Key::of(REPO, &Request::parse(path).unwrap())
}

fn meta(body: &[u8]) -> Meta {
    let modified = UNIX_EPOCH + Duration::from_millis(START_MS);
    Meta::filled(Digest::of(body), body.len() as u64, modified, None)
}

fn read(entry: &Entry) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    match &entry.body {
        EntryBody::Memory(bytes) => bytes.to_vec(),
        EntryBody::File(file) => {
            let mut body = vec![0; usize::try_from(entry.meta.len).unwrap()];
            file.read_exact_at(&mut body, 0).unwrap();
            body
        }
        EntryBody::Empty => Vec::new(),
    }
}

/// A body of `len` bytes, another one for each `seed`.
fn body(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

fn id(seq: u64) -> ChangeId {
    ChangeId { epoch: 1_763_000_000_000, seq }
}

fn change(seq: u64, event_type: EventType, kind: Kind, version: Option<&str>) -> Change {
    Change {
        id: id(seq),
        repo: REPO.to_owned(),
        event_type,
        module_id: "example.com/a".to_owned(),
        version: version.map(ToOwned::to_owned),
        kind,
        timestamp: START_MS / 1000,
        timestamp_ms: None,
        sha256: None,
        h1: None,
        origin: None,
        reason: "publish".to_owned(),
        schema: SCHEMA,
        traceparent: None,
    }
}

fn created(seq: u64, version: &str) -> Change {
    change(seq, EventType::Create, Kind::Version, Some(version))
}

fn deleted(seq: u64, version: &str) -> Change {
    change(seq, EventType::Delete, Kind::Version, Some(version))
}
