//! Which modules are asked often: at least ten times in ten minutes.
//!
//! A fixed table of counters by the hash of the module's path: no lock, no growth. Two modules that share a counter may both count as hot
//! for it, which costs no more than ten minutes of a mutable's freshness, and any change still makes it stale at once.

use std::sync::atomic::{AtomicU64, Ordering};

const SLOTS: usize = 1 << 14;
const WINDOW_MS: u64 = 10 * 60 * 1000;
/// Asked this often in a window, a module is hot.
const HOT: u64 = 10;
/// Counted no further: a counter that is full is left alone, and the hottest modules' cache lines stay shared.
const COUNT_MAX: u64 = 200;

/// Counters of asks. Each holds a window's number, the count of the window before, and its own: `window << 32 | before << 16 | count`.
pub(super) struct Heat(Box<[AtomicU64]>);

impl Heat {
    pub(super) fn new() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Counts an ask of the module with this hash.
    pub(super) fn ask(&self, module_hash: u64, now_ms: u64) {
        let slot = self.slot(module_hash);
        let old = slot.load(Ordering::Relaxed);
        let (before, count) = counts(old, now_ms);
        let new = pack(now_ms, before, (count + 1).min(COUNT_MAX));
        if new != old {
            // A lost race loses one count of many.
            let _ = slot.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Whether the module with this hash is hot: its asks of this window, and of the last one the part that the ten minutes before now
    /// reach into, as if they had come evenly.
    pub(super) fn is_hot(&self, module_hash: u64, now_ms: u64) -> bool {
        let (before, count) = counts(self.slot(module_hash).load(Ordering::Relaxed), now_ms);
        before * (WINDOW_MS - now_ms % WINDOW_MS) + count * WINDOW_MS >= HOT * WINDOW_MS
    }

    fn slot(&self, module_hash: u64) -> &AtomicU64 {
        &self.0[usize::try_from(module_hash % SLOTS as u64).unwrap_or_default()]
    }
}

fn window(now_ms: u64) -> u64 {
    (now_ms / WINDOW_MS) & 0xffff_ffff
}

fn pack(now_ms: u64, before: u64, count: u64) -> u64 {
    window(now_ms) << 32 | before << 16 | count
}

/// The counts of the last window and of this one.
fn counts(packed: u64, now_ms: u64) -> (u64, u64) {
    let (before, count) = (packed >> 16 & 0xffff, packed & 0xffff);
    match window(now_ms).wrapping_sub(packed >> 32) {
        0 => (before, count),
        1 => (count, 0),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_asks_make_hot_and_ten_quiet_minutes_cold() {
        let heat = Heat::new();
        let start = WINDOW_MS * 1000;
        for i in 0..9 {
            heat.ask(7, start + i);
        }
        assert!(!heat.is_hot(7, start + 10));
        heat.ask(7, start + 11);
        assert!(heat.is_hot(7, start + 12));
        assert!(!heat.is_hot(8, start + 12));
        assert!(heat.is_hot(7, start + WINDOW_MS));
        assert!(!heat.is_hot(7, start + WINDOW_MS * 3 / 2));
        heat.ask(7, start + WINDOW_MS * 3 / 2);
        assert!(!heat.is_hot(7, start + WINDOW_MS * 3 / 2));
        assert!(!heat.is_hot(7, start + 2 * WINDOW_MS));
    }

    #[test]
    fn asks_on_both_sides_of_a_windows_end_count_together_and_many_last_longer() {
        let heat = Heat::new();
        let end = WINDOW_MS * 1000;
        for i in 1..=8 {
            heat.ask(7, end - i);
        }
        assert!(!heat.is_hot(7, end));
        for i in 0..3 {
            heat.ask(7, end + i);
        }
        assert!(heat.is_hot(7, end + 3));
        for i in 0..300 {
            heat.ask(8, end + i);
        }
        let next = end + WINDOW_MS;
        assert!(heat.is_hot(8, next + WINDOW_MS * 9 / 10));
        assert!(!heat.is_hot(8, next + WINDOW_MS - 1));
    }
}
