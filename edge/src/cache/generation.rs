//! What a fill and the memory tier must notice without a look at the index: that something changed since they began.
//!
//! **Generations** count the changes of each module, by what the change touched. They live in memory only, in fixed tables by the hash of
//! the module's path: no lock, no growth. Two modules that share a slot see each other's changes, which costs one look at the disk or one
//! more question to the center, and is never wrong.
//!
//! **Eras** count what touches everything (a gap in the changes, a purge, a clock that jumped). They are kept in the index. Every row says in which era its fill
//! began, so that all of a million rows become stale by one small write.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use super::CacheError;
use super::index::{Family, Index};

const SLOTS: usize = 1 << 13;

/// What a change touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// Lists or queries became stale.
    pub(super) mutables: bool,
    /// Versions were removed, or entries purged.
    pub(super) drops: bool,
}

/// The generations of a module at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Changes of any kind.
    pub(super) any: u64,
    pub(super) mutables: u64,
    pub(super) drops: u64,
}

struct Slot {
    any: AtomicU64,
    mutables: AtomicU64,
    drops: AtomicU64,
}

/// The generations of all modules.
pub(super) struct Generations(Box<[Slot]>);

impl Generations {
    pub(super) fn new() -> Self {
        let slot = |_| Slot { any: AtomicU64::new(0), mutables: AtomicU64::new(0), drops: AtomicU64::new(0) };
        Self((0..SLOTS).map(slot).collect())
    }

    pub(super) fn seen(&self, module_hash: u64) -> Seen {
        let slot = self.slot(module_hash);
        Seen { any: slot.any.load(SeqCst), mutables: slot.mutables.load(SeqCst), drops: slot.drops.load(SeqCst) }
    }

    /// To be called after the change was written: what was read before the write then carries an old generation.
    pub(super) fn bump(&self, module_hash: u64, touched: Touched) {
        self.slot(module_hash).bump(touched);
    }

    fn slot(&self, module_hash: u64) -> &Slot {
        &self.0[usize::try_from(module_hash % SLOTS as u64).unwrap_or_default()]
    }
}

impl Slot {
    fn bump(&self, touched: Touched) {
        self.any.fetch_add(1, SeqCst);
        if touched.mutables {
            self.mutables.fetch_add(1, SeqCst);
        }
        if touched.drops {
            self.drops.fetch_add(1, SeqCst);
        }
    }
}

/// The eras.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EraState {
    /// Fills that begin now belong to it.
    pub(super) now: u64,
    /// Mutables of an earlier era are stale, negatives of one are void.
    pub(super) stale_before: u64,
    /// Entries of an earlier era are void.
    pub(super) void_before: u64,
    /// The age of what is of an earlier era is unknown: the clock jumped.
    pub(super) doubted_before: u64,
}

/// The eras, shared.
pub(super) struct Eras {
    now: AtomicU64,
    stale_before: AtomicU64,
    void_before: AtomicU64,
    doubted_before: AtomicU64,
}

const ERAS: &[u8] = b"eras";

impl Eras {
    pub(super) fn load(index: &Index) -> Result<Self, CacheError> {
        let value = index.get(Family::State, ERAS)?;
        let first = EraState { now: 1, stale_before: 0, void_before: 0, doubted_before: 0 };
        let state = value.as_deref().and_then(EraState::decode).unwrap_or(first);
        Ok(Self {
            now: AtomicU64::new(state.now),
            stale_before: AtomicU64::new(state.stale_before),
            void_before: AtomicU64::new(state.void_before),
            doubted_before: AtomicU64::new(state.doubted_before),
        })
    }

    pub(super) fn state(&self) -> EraState {
        EraState {
            now: self.now.load(SeqCst),
            stale_before: self.stale_before.load(SeqCst),
            void_before: self.void_before.load(SeqCst),
            doubted_before: self.doubted_before.load(SeqCst),
        }
    }

    /// To be called after `state` was written.
    pub(super) fn set(&self, state: EraState) {
        // Bounds first: a fill that takes its ticket in between belongs to the old era and is judged strictly.
        self.void_before.store(state.void_before, SeqCst);
        self.doubted_before.store(state.doubted_before, SeqCst);
        self.stale_before.store(state.stale_before, SeqCst);
        self.now.store(state.now, SeqCst);
    }
}

impl EraState {
    /// The era after one in which everything may have changed.
    pub(super) const fn all_stale(self) -> Self {
        Self { now: self.now + 1, stale_before: self.now + 1, ..self }
    }

    /// The era after one in which everything was dropped.
    pub(super) const fn all_void(self) -> Self {
        Self { now: self.now + 1, stale_before: self.now + 1, void_before: self.now + 1, ..self }
    }

    /// The era after one whose clock cannot be trusted.
    pub(super) const fn all_doubted(self) -> Self {
        Self { now: self.now + 1, doubted_before: self.now + 1, ..self }
    }

    pub(super) fn put(self, batch: &mut super::index::Batch<'_>) {
        let numbers = [self.now, self.stale_before, self.void_before, self.doubted_before];
        batch.put(Family::State, ERAS, &numbers.map(u64::to_be_bytes).concat());
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let number = |i: usize| Some(u64::from_be_bytes(value.get(i * 8..i * 8 + 8)?.try_into().ok()?));
        // An index that an earlier build wrote has no fourth number.
        let doubted_before = number(3).unwrap_or_default();
        Some(Self { now: number(0)?, stale_before: number(1)?, void_before: number(2)?, doubted_before })
    }
}
