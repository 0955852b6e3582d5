//! When which module is asked for anew: often where new versions come often, seldom elsewhere, and never faster than each upstream
//! bears. No input or output in it; the time is given.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

/// How fast, how slowly, and how much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Between two looks at a module that changes often.
    pub(crate) interval_min: Duration,
    /// Between two looks at one that does not.
    pub(crate) interval_max: Duration,
    /// Modules asked for of one upstream in a minute.
    pub(crate) rate_per_minute: u32,
}

/// Beyond the end of a single pass.
const ONCE: Duration = Duration::from_hours(24 * 365);

/// What a module's turns depend on.
#[derive(Debug, Clone)]
struct Watched {
    interval: Duration,
    due: Instant,
    /// The upstreams that are asked for it, as the center said the last time.
    sources: Vec<String>,
    requests: u64,
}

/// The turns of all watched modules.
#[derive(Debug)]
pub(crate) struct Schedule {
    pace: Pace,
    modules: BTreeMap<String, Watched>,
    /// Turns that each upstream has left, and when that was reckoned.
    left: HashMap<String, (f64, Instant)>,
}

impl Schedule {
    /// Watches nothing yet.
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, modules: BTreeMap::new(), left: HashMap::new() }
    }

    /// These are hot now, with their counts. One that was not is looked at first after the shortest interval: somebody has just asked for
    /// it. One that no longer is, is not looked at.
    pub(crate) fn watch(&mut self, hot: impl IntoIterator<Item = (String, u64)>, now: Instant) {
        let mut before = std::mem::take(&mut self.modules);
        for (module, requests) in hot {
            let fresh = || Watched {
                interval: self.pace.interval_min,
                due: now + self.pace.interval_min,
                sources: Vec::new(),
                requests,
            };
            let watched = Watched { requests, ..before.remove(&module).unwrap_or_else(fresh) };
            self.modules.insert(module, watched);
        }
    }

    /// Whether a module is watched.
    pub(crate) fn knows(&self, module: &str) -> bool {
        self.modules.contains_key(module)
    }

    /// Everything is due: for a single pass.
    pub(crate) fn all_due(&mut self, now: Instant) {
        // Nobody has a second turn before all had one, or it would have no end.
        (self.pace.interval_min, self.pace.interval_max) = (ONCE, ONCE);
        self.modules.values_mut().for_each(|watched| (watched.due, watched.interval) = (now, ONCE));
    }

    /// Whose turn it is, at most `count`, the most asked for first. Each takes a turn of its upstreams; who finds none left waits.
    pub(crate) fn take_due(&mut self, count: usize, now: Instant) -> Vec<String> {
        let mut due: Vec<_> = self.modules.iter().filter(|(_, watched)| watched.due <= now).collect();
        due.sort_by_key(|(_, watched)| std::cmp::Reverse(watched.requests));
        let due: Vec<(String, Vec<String>)> =
            due.into_iter().map(|(module, watched)| (module.clone(), watched.sources.clone())).collect();
        let mut taken = Vec::new();
        for (module, mut sources) in due {
            if taken.len() >= count {
                break;
            }
            if sources.is_empty() {
                // Not known before the first answer.
                sources.push(String::new());
            }
            if sources.iter().all(|source| self.refill(source, now) >= 1.0) {
                for source in &sources {
                    if let Some((left, _)) = self.left.get_mut(source) {
                        *left -= 1.0;
                    }
                }
                if let Some(watched) = self.modules.get_mut(&module) {
                    // Until its answer comes, or does not.
                    watched.due = now + watched.interval;
                }
                taken.push(module);
            }
        }
        taken
    }

    /// Whether anything is still due: it waits for a turn of its upstream.
    pub(crate) fn has_due(&self, now: Instant) -> bool {
        self.modules.values().any(|watched| watched.due <= now)
    }

    /// What came of a look. A module that changed is looked at four times as soon, one that did not a half later than before.
    pub(crate) fn looked(&mut self, module: &str, changed: bool, sources: Vec<String>, now: Instant) {
        let pace = self.pace;
        let Some(watched) = self.modules.get_mut(module) else { return };
        let next = if changed { watched.interval / 4 } else { watched.interval.mul_f64(1.5) };
        watched.interval = next.clamp(pace.interval_min, pace.interval_max);
        watched.due = now + watched.interval;
        watched.sources = sources;
    }

    /// The turns that an upstream has: a minute's worth at most.
    fn refill(&mut self, source: &str, now: Instant) -> f64 {
        let full = f64::from(self.pace.rate_per_minute);
        let (left, at) = self.left.entry(source.to_owned()).or_insert((full, now));
        *left = (*left + now.duration_since(*at).as_secs_f64() * full / 60.0).min(full);
        *at = now;
        *left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const PACE: Pace = Pace { interval_min: MINUTE, interval_max: Duration::from_hours(1), rate_per_minute: 3 };

    fn hot(names: &[(&str, u64)]) -> Vec<(String, u64)> {
        names.iter().map(|(name, requests)| ((*name).to_owned(), *requests)).collect()
    }

    #[test]
    fn who_changes_often_is_looked_at_often() {
        let start = Instant::now();
        let mut schedule = Schedule::new(PACE);
        schedule.watch(hot(&[("a", 1)]), start);
        assert!(schedule.take_due(9, start).is_empty());
        let mut now = start;
        let mut interval = MINUTE;
        for _ in 0..20 {
            now += interval;
            assert_eq!(schedule.take_due(9, now), ["a"]);
            assert!(schedule.take_due(9, now).is_empty(), "its turn is taken");
            schedule.looked("a", false, vec!["up".into()], now);
            interval = interval.mul_f64(1.5).min(PACE.interval_max);
        }
        assert_eq!(interval, PACE.interval_max);
        now += interval;
        assert_eq!(schedule.take_due(9, now), ["a"]);
        schedule.looked("a", true, vec!["up".into()], now);
        assert!(!schedule.has_due(now + MINUTE * 14) && schedule.has_due(now + MINUTE * 15));
    }

    #[test]
    fn an_upstream_is_not_asked_faster_than_it_bears_and_the_most_asked_go_first() {
        let start = Instant::now();
        let mut schedule = Schedule::new(PACE);
        let names: Vec<String> = (0..9).map(|number| format!("m{number}")).collect();
        schedule.watch(names.iter().cloned().zip(1..), start);
        schedule.all_due(start);
        assert_eq!(schedule.take_due(100, start), ["m8", "m7", "m6"]);
        assert!(schedule.take_due(100, start).is_empty() && schedule.has_due(start));
        assert_eq!(schedule.take_due(100, start + MINUTE / 3), ["m5"]);
        // Turns that nobody took do not pile up.
        let mut taken = schedule.take_due(100, start + MINUTE * 50);
        taken.retain(|name| name.as_str() < "m5");
        assert!(taken.len() <= 3, "{taken:?}");
    }

    #[test]
    fn upstreams_do_not_wait_for_each_other() {
        let start = Instant::now();
        let mut schedule = Schedule::new(PACE);
        schedule.watch(hot(&[("a", 9), ("b", 8), ("c", 7), ("d", 6), ("e", 5)]), start);
        for (module, source) in [("a", "one"), ("b", "one"), ("c", "one"), ("d", "one"), ("e", "two")] {
            schedule.looked(module, false, vec![source.to_owned()], start);
        }
        schedule.all_due(start);
        assert_eq!(schedule.take_due(9, start), ["a", "b", "c", "e"]);
    }

    #[test]
    fn what_is_no_longer_hot_is_not_looked_at() {
        let start = Instant::now();
        let mut schedule = Schedule::new(PACE);
        schedule.watch(hot(&[("a", 1), ("b", 1)]), start);
        schedule.watch(hot(&[("b", 1)]), start + MINUTE);
        assert_eq!(schedule.take_due(9, start + MINUTE), ["b"]);
    }
}
