//! So many a second for each key, in bounded memory.
//!
//! The generic cell rate algorithm: of each key only the time is kept at which its allowance is whole again. That one number is the
//! key's queue as well: whoever asks is told when its turn is, behind those of its own key and of no other. A key whose
//! time has passed is like one that was never seen, so it can be forgotten. The libraries that were looked at either refuse at once, or
//! share counters among keys, so that one client would delay another.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Locks: keys that fall under different ones never meet.
const SHARDS: usize = 16;

/// Keys that are remembered under one lock; together 65,536, which take 2 MiB.
const KEYS_MAX: usize = 4096;

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// So many a second for each key; as many may come at once after a pause. How many is said with each call, so that it may change.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    hasher: RandomState,
    origin: Instant,
    /// When each key's allowance is whole again, in nanoseconds since the origin.
    shards: [Mutex<HashMap<K, u64>>; SHARDS],
}

impl<K: Copy + Eq + Hash> Rates<K> {
    /// Nothing is counted yet.
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), origin: Instant::now(), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Takes a place for `key`, of `a_second` (0: any number), and says when its turn is.
    ///
    /// # Errors
    /// How long until there is a place, if the turn would be more than `patience` away.
    pub(crate) fn reserve(&self, key: K, a_second: u32, patience: Duration) -> Result<Instant, Duration> {
        let now = Instant::now();
        let Some(interval) = interval(a_second) else { return Ok(now) };
        let now_ns = nanoseconds(now - self.origin);
        let mut shard = self.shard(&key).lock();
        let whole_again = shard.get(&key).map_or(now_ns, |at| now_ns.max(*at));
        let wait = wait(whole_again, now_ns, interval);
        if wait > patience {
            return Err(wait.saturating_sub(patience));
        }
        if shard.len() >= KEYS_MAX && !shard.contains_key(&key) {
            make_room(&mut shard, now_ns);
        }
        shard.insert(key, whole_again.saturating_add(interval));
        Ok(now + wait)
    }

    /// When the turn of `key` would be, without taking a place.
    pub(crate) fn next_turn(&self, key: K, a_second: u32) -> Instant {
        let now = Instant::now();
        let Some(interval) = interval(a_second) else { return now };
        let now_ns = nanoseconds(now - self.origin);
        self.shard(&key).lock().get(&key).map_or(now, |at| now + wait(*at, now_ns, interval))
    }

    fn shard(&self, key: &K) -> &Mutex<HashMap<K, u64>> {
        &self.shards[usize::from(self.hasher.hash_one(key).to_le_bytes()[0]) % SHARDS]
    }

    /// How many keys are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// A second's worth may come at once; what exceeds it waits.
fn wait(whole_again: u64, now: u64, interval: u64) -> Duration {
    let at_once = SECOND.saturating_sub(interval);
    Duration::from_nanos(whole_again.saturating_sub(now).saturating_sub(at_once))
}

/// Nanoseconds from one to the next.
fn interval(a_second: u32) -> Option<u64> {
    SECOND.checked_div(u64::from(a_second)).map(|interval| interval.max(1))
}

fn nanoseconds(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}

/// Forgets what need not be known; where everything must be, the eighth that has used least.
fn make_room<K: Copy + Eq + Hash>(shard: &mut HashMap<K, u64>, now: u64) {
    shard.retain(|_, whole_again| *whole_again > now);
    if shard.len() < KEYS_MAX {
        return;
    }
    let mut times: Vec<u64> = shard.values().copied().collect();
    let (_, limit, _) = times.select_nth_unstable(KEYS_MAX / 8);
    let limit = *limit;
    shard.retain(|_, whole_again| *whole_again > limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_seconds_worth_at_once_and_then_one_after_the_other() {
        let rates = Rates::new();
        let start = Instant::now();
        for number in 0..1100_u32 {
            let expected = Duration::from_millis(10) * number.saturating_sub(99);
            let turn = rates.reserve('a', 100, PATIENCE).unwrap() - start;
            assert!(turn.abs_diff(expected) < Duration::from_millis(1), "{number}: {turn:?}, not {expected:?}");
        }
        let until_there_is_a_place = rates.reserve('a', 100, PATIENCE).unwrap_err();
        assert!(until_there_is_a_place <= Duration::from_millis(10), "{until_there_is_a_place:?}");
        // Who was refused took no place.
        tokio::time::advance(Duration::from_millis(11)).await;
        assert!(rates.reserve('a', 100, PATIENCE).is_ok());
        assert!(rates.reserve('a', 100, PATIENCE).is_err());
        // After a pause all is as at first.
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(rates.reserve('a', 100, Duration::ZERO).unwrap(), Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn no_key_waits_for_another() {
        let rates = Rates::new();
        while rates.reserve(0, 1, PATIENCE).is_ok() {}
        for key in 1..1000 {
            assert_eq!(rates.next_turn(key, 1), Instant::now());
            assert_eq!(rates.reserve(key, 1, Duration::ZERO).unwrap(), Instant::now());
        }
        assert!(rates.next_turn(0, 1) > Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn a_million_keys_take_no_more_room_and_a_busy_one_is_not_forgotten() {
        let rates = Rates::new();
        while rates.reserve(0, 1, PATIENCE).is_ok() {}
        for key in 1..=1_000_000 {
            assert!(rates.reserve(key, 1, PATIENCE).is_ok());
        }
        assert!(rates.len() <= SHARDS * KEYS_MAX, "{}", rates.len());
        assert!(rates.reserve(0, 1, PATIENCE).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nought_is_no_limit_and_a_limit_may_change() {
        let rates = Rates::new();
        for _ in 0..10_000 {
            assert_eq!(rates.reserve('a', 0, Duration::ZERO).unwrap(), Instant::now());
        }
        assert!(rates.reserve('a', 1, Duration::ZERO).is_ok());
        assert!(rates.reserve('a', 1, Duration::ZERO).is_err());
        assert!(rates.reserve('a', 100, Duration::ZERO).is_err());
        assert!(rates.reserve('a', 0, Duration::ZERO).is_ok());
        tokio::time::advance(Duration::from_millis(11)).await;
        assert!(rates.reserve('a', 100, Duration::ZERO).is_ok());
    }
}
