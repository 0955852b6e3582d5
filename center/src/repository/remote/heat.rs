//! Which lists are asked so often that they are refreshed before anybody has to wait for it.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::{FlightKey, is_within, millis};
use crate::store::now_ms;

/// Requests in one period that make an artefact hot.
const REQUESTS_MIN: u32 = 10;
/// Artefacts that are counted at a time.
const COUNTED_MAX: usize = 10_000;

/// Counts of the running period.
#[derive(Debug, Default)]
pub(crate) struct Heat {
    /// When its period began, in Unix milliseconds, and the requests since.
    counts: Mutex<HashMap<FlightKey, (u64, u32)>>,
}

impl Heat {
    /// Counts a request that is answered from what was fetched at `fetched_ms` and holds for `period`. True if now is the time
    /// to refresh it: it is asked often, and the last quarter of its period runs.
    pub(crate) fn is_due(&self, key: &FlightKey, fetched_ms: u64, period: Duration) -> bool {
        let mut counts = self.counts.lock();
        if counts.len() >= COUNTED_MAX && !counts.contains_key(key) {
            counts.retain(|_, (since, _)| is_within(*since, period));
            if counts.len() >= COUNTED_MAX {
                return false;
            }
        }
        let (since, requests) = counts.entry(key.clone()).or_insert((now_ms(), 0));
        if !is_within(*since, period) {
            (*since, *requests) = (now_ms(), 0);
        }
        *requests += 1;
        let is_old = now_ms().saturating_sub(fetched_ms) >= millis(period) / 4 * 3;
        let is_due = is_old && *requests >= REQUESTS_MIN;
        if is_due {
            // An upstream that fails is not asked at every request from now on.
            counts.remove(key);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use shared::artefact::Artefact;
    use shared::module::ModulePath;

    use super::*;

    #[test]
    fn only_what_is_asked_often_is_refreshed_and_only_near_its_end() {
        let (heat, period) = (Heat::default(), Duration::from_secs(100));
        let key = (ModulePath::new("example.com/a").unwrap(), Artefact::List);
        let (young, old) = (now_ms() - 10_000, now_ms() - 80_000);
        assert_eq!((0..20).filter(|_| heat.is_due(&key, young, period)).count(), 0);
        assert!(heat.is_due(&key, old, period), "asked often before");
        assert_eq!((0..29).filter(|_| heat.is_due(&key, old, period)).count(), 2, "once in ten requests");
    }
}
