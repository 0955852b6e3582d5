//! How fast and how reliable a center is: the last ten probes, the time to the first byte of real answers, and how many
//! requests went well of late.
//!
//! The probes say what a center would cost that is not asked; the real answers say it sooner of the one that is. None of
//! this reads a clock: the time is passed in.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Probes that are remembered.
const WINDOW: usize = 10;

/// What a lost probe counts as.
pub(super) const LOST: Duration = Duration::from_secs(5);

/// Time after which a measurement weighs a third of what it did.
const DECAY: Duration = Duration::from_secs(10);

/// Round-trip times that differ by less are the same.
const NOISE: Duration = Duration::from_millis(10);

/// The last ten probes.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    /// Oldest first; `None` is a lost one.
    probes: VecDeque<Option<Duration>>,
}

impl Window {
    /// Takes in a probe: how long its answer took, or that none came.
    pub(super) fn push(&mut self, probe: Option<Duration>) {
        if self.probes.len() == WINDOW {
            self.probes.pop_front();
        }
        self.probes.push_back(probe.map(|took| took.min(LOST)));
    }

    /// The mean; a lost probe counts as 5 s. Nothing before the first probe.
    pub(super) fn mean(&self) -> Option<Duration> {
        let count = u32::try_from(self.probes.len()).ok().filter(|count| *count > 0)?;
        Some(self.times().sum::<Duration>() / count)
    }

    /// The 95th percentile: with ten probes, the slowest.
    pub(super) fn p95(&self) -> Option<Duration> {
        let mut times: Vec<Duration> = self.times().collect();
        times.sort_unstable();
        // The nearest rank, rounded up.
        let rank = (times.len() * 95).div_ceil(100);
        times.get(rank.checked_sub(1)?).copied()
    }

    /// The part that was lost.
    pub(super) fn loss(&self) -> f64 {
        let lost = self.probes.iter().filter(|probe| probe.is_none()).count();
        lost as f64 / self.probes.len().max(1) as f64
    }

    /// Whether the last probe was lost. Not before the first.
    pub(super) fn last_lost(&self) -> bool {
        self.probes.back().is_some_and(Option::is_none)
    }

    /// Whether the last probe says the same as those before it, so that there is no hurry for the next.
    pub(super) fn is_settled(&self) -> bool {
        let (Some(Some(last)), Some(mean)) = (self.probes.back(), self.mean()) else { return false };
        let apart = last.abs_diff(mean);
        self.probes.len() == WINDOW && (apart <= NOISE || apart <= mean / 2)
    }

    /// The probes in milliseconds, oldest first; a lost one is nothing.
    pub(super) fn millis(&self) -> Vec<Option<f64>> {
        self.probes.iter().map(|probe| probe.map(millis)).collect()
    }

    fn times(&self) -> impl Iterator<Item = Duration> {
        self.probes.iter().map(|probe| probe.unwrap_or(LOST))
    }
}

/// A duration in milliseconds, to the microsecond.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// An average that jumps up to a higher value at once and comes down with time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PeakEwma {
    /// Seconds at that time.
    last: Option<(f64, Instant)>,
}

impl PeakEwma {
    /// Takes in the time to the first byte of an answer.
    pub(super) fn observe(&mut self, now: Instant, took: Duration) {
        let took = took.as_secs_f64();
        let value = match self.last {
            Some((value, at)) if value > took => took + (value - took) * fading(at, now),
            Some(_) | None => took,
        };
        self.last = Some((value, now));
    }

    /// The value now: without new answers it fades, so that a center that is no longer asked gets another chance.
    pub(super) fn value(&self, now: Instant) -> Option<Duration> {
        self.last.map(|(value, at)| Duration::from_secs_f64(value * fading(at, now)))
    }
}

/// The part of the requests that went well, old ones fading.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SuccessRate {
    /// Good ones and all, at that time.
    last: Option<(f64, f64, Instant)>,
}

impl SuccessRate {
    /// Takes in a request.
    pub(super) fn observe(&mut self, now: Instant, good: bool) {
        let (good_before, all_before) = self.faded(now);
        self.last = Some((good_before + f64::from(u8::from(good)), all_before + 1.0, now));
    }

    /// Above 0 and up to 1: one that was good is always assumed, so that a few failures are no final judgement.
    pub(super) fn value(&self, now: Instant) -> f64 {
        let (good, all) = self.faded(now);
        (good + 1.0) / (all + 1.0)
    }

    fn faded(&self, now: Instant) -> (f64, f64) {
        let Some((good, all, at)) = self.last else { return (0.0, 0.0) };
        let part = fading(at, now);
        (good * part, all * part)
    }
}

/// What is left of a measurement.
fn fading(then: Instant, now: Instant) -> f64 {
    (-now.saturating_duration_since(then).as_secs_f64() / DECAY.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn window(probes: &[Option<u64>]) -> Window {
        let mut window = Window::default();
        for probe in probes {
            window.push(probe.map(Duration::from_millis));
        }
        window
    }

    #[test]
    fn the_window_holds_ten_and_a_lost_one_counts_five_seconds() {
        assert_eq!(window(&[]).mean(), None);
        assert_eq!(window(&[Some(10), Some(30)]).mean(), Some(20 * MS));
        assert_eq!(window(&[Some(10), None]).mean(), Some(2505 * MS));
        let full: Vec<_> = [Some(4000); 5].into_iter().chain([Some(20); 10]).collect();
        assert_eq!(window(&full).mean(), Some(20 * MS));
        assert_eq!(window(&[Some(60_000)]).mean(), Some(LOST));
    }

    #[test]
    fn loss_and_the_slow_end_come_from_the_same_window() {
        let mut nine = vec![Some(20); 9];
        nine.push(None);
        let lossy = window(&nine);
        assert!((lossy.loss() - 0.1).abs() < 1e-9 && lossy.last_lost());
        assert_eq!(lossy.p95(), Some(LOST));
        assert_eq!(window(&[Some(20), Some(80)]).p95(), Some(80 * MS));
        assert_eq!(window(&[]).p95(), None);
        assert!((window(&[]).loss() - 0.0).abs() < 1e-9 && !window(&[]).last_lost());
    }

    #[test]
    fn a_window_is_settled_when_the_last_probe_is_no_news() {
        assert!(!window(&[Some(20); 9]).is_settled());
        assert!(window(&[Some(20); 10]).is_settled());
        let mut changed = window(&[Some(20); 10]);
        changed.push(Some(25 * MS));
        assert!(changed.is_settled());
        changed.push(Some(500 * MS));
        assert!(!changed.is_settled());
        changed.push(None);
        assert!(!changed.is_settled());
        let mut better = window(&[Some(500); 10]);
        better.push(Some(20 * MS));
        assert!(!better.is_settled());
    }

    #[test]
    fn the_average_jumps_up_at_once_and_comes_down_slowly() {
        let start = Instant::now();
        let mut ewma = PeakEwma::default();
        assert_eq!(ewma.value(start), None);
        ewma.observe(start, 20 * MS);
        ewma.observe(start + MS, 500 * MS);
        assert_eq!(ewma.value(start + MS), Some(500 * MS));
        ewma.observe(start + 1000 * MS, 20 * MS);
        let after = ewma.value(start + 1000 * MS).unwrap();
        assert!(after > 440 * MS && after < 460 * MS, "{after:?}");
        let later = ewma.value(start + 31_000 * MS).unwrap();
        assert!(later > 15 * MS && later < 30 * MS, "{later:?}");
    }

    #[test]
    fn failures_lower_the_rate_and_are_forgotten() {
        let start = Instant::now();
        let mut rate = SuccessRate::default();
        assert!((rate.value(start) - 1.0).abs() < 1e-9);
        (0..3).for_each(|_| rate.observe(start, false));
        assert!((rate.value(start) - 0.25).abs() < 1e-9);
        assert!(rate.value(start + Duration::from_mins(1)) > 0.99);
    }
}
