//! When a server is left alone, and in which order servers are asked.
//!
//! ```text
//!            5 failures in a row, or a hash that is not the recorded one
//!   closed ────────────────────────────────────────────────────────────▶ open: 30 s, then twice as long, 5 min at most
//!     ▲                                                                        │
//!     └── the one request that is let through succeeds ◀───────────────────────┘
//! ```
//! A server that asks for a pause gets it. No clock is read here and no dice are thrown: the time and the jitter are passed in.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Times the first period may be doubled; the longest period ends it long before.
const DOUBLINGS_MAX: u32 = 16;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BreakerPolicy {
    /// Failures in a row that open it.
    pub(crate) failures: u32,
    /// How long it is open at first.
    pub(crate) open: Duration,
    /// How long it is open at most.
    pub(crate) open_max: Duration,
}

/// One server's breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    policy: BreakerPolicy,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Failures in a row.
    in_a_row: u32,
    /// How often it opened since a request succeeded.
    opened: u32,
    /// None: closed. Otherwise nothing passes until then, and then one request.
    until: Option<Instant>,
    /// When that one began.
    trial: Option<Instant>,
    /// The server asked to be left alone until then.
    pause: Option<Instant>,
    last_failure: Option<Instant>,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: Mutex::default() }
    }

    /// Whether it follows this policy.
    pub(super) fn follows(&self, policy: BreakerPolicy) -> bool {
        self.policy == policy
    }

    /// Until when nothing passes, if it does not.
    pub(super) fn refused_until(&self, now: Instant) -> Option<Instant> {
        let state = self.state.lock();
        // A trial that never ends must not keep the server away for good.
        let trial = state.until.and(state.trial).map(|began| began + self.policy.open);
        [state.pause, state.until, trial].into_iter().flatten().filter(|until| *until > now).max()
    }

    /// Lets a request pass, if one may.
    pub(super) fn admit(&self, now: Instant) -> bool {
        if self.refused_until(now).is_some() {
            return false;
        }
        let mut state = self.state.lock();
        if state.until.is_some() {
            state.trial = Some(now);
        }
        true
    }

    /// Whether it failed a short while ago: others are asked before it.
    pub(super) fn is_doubtful(&self, now: Instant) -> bool {
        let state = self.state.lock();
        state.in_a_row > 0 && state.last_failure.is_some_and(|at| at + self.policy.open > now)
    }

    /// A request was answered.
    pub(super) fn succeeded(&self) {
        *self.state.lock() = State::default();
    }

    /// A request failed. `jitter` is from -1 to 1.
    pub(super) fn failed(&self, now: Instant, jitter: f64) {
        let mut state = self.state.lock();
        state.last_failure = Some(now);
        let was_trial = state.trial.take().is_some();
        if state.until.is_some() && !was_trial {
            // What began before it opened says nothing about now.
            return;
        }
        state.in_a_row = state.in_a_row.saturating_add(1);
        if was_trial || state.in_a_row >= self.policy.failures {
            self.open(&mut state, now, jitter);
        }
    }

    /// What it sent is not what is recorded: it is not asked again for a while.
    pub(super) fn lied(&self, now: Instant, jitter: f64) {
        let mut state = self.state.lock();
        state.last_failure = Some(now);
        state.in_a_row = state.in_a_row.saturating_add(1);
        self.open(&mut state, now, jitter);
    }

    /// The server asked to be left alone.
    pub(super) fn pause(&self, now: Instant, pause: Duration) {
        let mut state = self.state.lock();
        state.trial = None;
        state.pause = Some(now + pause.min(self.policy.open_max));
    }

    /// The state, for figures: `closed`, `open`, `half_open`.
    pub(super) fn phase(&self, now: Instant) -> &'static str {
        match self.state.lock().until {
            None => "closed",
            Some(until) if until > now => "open",
            Some(_) => "half_open",
        }
    }

    fn open(&self, state: &mut State, now: Instant, jitter: f64) {
        let length = self.policy.open.saturating_mul(1 << state.opened.min(DOUBLINGS_MAX)).min(self.policy.open_max);
        state.opened = state.opened.saturating_add(1);
        state.until = Some(now + length.mul_f64(1.0 + 0.1 * jitter.clamp(-1.0, 1.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const POLICY: BreakerPolicy =
        BreakerPolicy { failures: 5, open: Duration::from_secs(30), open_max: Duration::from_mins(5) };

    #[test]
    fn five_failures_in_a_row_open_it_and_one_request_tries_again() {
        let (breaker, start) = (Breaker::new(POLICY), Instant::now());
        for _ in 0..4 {
            breaker.failed(start, 0.0);
        }
        breaker.succeeded();
        for _ in 0..4 {
            assert!(breaker.admit(start));
            breaker.failed(start, 0.0);
        }
        assert!(breaker.admit(start) && breaker.is_doubtful(start));
        breaker.failed(start, 0.0);
        assert_eq!(breaker.phase(start), "open");
        assert!(!breaker.admit(start + 29 * SECOND));
        let later = start + 31 * SECOND;
        assert!(breaker.admit(later), "the trial");
        assert!(!breaker.admit(later), "only one");
        assert_eq!(breaker.phase(later), "half_open");
        breaker.succeeded();
        assert!(breaker.admit(later) && breaker.admit(later) && !breaker.is_doubtful(later));
    }

    #[test]
    fn each_failed_trial_doubles_the_wait_up_to_five_minutes() {
        let (breaker, mut now) = (Breaker::new(POLICY), Instant::now());
        (0..5).for_each(|_| breaker.failed(now, 0.0));
        for seconds in [30, 60, 120, 240, 300, 300] {
            assert!(!breaker.admit(now + (seconds - 1) * SECOND), "{seconds}");
            now += seconds * SECOND;
            assert!(breaker.admit(now), "{seconds}");
            breaker.failed(now, 0.0);
        }
    }

    #[test]
    fn a_trial_that_is_forgotten_is_not_waited_for_for_ever() {
        let (breaker, start) = (Breaker::new(POLICY), Instant::now());
        breaker.lied(start, 1.0);
        assert!(!breaker.admit(start + 32 * SECOND), "jittered");
        assert!(breaker.admit(start + 34 * SECOND));
        assert!(!breaker.admit(start + 60 * SECOND));
        assert!(breaker.admit(start + 65 * SECOND));
    }

    #[test]
    fn a_pause_is_kept_within_reason() {
        let (breaker, start) = (Breaker::new(POLICY), Instant::now());
        breaker.pause(start, 7 * SECOND);
        assert!(!breaker.admit(start + 6 * SECOND) && breaker.admit(start + 7 * SECOND));
        breaker.pause(start, 90_000 * SECOND);
        assert!(breaker.admit(start + 301 * SECOND));
    }
}
