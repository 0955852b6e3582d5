//! All that is known of a center's health, and the word that goes out when it turns bad.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::Instant;

use super::breaker::{Breaker, Call, Phase, Verdict};
use super::choose::Standing;
use super::route::Measured;
use super::rtt::{PeakEwma, SuccessRate, Window, millis};
use crate::config::BreakerSettings;

/// A center's health. It stays when the settings change.
#[derive(Debug)]
pub(super) struct Health {
    vitals: Mutex<Vitals>,
    in_flight: AtomicUsize,
    news: watch::Sender<News>,
}

/// What is measured.
#[derive(Debug)]
pub(super) struct Vitals {
    /// The last ten probes.
    pub(super) window: Window,
    /// Time to the first byte of real answers.
    pub(super) first_byte: PeakEwma,
    /// How many requests went well.
    pub(super) success: SuccessRate,
    /// Whether it is left alone.
    pub(super) breaker: Breaker,
    /// When its last probe ended.
    probed_at: Option<Instant>,
    /// When it is to be probed next.
    pub(super) probe_at: Instant,
    /// Whether a probe is under way.
    pub(super) probing: bool,
    /// What jitter comes from, from -1 to 1.
    pub(super) dice: fn() -> f64,
}

/// How often something happened that those who wait should know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct News {
    /// The breaker opened.
    pub(super) opened: u64,
    /// A probe was lost.
    pub(super) lost: u64,
    /// A trial ended.
    pub(super) tried: u64,
}

impl Health {
    /// Of a center about which nothing is known; it is to be probed at once.
    pub(super) fn new(settings: BreakerSettings) -> Self {
        let vitals = Vitals {
            window: Window::default(),
            first_byte: PeakEwma::default(),
            success: SuccessRate::default(),
            breaker: Breaker::new(settings),
            probed_at: None,
            probe_at: Instant::now(),
            probing: false,
            dice: || rand::random_range(-1.0..=1.0),
        };
        Self { vitals: Mutex::new(vitals), in_flight: AtomicUsize::new(0), news: watch::Sender::new(News::default()) }
    }

    /// What is measured, to read or to change.
    pub(super) fn vitals(&self) -> MutexGuard<'_, Vitals> {
        self.vitals.lock()
    }

    /// Requests that wait for it or read from it.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Lets a request pass, if one may; the answer is whether it is the trial. It is in flight until [`Self::left`].
    pub(super) fn admit(&self, now: Instant) -> Option<bool> {
        let trial = self.vitals().breaker.admit(now)?;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(trial)
    }

    /// A request is no longer in flight.
    pub(super) fn left(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// The trial went away without a verdict.
    pub(super) fn release(&self) {
        self.vitals().breaker.release();
        self.news.send_modify(|news| news.tried += 1);
    }

    /// Waits while a trial is under way that may open the way for others, `longest` at most.
    pub(super) async fn trial_ended(&self, longest: Duration) {
        let mut news = self.news();
        let ended = async { while self.vitals().breaker.is_tried(Instant::now()) && news.changed().await.is_ok() {} };
        // Whether it ended or not: who waits looks again.
        let _ = tokio::time::timeout(longest, ended).await;
    }

    /// The first byte of an answer came, or did not come in all that time.
    pub(super) fn first_byte(&self, now: Instant, took: Duration) {
        self.vitals().first_byte.observe(now, took);
    }

    /// Takes in what came of a request. The answer is the state, if it changed.
    pub(super) fn judge(&self, now: Instant, call: Call, verdict: Verdict) -> Option<Phase> {
        self.change(now, |vitals| {
            vitals.success.observe(now, verdict == Verdict::Good);
            vitals.breaker.judge(now, call, verdict, (vitals.dice)());
        })
    }

    /// Takes in that a request is slow.
    pub(super) fn slow(&self, now: Instant) -> Option<Phase> {
        self.change(now, |vitals| vitals.breaker.slow(now, (vitals.dice)()))
    }

    /// Takes in a probe: how long its answer took, or that it was lost.
    pub(super) fn probed(&self, now: Instant, took: Option<Duration>, interval: Duration) -> Option<Phase> {
        if took.is_none() {
            self.news.send_modify(|news| news.lost += 1);
        }
        self.change(now, |vitals| {
            if took.is_some() && vitals.window.last_lost() {
                vitals.breaker.probes_came_back();
            }
            vitals.window.push(took);
            vitals.probing = false;
            vitals.probed_at = Some(now);
            let pause = if vitals.window.is_settled() { interval } else { interval / 5 };
            vitals.probe_at = now + pause.mul_f64(1.0 + 0.2 * (vitals.dice)());
        })
    }

    /// Asks for a probe soon, but not within `pause` of the last one: many may doubt at once.
    pub(super) fn doubt(&self, now: Instant, pause: Duration) {
        let mut vitals = self.vitals();
        let soon = vitals.probed_at.map_or(now, |probed_at| now.max(probed_at + pause));
        vitals.probe_at = vitals.probe_at.min(soon);
    }

    /// Tells what happens from now on.
    pub(super) fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    /// Changes the breaker; the answer is its state, if that changed.
    pub(super) fn change(&self, now: Instant, change: impl FnOnce(&mut Vitals)) -> Option<Phase> {
        let mut vitals = self.vitals();
        let before = vitals.breaker.phase(now);
        change(&mut vitals);
        let after = vitals.breaker.phase(now);
        drop(vitals);
        if before == after {
            return None;
        }
        self.news.send_modify(|news| {
            news.opened += u64::from(matches!(after, Phase::Open(_)));
            news.tried += u64::from(before == Phase::HalfOpen);
        });
        Some(after)
    }

    /// What a choice and a rule must know.
    pub(super) fn standing(&self, now: Instant) -> (Standing, Measured) {
        let vitals = self.vitals();
        let estimate = vitals.window.mean().max(vitals.first_byte.value(now));
        let standing = Standing {
            center: 0,
            admission: vitals.breaker.admission(now),
            estimate,
            in_flight: self.in_flight(),
            success: vitals.success.value(now),
            weight: 1.0,
            probe_lost: vitals.window.last_lost(),
            rank: 0,
        };
        (standing, Measured { p95_ms: vitals.window.p95().map(millis), loss: vitals.window.loss() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn health() -> (Health, Instant) {
        let health = Health::new(BreakerSettings::default());
        health.vitals().dice = || 0.0;
        (health, Instant::now())
    }

    #[test]
    fn probes_are_frequent_only_while_they_bring_news() {
        let (health, now) = health();
        let pause = |took| {
            health.probed(now, took, 5 * S);
            health.vitals().probe_at - now
        };
        for _ in 0..9 {
            assert_eq!(pause(Some(S / 50)), S, "the window is not full yet");
        }
        assert_eq!(pause(Some(S / 50)), 5 * S);
        assert_eq!(pause(Some(S / 2)), S);
        assert_eq!(pause(None), S);
    }

    #[test]
    fn doubts_bring_the_next_probe_forward_and_no_more() {
        let (health, now) = health();
        for _ in 0..10 {
            health.probed(now, Some(S / 50), 5 * S);
        }
        for _ in 0..100 {
            health.doubt(now + S / 10, S);
        }
        assert_eq!(health.vitals().probe_at, now + S);
        health.doubt(now + 2 * S, S);
        assert_eq!(health.vitals().probe_at, now + S, "never put off");
        health.probed(now + 3 * S, Some(S / 50), 5 * S);
        health.doubt(now + 6 * S, S);
        assert_eq!(health.vitals().probe_at, now + 6 * S);
    }

    #[test]
    fn what_opens_the_breaker_is_told_to_those_who_wait() {
        let (health, now) = health();
        let news = health.news();
        for _ in 0..5 {
            health.judge(now, Call::default(), Verdict::Bad);
        }
        assert_eq!(*news.borrow(), News { opened: 1, lost: 0, tried: 0 });
        health.probed(now, None, S);
        health.probed(now + S, Some(S / 50), S);
        assert_eq!(health.vitals().breaker.phase(now + S), Phase::HalfOpen, "its probes came back");
        assert_eq!(health.admit(now + S), Some(true));
        health.judge(now + S, Call { trial: true, slow: false }, Verdict::Good);
        assert_eq!(*news.borrow(), News { opened: 1, lost: 1, tried: 1 });
    }

    #[test]
    fn the_estimate_is_the_worse_of_probes_and_answers() {
        let (health, now) = health();
        assert_eq!(health.standing(now).0.estimate, None);
        health.first_byte(now, S / 4);
        assert_eq!(health.standing(now).0.estimate, Some(S / 4));
        health.probed(now, Some(S / 2), S);
        assert_eq!(health.standing(now).0.estimate, Some(S / 2));
        health.first_byte(now, S);
        assert_eq!(health.standing(now).0.estimate, Some(S));
        assert_eq!(health.standing(now + 60 * S).0.estimate, Some(S / 2));
    }
}
