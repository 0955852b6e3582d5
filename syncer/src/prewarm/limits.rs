//! How much an edge is made to fetch: artefacts a second, bytes a day, hours of the day.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::settings::PrewarmSettings;

const DAY: Duration = Duration::from_hours(24);

/// Hours of the day, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hours {
    /// Minutes after midnight: from, and until. Equal: all day. The second may be before the first: over midnight.
    from: u64,
    until: u64,
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Ok(Self { from: 0, until: 0 });
        }
        let wrong = || format!("\"{text}\" is no time of the day as in 22:00-06:00");
        let minutes = |clock: &str| {
            let (hours, minutes) = clock.trim().split_once(':')?;
            let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
            (minutes < 60 && hours * 60 + minutes <= 1440).then_some(hours * 60 + minutes)
        };
        let (from, until) = text.split_once('-').ok_or_else(wrong)?;
        let (from, until) = (minutes(from).ok_or_else(wrong)?, minutes(until).ok_or_else(wrong)?);
        Ok(Self { from: from % 1440, until: until % 1440 })
    }
}

impl Hours {
    /// How long until they begin; none while they last.
    fn wait(self, since_midnight: Duration) -> Option<Duration> {
        let now = since_midnight.as_secs();
        let (from, until) = (self.from * 60, self.until * 60);
        let inside = match from.cmp(&until) {
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Less => (from..until).contains(&now),
            std::cmp::Ordering::Greater => now >= from || now < until,
        };
        (!inside).then(|| Duration::from_secs((from + DAY.as_secs() - now) % DAY.as_secs()))
    }
}

/// The limits of one edge, and what it has used of them.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    per_second: u64,
    bytes_per_day: u64,
    hours: Hours,
    /// When the last artefact is paid for.
    paid_until: SystemTime,
    /// Days since 1970, and the bytes of that day.
    spent: (u64, u64),
}

impl Limits {
    /// As configured, with what was spent before.
    pub(crate) fn new(settings: &PrewarmSettings, spent: (u64, u64)) -> Self {
        Self {
            per_second: settings.artefacts_per_second,
            bytes_per_day: settings.bytes_per_day.bytes(),
            // It was checked with the configuration.
            hours: settings.hours.parse().unwrap_or(Hours { from: 0, until: 0 }),
            paid_until: UNIX_EPOCH,
            spent,
        }
    }

    /// How long the edge is not to be made to fetch anything; none: go on.
    pub(crate) fn wait(&self, now: SystemTime) -> Option<Duration> {
        let (day, since_midnight) = day_of(now);
        if let Some(wait) = self.hours.wait(since_midnight) {
            return Some(wait);
        }
        if self.bytes_per_day > 0 && self.spent.0 == day && self.spent.1 >= self.bytes_per_day {
            return Some(DAY.saturating_sub(since_midnight));
        }
        self.paid_until.duration_since(now).ok().filter(|wait| !wait.is_zero())
    }

    /// It is asked for so many artefacts, each of which it may have to fetch.
    pub(crate) fn reserve(&mut self, now: SystemTime, artefacts: usize) {
        self.paid_until = self.paid_until.max(now) + self.cost(artefacts as u64);
    }

    /// Of so many artefacts that were reserved it fetched only so many. The day, and its bytes so far.
    pub(crate) fn charge(&mut self, now: SystemTime, reserved: usize, fetched: u64, bytes: u64) -> (u64, u64) {
        let (day, _) = day_of(now);
        if self.spent.0 != day {
            self.spent = (day, 0);
        }
        self.spent.1 = self.spent.1.saturating_add(bytes);
        let refund = self.cost((reserved as u64).saturating_sub(fetched));
        self.paid_until = self.paid_until.checked_sub(refund).unwrap_or(self.paid_until);
        self.spent
    }

    /// The most artefacts that may be reserved at one time: a second's.
    pub(crate) fn artefacts_max(&self) -> usize {
        if self.per_second == 0 { usize::MAX } else { usize::try_from(self.per_second).unwrap_or(usize::MAX) }
    }

    fn cost(&self, artefacts: u64) -> Duration {
        if self.per_second == 0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(artefacts as f64 / self.per_second as f64)
    }
}

fn day_of(now: SystemTime) -> (u64, Duration) {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() / DAY.as_secs(), Duration::from_secs(since.as_secs() % DAY.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64, minutes: u64) -> SystemTime {
        UNIX_EPOCH + DAY * 20_000 + Duration::from_mins(hours * 60 + minutes)
    }

    fn limits(change: impl FnOnce(&mut PrewarmSettings)) -> Limits {
        let mut settings = PrewarmSettings::default();
        change(&mut settings);
        Limits::new(&settings, (0, 0))
    }

    #[test]
    fn hours_may_go_over_midnight() {
        let night = limits(|settings| settings.hours = "22:00-06:30".into());
        assert_eq!(night.wait(at(23, 0)), None);
        assert_eq!(night.wait(at(6, 29)), None);
        assert_eq!(night.wait(at(6, 30)), Some(Duration::from_mins(15 * 60 + 30)));
        let day = limits(|settings| settings.hours = "09:00-17:00".into());
        assert_eq!((day.wait(at(9, 0)), day.wait(at(17, 0))), (None, Some(Duration::from_hours(16))));
        for wrong in ["22", "22:00", "25:00-26:00", "a:b-c:d", "10:60-11:00"] {
            assert!(wrong.parse::<Hours>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_of_a_day_are_given_back_at_midnight() {
        let mut limits = limits(|settings| settings.bytes_per_day = shared::config::ByteSize::new(100));
        limits.charge(at(10, 0), 1, 1, 99);
        assert_eq!(limits.wait(at(10, 0)), None);
        assert_eq!(limits.charge(at(23, 0), 1, 1, 1), (20_000, 100));
        assert_eq!(limits.wait(at(23, 0)), Some(Duration::from_hours(1)));
        assert_eq!(limits.wait(at(24, 0)), None);
        assert_eq!(limits.charge(at(24, 0), 1, 1, 7), (20_001, 7));
    }

    #[test]
    fn artefacts_are_paid_for_before_the_next() {
        let mut limits = limits(|settings| settings.artefacts_per_second = 10);
        limits.reserve(at(1, 0), 25);
        assert_eq!(limits.wait(at(1, 0)), Some(Duration::from_millis(2500)));
        limits.charge(at(1, 0), 25, 5, 0);
        assert_eq!(limits.wait(at(1, 0)), Some(Duration::from_millis(500)), "what was held costs nothing");
        assert_eq!(limits.wait(at(1, 1)), None);
    }
}
