//! How long to wait before trying again: doubling, capped, and jittered so that many do not return at once.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(5);

/// Where jitter comes from: numbers from 0 to below 1. A simulation has its own.
pub type Jitter = Box<dyn FnMut() -> f64 + Send + Sync>;

/// Jitter that nobody foresees.
pub fn random() -> Jitter {
    Box::new(rand::random::<f64>)
}

/// The waits of one thing that is tried again and again.
pub struct Backoff {
    failures: u32,
    jitter: Jitter,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(random())
    }
}

impl Backoff {
    /// Waits with this jitter.
    pub fn new(jitter: Jitter) -> Self {
        Self { failures: 0, jitter }
    }

    /// The next wait: between half and all of the doubled one, never above [`LONGEST`].
    #[expect(clippy::should_implement_trait, reason = "it never ends, and nothing iterates over it")]
    pub fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + (self.jitter)() / 2.0)
    }

    /// It worked: the next failure is a first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_cap_and_start_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next()).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits[3] >= FIRST * 4 && waits[3] <= FIRST * 8);
        assert!(waits[10..].iter().all(|wait| *wait >= LONGEST / 2 && *wait <= LONGEST));
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
