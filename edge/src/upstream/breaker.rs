//! When a center is left alone.
//!
//! ```text
//!            5 failures in a row, or half of ≥ 20 requests in 10 s failed or were slow
//!   closed ───────────────────────────────────────────────────────────────────────────▶ open
//!     ▲                                                                                  │ 30 s, or its probes come back
//!     │  the trial succeeds                                                              ▼
//!     └──────────────────────────────────────────────────────────────────────────── half-open
//!                    the trial fails: open again, twice as long, 5 min at most           (one request)
//! ```
//! An operator may force it open or closed for a while. A 429 opens nothing: the center is left alone for as long as it
//! asked for. No clock is read here and no dice are thrown: the time and the jitter are passed in.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::BreakerSettings;

/// Times a first period may be doubled; the longest period ends it long before.
const DOUBLINGS_MAX: u32 = 16;

/// Whether a center may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Yes.
    Open,
    /// For one request, whose outcome decides.
    Trial,
    /// Not until then.
    Refused(Instant),
}

/// What is known of a request by the time it is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Call {
    /// It is the trial.
    pub(super) trial: bool,
    /// It was counted already, as slow.
    pub(super) slow: bool,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was answered.
    Good,
    /// It failed.
    Bad,
}

/// The state, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Requests pass.
    Closed,
    /// None pass until then.
    Open(Instant),
    /// One may pass.
    HalfOpen,
}

#[derive(Debug, Clone)]
enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// `trial` is when the one request began, if it is under way.
    HalfOpen {
        trial: Option<Instant>,
    },
}

/// A center's breaker.
#[derive(Debug, Clone)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// Failures in a row.
    in_a_row: u32,
    /// How often it opened since it was last closed.
    opened: u32,
    /// Requests by the part of the window they fell into: when it began, all, bad.
    recent: VecDeque<(Instant, u32, u32)>,
    cooling: Option<Instant>,
    forced: Option<(bool, Instant)>,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            state: State::Closed,
            in_a_row: 0,
            opened: 0,
            recent: VecDeque::new(),
            cooling: None,
            forced: None,
        }
    }

    /// Other settings from now on; the state stays.
    pub(super) fn reconfigure(&mut self, settings: BreakerSettings) {
        self.settings = settings;
    }

    /// Whether a request may pass now; nothing is taken by asking.
    pub(super) fn admission(&self, now: Instant) -> Admission {
        match self.forced(now) {
            Some((true, until)) => return Admission::Refused(until),
            Some((false, _)) => return Admission::Open,
            None => {}
        }
        if let Some(until) = self.cooling.filter(|until| *until > now) {
            return Admission::Refused(until);
        }
        match self.state {
            State::Closed => Admission::Open,
            State::Open { until } if until > now => Admission::Refused(until),
            State::Open { .. } => Admission::Trial,
            State::HalfOpen { trial } => match trial.map(|began| began + self.settings.open.get()) {
                // A trial that never ends must not keep the center away for good.
                Some(end) if end > now => Admission::Refused(end),
                Some(_) | None => Admission::Trial,
            },
        }
    }

    /// Lets a request pass, if one may. The answer is whether it is the trial.
    pub(super) fn admit(&mut self, now: Instant) -> Option<bool> {
        match self.admission(now) {
            Admission::Open => Some(false),
            Admission::Trial => {
                self.state = State::HalfOpen { trial: Some(now) };
                Some(true)
            }
            Admission::Refused(_) => None,
        }
    }

    /// Takes in what came of a request. `jitter` is from -1 to 1.
    pub(super) fn judge(&mut self, now: Instant, call: Call, verdict: Verdict, jitter: f64) {
        match (&self.state, verdict) {
            (State::HalfOpen { .. }, Verdict::Good) if call.trial => self.close(),
            (State::HalfOpen { .. }, Verdict::Bad) if call.trial => self.open(now, jitter),
            // What began before it opened says nothing about now.
            (State::Open { .. } | State::HalfOpen { .. }, _) => {}
            (State::Closed, Verdict::Good) => {
                self.in_a_row = 0;
                if !call.slow {
                    self.count(now, false, jitter);
                }
            }
            (State::Closed, Verdict::Bad) => {
                self.in_a_row += 1;
                if !call.slow {
                    self.count(now, true, jitter);
                }
                if matches!(self.state, State::Closed) && self.in_a_row >= self.settings.failures {
                    self.open(now, jitter);
                }
            }
        }
    }

    /// Takes in that a request is slow; it may still be under way.
    pub(super) fn slow(&mut self, now: Instant, jitter: f64) {
        if matches!(self.state, State::Closed) {
            self.count(now, true, jitter);
        }
    }

    /// Whether the one request is under way.
    pub(super) fn is_tried(&self, now: Instant) -> bool {
        let tried =
            matches!(self.state, State::HalfOpen { trial: Some(began) } if began + self.settings.open.get() > now);
        tried && self.forced(now).is_none()
    }

    /// The trial ended without a verdict: another request may be tried.
    pub(super) fn release(&mut self) {
        if let State::HalfOpen { trial } = &mut self.state {
            *trial = None;
        }
    }

    /// The center asked to be left alone for `pause`.
    pub(super) fn cool(&mut self, now: Instant, pause: Duration) {
        self.cooling = Some(now + pause.min(self.settings.open_max.get()));
    }

    /// Its probes are answered again after they were lost: there is no reason to wait longer for the trial.
    pub(super) fn probes_came_back(&mut self) {
        if matches!(self.state, State::Open { .. }) {
            self.state = State::HalfOpen { trial: None };
        }
    }

    /// An operator opens or closes it until then. Once that is over it is closed.
    pub(super) fn force(&mut self, open: bool, until: Instant) {
        self.close();
        self.cooling = None;
        self.forced = Some((open, until));
    }

    /// An operator leaves it to itself again.
    pub(super) fn unforce(&mut self) {
        self.forced = None;
    }

    /// What an operator forces at present, and until when: open or not.
    pub(super) fn forced(&self, now: Instant) -> Option<(bool, Instant)> {
        self.forced.filter(|(_, until)| *until > now)
    }

    /// Until when it was asked to be left alone.
    pub(super) fn cooling(&self, now: Instant) -> Option<Instant> {
        self.cooling.filter(|until| *until > now)
    }

    /// The state as it is shown.
    pub(super) fn phase(&self, now: Instant) -> Phase {
        match (self.forced(now), &self.state) {
            (Some((true, until)), _) => Phase::Open(until),
            (Some((false, _)), _) | (None, State::Closed) => Phase::Closed,
            (None, State::Open { until }) if *until > now => Phase::Open(*until),
            (None, State::Open { .. } | State::HalfOpen { .. }) => Phase::HalfOpen,
        }
    }

    fn count(&mut self, now: Instant, bad: bool, jitter: f64) {
        let window = self.settings.window.get();
        while self.recent.front().is_some_and(|(began, ..)| *began + window <= now) {
            self.recent.pop_front();
        }
        // A tenth of the window at a time, so that a thousand requests a second cost no more than one.
        match self.recent.back_mut() {
            Some((began, all, bad_ones)) if *began + window / 10 > now => {
                *all += 1;
                *bad_ones += u32::from(bad);
            }
            Some(_) | None => self.recent.push_back((now, 1, u32::from(bad))),
        }
        let (all, bad) = self.recent.iter().fold((0, 0), |(all, bad), (_, more, worse)| (all + more, bad + worse));
        if all >= self.settings.requests_min && f64::from(bad) >= self.settings.rate * f64::from(all) {
            self.open(now, jitter);
        }
    }

    fn open(&mut self, now: Instant, jitter: f64) {
        let longer = 1_u32 << self.opened.min(DOUBLINGS_MAX);
        let length = self.settings.open.get().saturating_mul(longer).min(self.settings.open_max.get());
        self.opened += 1;
        self.in_a_row = 0;
        self.recent.clear();
        self.state = State::Open { until: now + length.mul_f64(1.0 + 0.1 * jitter.clamp(-1.0, 1.0)) };
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.in_a_row = 0;
        self.opened = 0;
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests;
