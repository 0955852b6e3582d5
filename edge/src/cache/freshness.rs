//! Whether a held answer may be given: a pure function of what is known of it and of the time. No I/O, no clock.
//!
//! | artefact | memory tier | disk tier | after |
//! |---|---|---|---|
//! | immutable | until evicted | until evicted or tombstoned | – |
//! | mutable, change channel unhealthy | 30 s | 60 s | stale-while-revalidate 1 h, stale-if-error 7 d |
//! | mutable, hot module | 30 s | 15 min | same |
//! | mutable, stable module (unchanged for 30 d) | 30 s | 72 h | same |
//! | mutable, other | 30 s | 5 min | same |
//! | mutable, made stale by a change | – | – | stale-if-error 7 d: what changed must not be served as if it had not |
//! | negative | – | 60 s | none |
//!
//! The memory tier's 30 s is not an end: after it the disk tier's row is looked at again, which may be fresh still.
//!
//! **Jitter**: a mutable's period is shorter by 0 to 10 %, always by the same share for the same key, so that what was stored together is
//! not refreshed together. **Unknown age**: what was stored before the clock jumped (see [`super::clock`]) counts as just past its period,
//! whatever the numbers say: it is given and refreshed behind, and nothing expires all at once.

use std::time::Duration;

use super::clock::SKEW;

/// The periods of the table above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FreshnessPolicy {
    /// Longest time in memory before the disk tier's row is looked at again.
    pub(crate) memory: Duration,
    /// Mutables of a module that is asked often.
    pub(crate) hot: Duration,
    /// Mutables of a module that has not changed for [`FreshnessPolicy::stable_after`].
    pub(crate) stable: Duration,
    /// When a module counts as stable.
    pub(crate) stable_after: Duration,
    /// Mutables of any other module.
    pub(crate) other: Duration,
    /// Mutables while changes do not arrive.
    pub(crate) unhealthy: Duration,
    /// A recorded "not found".
    pub(crate) negative: Duration,
    /// After its period, an answer is still given for this long while it is refreshed behind.
    pub(crate) stale_while_revalidate: Duration,
    /// After its period, an answer is still given for this long while nobody can be asked.
    pub(crate) stale_if_error: Duration,
}

impl Default for FreshnessPolicy {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        Self {
            memory: Duration::from_secs(30),
            hot: Duration::from_mins(15),
            stable: Duration::from_secs(72 * HOUR),
            stable_after: Duration::from_secs(30 * 24 * HOUR),
            other: Duration::from_mins(5),
            unhealthy: Duration::from_mins(1),
            negative: Duration::from_mins(1),
            stale_while_revalidate: Duration::from_secs(HOUR),
            stale_if_error: Duration::from_secs(7 * 24 * HOUR),
        }
    }
}

/// What may be done with a held answer. Ordered: later is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Freshness {
    /// Give it.
    Fresh,
    /// Give it, and refresh behind.
    Stale,
    /// Ask first; give it only when nobody can be asked.
    StaleIfError,
    /// Ask first, and do not give it; its digest may still be confirmed by a 304.
    Expired,
}

/// What kind of answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A version's own file.
    Immutable,
    /// A list or a query.
    Mutable {
        /// Whether its module is asked often.
        hot: bool,
        /// Whether a change made it stale.
        changed: bool,
    },
    /// A recorded "not found".
    Negative,
}

/// What is known of a held answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) class: Class,
    /// Unix milliseconds: stored, or last confirmed.
    pub(super) stored_at_ms: u64,
    /// Whether the clock has run on since then, as far as is known.
    pub(super) age_known: bool,
    /// By how many thousandths its period is shorter than the table says.
    pub(super) early_permille: u32,
    /// Unix milliseconds: when the answer last became another one.
    pub(super) last_change_ms: u64,
    /// Whether changes arrive.
    pub(super) channel_healthy: bool,
}

/// The largest part of a mutable's period that it is shortened by.
const EARLY_PERMILLE_MAX: u64 = 100;

/// The table.
pub(super) fn freshness(facts: &Facts, policy: &FreshnessPolicy, now_ms: u64) -> Freshness {
    let (period, changed) = match facts.class {
        Class::Immutable => return Freshness::Fresh,
        Class::Negative => {
            return if age(facts, policy.negative, now_ms) < policy.negative {
                Freshness::Fresh
            } else {
                Freshness::Expired
            };
        }
        Class::Mutable { hot, changed } => (period(facts, hot, policy, now_ms), changed),
    };
    let age = age(facts, period, now_ms);
    if age >= period + policy.stale_if_error {
        Freshness::Expired
    } else if changed || age >= period + policy.stale_while_revalidate {
        Freshness::StaleIfError
    } else if age >= period {
        Freshness::Stale
    } else {
        Freshness::Fresh
    }
}

/// Whether the memory tier's own period is over, and the disk tier's row must be looked at again.
pub(super) fn is_over_in_memory(promoted_at_ms: u64, policy: &FreshnessPolicy, now_ms: u64) -> bool {
    now_ms.checked_sub(promoted_at_ms).is_none_or(|age| Duration::from_millis(age) >= policy.memory)
}

/// By how many thousandths the period of the key with this hash is shortened.
pub(super) fn early_permille(key_hash: u64) -> u32 {
    u32::try_from(key_hash % (EARLY_PERMILLE_MAX + 1)).unwrap_or_default()
}

fn period(facts: &Facts, hot: bool, policy: &FreshnessPolicy, now_ms: u64) -> Duration {
    let unchanged = Duration::from_millis(now_ms.saturating_sub(facts.last_change_ms));
    let whole = if !facts.channel_healthy {
        policy.unhealthy
    } else if hot {
        policy.hot
    } else if unchanged >= policy.stable_after {
        policy.stable
    } else {
        policy.other
    };
    whole * 1000_u32.saturating_sub(facts.early_permille) / 1000
}

/// A little time in the future is no age: the clock was set back by less than is worth a doubt. Of more the age is unknown.
fn age(facts: &Facts, period: Duration, now_ms: u64) -> Duration {
    let ahead = Duration::from_millis(facts.stored_at_ms.saturating_sub(now_ms));
    if !facts.age_known || ahead > SKEW {
        period
    } else {
        Duration::from_millis(now_ms.saturating_sub(facts.stored_at_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_763_670_000_000;
    const SECOND: u64 = 1000;
    const HOUR: u64 = 3600 * SECOND;
    const DAY: u64 = 24 * HOUR;

    fn mutable(age_ms: u64) -> Facts {
        let class = Class::Mutable { hot: false, changed: false };
        Facts {
            class,
            stored_at_ms: NOW - age_ms,
            age_known: true,
            early_permille: 0,
            last_change_ms: NOW - DAY,
            channel_healthy: true,
        }
    }

    fn judge(facts: &Facts) -> Freshness {
        freshness(facts, &FreshnessPolicy::default(), NOW)
    }

    /// Row, kind, its period in ms, what comes just past it.
    type Row = (&'static str, fn(Facts) -> Facts, u64, Freshness);

    #[test]
    fn the_table() {
        use Freshness::{Expired, Fresh, Stale, StaleIfError};
        let hot = |facts: Facts| Facts { class: Class::Mutable { hot: true, changed: false }, ..facts };
        let stable = |facts: Facts| Facts { last_change_ms: NOW - 30 * DAY, ..facts };
        let unhealthy = |facts: Facts| Facts { channel_healthy: false, ..facts };
        let changed = |facts: Facts| Facts { class: Class::Mutable { hot: false, changed: true }, ..facts };
        let negative = |facts: Facts| Facts { class: Class::Negative, ..facts };
        let immutable = |facts: Facts| Facts { class: Class::Immutable, ..facts };
        let other = |facts: Facts| facts;
        let rows: [Row; 6] = [
            ("other", other, 300 * SECOND, Stale),
            ("hot", hot, 900 * SECOND, Stale),
            ("stable", stable, 72 * HOUR, Stale),
            ("unhealthy", unhealthy, 60 * SECOND, Stale),
            (
                "unhealthy beats hot",
                |f| Facts { channel_healthy: false, class: Class::Mutable { hot: true, changed: false }, ..f },
                60 * SECOND,
                Stale,
            ),
            ("negative", negative, 60 * SECOND, Expired),
        ];
        for (name, kind, period, after) in rows {
            assert_eq!(judge(&kind(mutable(0))), Fresh, "{name}");
            assert_eq!(judge(&kind(mutable(period - 1))), Fresh, "{name}");
            assert_eq!(judge(&kind(mutable(period))), after, "{name}");
            if after == Stale {
                assert_eq!(judge(&kind(mutable(period + HOUR - 1))), Stale, "{name}");
                assert_eq!(judge(&kind(mutable(period + HOUR))), StaleIfError, "{name}");
                assert_eq!(judge(&kind(mutable(period + 7 * DAY - 1))), StaleIfError, "{name}");
                assert_eq!(judge(&kind(mutable(period + 7 * DAY))), Expired, "{name}");
            }
        }
        assert_eq!(judge(&changed(mutable(0))), StaleIfError);
        assert_eq!(judge(&changed(mutable(300 * SECOND + 7 * DAY))), Expired);
        assert_eq!(judge(&immutable(mutable(4000 * DAY))), Fresh);
    }

    #[test]
    fn the_memory_period() {
        let policy = FreshnessPolicy::default();
        assert!(!is_over_in_memory(NOW - 29_999, &policy, NOW));
        assert!(is_over_in_memory(NOW - 30_000, &policy, NOW));
        assert!(is_over_in_memory(NOW + DAY, &policy, NOW));
    }

    #[test]
    fn a_clock_set_back_expires_nothing() {
        let from_the_future = |ms| Facts { stored_at_ms: NOW + ms, ..mutable(0) };
        assert_eq!(judge(&from_the_future(30 * SECOND)), Freshness::Fresh);
        assert_eq!(judge(&from_the_future(400 * DAY)), Freshness::Stale);
        let negative = Facts { class: Class::Negative, ..from_the_future(400 * DAY) };
        assert_eq!(judge(&negative), Freshness::Expired);
    }

    #[test]
    fn what_has_no_known_age_is_given_and_refreshed() {
        for stored_ago in [0, 400 * DAY] {
            let unknown = Facts { age_known: false, ..mutable(stored_ago) };
            assert_eq!(judge(&unknown), Freshness::Stale);
            let changed = Class::Mutable { hot: true, changed: true };
            assert_eq!(judge(&Facts { class: changed, ..unknown }), Freshness::StaleIfError);
            assert_eq!(judge(&Facts { class: Class::Negative, ..unknown }), Freshness::Expired);
            assert_eq!(judge(&Facts { class: Class::Immutable, ..unknown }), Freshness::Fresh);
        }
    }

    #[test]
    fn periods_are_shortened_by_a_tenth_at_most_and_spread() {
        let shares: Vec<u32> = (0..1000_u64).map(|i| early_permille(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        assert!(shares.iter().all(|share| *share <= 100));
        // What was stored together ends in each part of the last tenth, and no part takes more than its share by far.
        for part in 0..10 {
            let within = shares.iter().filter(|share| **share / 10 == part).count();
            assert!((50..200).contains(&within), "{part}: {within}");
        }
        let early = Facts { early_permille: 100, ..mutable(270 * SECOND) };
        assert_eq!(judge(&early), Freshness::Stale);
        assert_eq!(judge(&Facts { stored_at_ms: NOW - 270 * SECOND + 1, ..early }), Freshness::Fresh);
        assert_eq!(judge(&Facts { early_permille: 99, ..early }), Freshness::Fresh);
    }

    /// xorshift: enough to walk the space, and the same walk every time.
    fn walk(mut seed: u64) -> impl FnMut(u64) -> u64 {
        move |bound| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % bound
        }
    }

    #[test]
    fn more_age_is_never_fresher_and_worse_facts_never_help() {
        let policy = FreshnessPolicy::default();
        let mut next = walk(0x9e37_79b9_7f4a_7c15);
        for _ in 0..200_000 {
            let class = match next(3) {
                0 => Class::Negative,
                1 => Class::Immutable,
                _ => Class::Mutable { hot: next(2) == 0, changed: next(2) == 0 },
            };
            let facts = Facts {
                class,
                stored_at_ms: NOW - next(10 * DAY),
                age_known: next(8) > 0,
                early_permille: u32::try_from(next(101)).unwrap(),
                last_change_ms: NOW - next(60 * DAY),
                channel_healthy: next(2) == 0,
            };
            let older = Facts { stored_at_ms: facts.stored_at_ms - next(DAY), ..facts };
            assert!(judge(&older) >= judge(&facts), "{facts:?} {older:?}");
            let unhealthy = Facts { channel_healthy: false, ..facts };
            assert!(judge(&unhealthy) >= judge(&facts), "{facts:?}");
            // A stable module's long period begins at 30 days without a change; until then, time only takes away.
            let later = NOW + next(DAY);
            let stays = |now| now - facts.last_change_ms >= 30 * DAY;
            if stays(NOW) == stays(later) {
                assert!(freshness(&facts, &policy, later) >= judge(&facts), "{facts:?} {later}");
            }
        }
    }
}
