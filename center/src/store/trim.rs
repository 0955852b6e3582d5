//! Trimming of the change logs: 7 days and at least 100,000 records are kept.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::Store;
use super::change_log::now_ms;

/// How long records are kept at least, in seconds.
const KEPT_SECONDS_MIN: u64 = 7 * 24 * 3600;

/// How many records are kept at least.
const KEPT_RECORDS_MIN: u64 = 100_000;

/// A log is looked at once for so many records.
const TRIM_EVERY: u64 = 10_000;

/// By log, the turn at which it was looked at last. Commits run beside each other, so no one of them need see its very number.
#[derive(Default)]
pub(super) struct Turns(Mutex<BTreeMap<String, u64>>);

impl Turns {
    fn is_due(&self, log: &str, seq: u64) -> bool {
        let (turn, mut turns) = (seq / TRIM_EVERY, self.0.lock());
        let last = turns.entry(log.to_owned()).or_default();
        std::mem::replace(last, turn.max(*last)) < turn
    }
}

impl Store {
    /// Trims the logs whose turn it is. A failure is logged: a long log does no harm.
    pub(super) async fn trim_sometimes(&self, logs: &[String]) {
        for log in logs {
            let due = self.log_head(log).is_some_and(|head| self.inner.turns.is_due(log, head.seq));
            let before_s = (now_ms() / 1000).saturating_sub(KEPT_SECONDS_MIN);
            if due && let Err(error) = self.inner.engine.trim(log, KEPT_RECORDS_MIN, before_s).await {
                tracing::warn!(log, %error, "the change log could not be trimmed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_turn_is_missed_where_several_records_come_at_once() {
        let turns = Turns::default();
        let asked =
            [("a", 9_999), ("a", 10_003), ("a", 10_004), ("b", 10_000), ("a", 20_001), ("a", 19_999), ("a", 20_002)];
        let due = asked.map(|(log, seq)| turns.is_due(log, seq));
        assert_eq!(due, [false, true, false, true, true, false, false]);
    }
}
