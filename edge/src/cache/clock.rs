//! The cache's clock: wall time when the process started, and from there on what the monotonic clock adds.
//!
//! So a wall clock that is set while the edge runs changes no age. Across restarts the wall clock is all there is. The sweep therefore keeps
//! a **heartbeat** in the index, what this clock showed last; at the next start the time since then must be plausible. If the clock went
//! back, or forth by more than a day, nobody knows how old anything is: the wall clock was wrong before or is wrong now, or the machine was
//! off for long. What was stored before such a start is of unknown age until it is refreshed ([`super::freshness`]). It is marked by an era
//! ([`super::generation`]), which is one small write whatever the number of entries.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How far the clock may be set back without a doubt.
pub(super) const SKEW: Duration = Duration::from_mins(1);

/// How long an edge may plausibly have been off: a restart, a new machine, an outage over night.
const OFF_MAX: Duration = Duration::from_hours(24);

/// How often the heartbeat is written.
pub(super) const HEARTBEAT_EVERY_MS: u64 = 60_000;

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

/// Whether the clock jumped between the last heartbeat and a start.
pub(super) fn has_jumped(heartbeat_ms: u64, start_ms: u64) -> bool {
    match start_ms.checked_sub(heartbeat_ms) {
        Some(forth) => Duration::from_millis(forth) > OFF_MAX,
        None => Duration::from_millis(heartbeat_ms - start_ms) > SKEW,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_is_no_jump_and_a_day_or_a_step_back_is() {
        let day = millis(OFF_MAX);
        let at = 1_763_670_000_000;
        for (start, jumped) in [(at, false), (at + day, false), (at + day + 1, true), (at - 60_000, false)] {
            assert_eq!(has_jumped(at, start), jumped, "{start}");
        }
        assert!(has_jumped(at, at - 60_001) && has_jumped(at, at - 400 * day) && has_jumped(at, at + 400 * day));
    }
}
