//! The memory tier: TinyUFO over entries with bodies up to 1 MiB. A look-up takes no lock.
//!
//! Nothing is ever removed from it by name. An entry carries the generation under which it was read, and counts as absent when that has
//! moved on; so a reader that brings an old row into memory while a change comes in cannot undo the change.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tinyufo::TinyUfo;

use super::entry::Entry;
use super::generation::Seen;
use super::key::Key;

/// Larger bodies are read from their files.
pub(super) const BODY_BYTES_MAX: u64 = 1 << 20;

/// What an entry takes besides its body, measured: key, row, TinyUFO's own nodes, and what the allocator rounds up.
const OVERHEAD_BYTES: u64 = 800;

/// TinyUFO has 16 bits for a weight. In this unit the largest entry fits, and the smallest is not rounded up by much.
const WEIGHT_BYTES: u64 = 32;

/// An entry in memory.
pub(super) struct Held {
    pub(super) key: Key,
    pub(super) entry: Entry,
    pub(super) promotion: Promotion,
    /// When its use was last noted for the disk tier's eviction.
    pub(super) used_at_ms: AtomicU64,
}

/// What the index says of a mutable besides its times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// A change made it stale.
    pub(super) changed: bool,
    /// The clock jumped since it was stored.
    pub(super) age_unknown: bool,
}

/// The moment at which an entry was read from the index, or written to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promotion {
    pub(super) standing: Standing,
    pub(super) era: u64,
    pub(super) seen: Seen,
    /// Of two moments, the later one's is larger.
    pub(super) order: u64,
    pub(super) now_ms: u64,
}

/// Counts what is in memory for as long as it is.
struct Counted {
    held: Held,
    bytes: u64,
    totals: Arc<Totals>,
}

#[derive(Default)]
struct Totals {
    bytes: AtomicU64,
    objects: AtomicU64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.totals.bytes.fetch_sub(self.bytes, Relaxed);
        self.totals.objects.fetch_sub(1, Relaxed);
    }
}

/// What TinyUFO keeps. It drops what it evicted late, and in batches for each thread; so the entry is taken out at once.
type Slot = Arc<ArcSwapOption<Counted>>;

/// A reference to an entry in memory.
pub(super) struct HeldRef(Arc<Counted>);

impl std::ops::Deref for HeldRef {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.0.held
    }
}

/// The memory tier.
pub(super) struct Memory {
    entries: TinyUfo<Key, Slot>,
    // Two threads that put one key at the same time would count its weight once and take it off twice.
    putting: Mutex<()>,
    totals: Arc<Totals>,
    order: AtomicU64,
}

impl Memory {
    pub(super) fn new(bytes_max: u64) -> Self {
        let weight_max = usize::try_from(bytes_max / WEIGHT_BYTES).unwrap_or(usize::MAX).max(1);
        // Most objects are `.info` and `.mod` of a few KiB.
        let objects = usize::try_from(bytes_max / 4096).unwrap_or(usize::MAX).clamp(1024, 1 << 20);
        Self {
            entries: TinyUfo::new(weight_max, objects),
            putting: Mutex::new(()),
            totals: Arc::default(),
            order: AtomicU64::new(0),
        }
    }

    pub(super) fn next_order(&self) -> u64 {
        self.order.fetch_add(1, SeqCst)
    }

    pub(super) fn get(&self, key: &Key) -> Option<HeldRef> {
        // TinyUFO knows keys by a hash of 64 bits; an answer must not hang on that.
        self.entries.get(key)?.load_full().map(HeldRef).filter(|held| held.key == *key)
    }

    pub(super) fn put(&self, held: Held) {
        let bytes = held.entry.meta.len + OVERHEAD_BYTES;
        let Ok(weight) = u16::try_from(bytes.div_ceil(WEIGHT_BYTES)) else {
            return;
        };
        let _putting = self.putting.lock();
        // A reader that was slow does not undo a commit.
        if self.get(&held.key).is_some_and(|there| there.promotion.order > held.promotion.order) {
            return;
        }
        self.totals.bytes.fetch_add(bytes, Relaxed);
        self.totals.objects.fetch_add(1, Relaxed);
        let key = held.key.clone();
        let counted = Counted { held, bytes, totals: Arc::clone(&self.totals) };
        let replaced = self.entries.get(&key);
        let slot: Slot = Arc::new(ArcSwapOption::from_pointee(counted));
        for evicted in self.entries.put(key, slot, weight) {
            evicted.data.store(None);
        }
        if let Some(replaced) = replaced {
            replaced.store(None);
        }
    }

    /// Bytes and objects.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.totals.bytes.load(Relaxed), self.totals.objects.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shared::digest::Digest;
    use shared::request::Request;

    use super::super::entry::{EntryBody, Meta, Status};
    use super::*;

    fn held(path: &str, body: Bytes, order: u64) -> Held {
        let meta = Meta::filled(Digest::of(&body), body.len() as u64, std::time::SystemTime::now(), None);
        Held {
            key: Key::of("r", &Request::parse(path).unwrap()),
            entry: Entry { status: Status::Found, meta: Arc::new(meta), body: EntryBody::Memory(body) },
            promotion: Promotion {
                standing: Standing::default(),
                era: 1,
                seen: Seen { any: 0, mutables: 0, drops: 0 },
                order,
                now_ms: 0,
            },
            used_at_ms: AtomicU64::new(0),
        }
    }

    #[test]
    fn it_holds_no_more_than_its_budget() {
        const BUDGET: u64 = 1 << 20;
        let memory = Memory::new(BUDGET);
        for i in 0..500 {
            memory.put(held(&format!("example.com/m{i}/@v/v1.0.0.zip"), Bytes::from(vec![0; 20_000]), i));
        }
        let held_now = (0..500)
            .filter(|i| memory.get(&held(&format!("example.com/m{i}/@v/v1.0.0.zip"), Bytes::new(), 0).key).is_some())
            .count() as u64;
        assert!(held_now >= 20, "{held_now}");
        assert!(held_now * 20_000 <= BUDGET, "{held_now}");
        // Not only unreachable: gone.
        let (bytes, objects) = memory.totals();
        assert_eq!((bytes, objects), (held_now * (20_000 + OVERHEAD_BYTES), held_now));
    }

    #[test]
    fn small_entries_fill_the_budget_and_the_largest_fits() {
        const BUDGET: u64 = 4 << 20;
        let memory = Memory::new(BUDGET);
        for i in 0..10_000 {
            memory.put(held(&format!("example.com/m{i}/@v/v1.0.0.info"), Bytes::from(vec![0; 200]), i));
        }
        let (bytes, objects) = memory.totals();
        assert!(bytes <= BUDGET && objects >= 4090, "{bytes} {objects}");
        let memory = Memory::new(BUDGET);
        let largest = held("example.com/z/@v/v1.0.0.zip", Bytes::from(vec![0; 1 << 20]), 0);
        let key = largest.key.clone();
        memory.put(largest);
        assert!(memory.get(&key).is_some());
    }

    #[test]
    fn a_later_entry_takes_the_place_of_an_earlier_one_only() {
        let memory = Memory::new(1 << 20);
        let key = held("example.com/a/@v/list", Bytes::new(), 0).key;
        assert!(memory.get(&key).is_none());
        memory.put(held("example.com/a/@v/list", Bytes::from_static(b"v1.0.0\n"), 1));
        memory.put(held("example.com/a/@v/list", Bytes::from_static(b"v1.0.0\nv1.1.0\n"), 3));
        memory.put(held("example.com/a/@v/list", Bytes::from_static(b"v1.0.0\n"), 2));
        assert_eq!(memory.get(&key).unwrap().entry.meta.len, 14);
    }
}
