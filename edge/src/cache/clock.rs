//! The cache's clock: wall time when the process started, and from there on what the monotonic clock adds.
//!
//! So a wall clock that is set while the edge runs changes no age. Across restarts the wall clock is all there is; what [`super::freshness`]
//! does with an answer from the future covers one that was set back in between.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells Unix milliseconds.
#[derive(Debug)]
pub(super) enum Clock {
    Running {
        start: Instant,
        start_ms: u64,
    },
    /// Set by a test.
    #[cfg(test)]
    Set(std::sync::Arc<std::sync::atomic::AtomicU64>),
}

impl Clock {
    pub(super) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::Running { start: Instant::now(), start_ms: millis(since) }
    }

    pub(super) fn now_ms(&self) -> u64 {
        match self {
            Self::Running { start, start_ms } => start_ms.saturating_add(millis(start.elapsed())),
            #[cfg(test)]
            Self::Set(now_ms) => now_ms.load(std::sync::atomic::Ordering::SeqCst),
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
