//! How many requests may be repeated.
//!
//! Each request earns a fifth of a repeat, so that a server in trouble does not get twice the load. What was earned is kept up to
//! a limit; a few come back with time, so that a center with little to do can always repeat.

use parking_lot::Mutex;
use tokio::time::Instant;

/// What a request earns.
const SHARE: f64 = 0.2;
/// What is kept at most.
const KEPT_MAX: f64 = 50.0;
/// Repeats that come back in a second, up to [`IDLE_MAX`].
const PER_SECOND: f64 = 1.0;
/// Repeats that time alone gives back.
const IDLE_MAX: f64 = 10.0;

/// The repeats that may be made.
#[derive(Debug)]
pub(super) struct RetryBudget {
    state: Mutex<(f64, Instant)>,
}

impl RetryBudget {
    /// A full one.
    pub(super) fn new(now: Instant) -> Self {
        Self { state: Mutex::new((KEPT_MAX, now)) }
    }

    /// A request began.
    pub(super) fn earn(&self) {
        let mut state = self.state.lock();
        state.0 = (state.0 + SHARE).min(KEPT_MAX);
    }

    /// Takes a repeat, if one is left.
    pub(super) fn take(&self, now: Instant) -> bool {
        let (tokens, at) = &mut *self.state.lock();
        let passed = now.saturating_duration_since(*at).as_secs_f64();
        *at = now;
        if *tokens < IDLE_MAX {
            *tokens = (*tokens + passed * PER_SECOND).min(IDLE_MAX);
        }
        let granted = *tokens >= 1.0;
        if granted {
            *tokens -= 1.0;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fifth_of_the_requests_may_be_repeated_and_a_few_after_a_while() {
        let start = Instant::now();
        let budget = RetryBudget::new(start);
        let taken = |now| (0..1000).take_while(|_| budget.take(now)).count();
        assert_eq!(taken(start), 50);
        (0..101).for_each(|_| budget.earn());
        assert_eq!(taken(start), 20);
        assert_eq!(taken(start + Duration::from_secs(3)), 3);
        assert_eq!(taken(start + Duration::from_secs(1000)), 10);
    }
}
