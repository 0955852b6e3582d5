//! How many requests may be repeated at another center.
//!
//! Each request earns a fifth of a repeat, so that a center in trouble cannot double the load of the others for long. What
//! was earned is kept up to a limit: when a center dies, everything under way may be repeated at once.

use tokio::time::Instant;

/// Repeats that time alone gives back, so that an edge with little to do can always repeat.
const MINIMUM: f64 = 10.0;

/// Repeats that come back in a second, up to the minimum.
const PER_SECOND: f64 = 1.0;

/// The repeats that may be made.
#[derive(Debug)]
pub(super) struct RetryBudget {
    share: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl RetryBudget {
    /// A full one: `share` repeats for each request, `burst` at most at once.
    pub(super) fn new(share: f64, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst);
        Self { share, burst, tokens: burst, at: now }
    }

    /// Other limits from now on.
    pub(super) fn reconfigure(&mut self, share: f64, burst: u32) {
        self.share = share;
        self.burst = f64::from(burst);
        self.tokens = self.tokens.min(self.burst);
    }

    /// A request began.
    pub(super) fn earn(&mut self) {
        self.tokens = (self.tokens + self.share).min(self.burst);
    }

    /// Whether a repeat would be granted.
    pub(super) fn is_left(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= 1.0
    }

    /// Takes a repeat, if one is left.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let granted = self.is_left(now);
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }

    /// What is left.
    pub(super) fn tokens(&self) -> f64 {
        self.tokens
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        let minimum = MINIMUM.min(self.burst);
        if self.share > 0.0 && self.tokens < minimum {
            self.tokens = (self.tokens + passed * PER_SECOND).min(minimum);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(budget: &mut RetryBudget, now: Instant) -> usize {
        (0..1000).take_while(|_| budget.take(now)).count()
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_repeated() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(0.2, 50, now);
        assert_eq!(taken(&mut budget, now), 50);
        (0..101).for_each(|_| budget.earn());
        assert_eq!(taken(&mut budget, now), 20);
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!(taken(&mut budget, now), 50, "no more than at once");
    }

    #[test]
    fn time_gives_back_a_few() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(0.2, 50, now);
        taken(&mut budget, now);
        assert!(!budget.is_left(now));
        assert_eq!(taken(&mut budget, now + Duration::from_secs(3)), 3);
        assert_eq!(taken(&mut budget, now + Duration::from_secs(1000)), 10);
    }

    #[test]
    fn none_at_all_can_be_had_too() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(0.0, 0, now);
        budget.earn();
        assert!(!budget.take(now + Duration::from_secs(1000)));
    }
}
