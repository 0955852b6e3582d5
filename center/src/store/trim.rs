//! Trimming of the change logs: 7 days and at least 100,000 records are kept.

use super::Store;
use super::change_log::now_ms;

/// How long records are kept at least, in seconds.
const KEPT_SECONDS_MIN: u64 = 7 * 24 * 3600;

/// How many records are kept at least.
const KEPT_RECORDS_MIN: u64 = 100_000;

/// A log is looked at each time its number is a multiple of this.
const TRIM_EVERY: u64 = 10_000;

impl Store {
    /// Trims the logs whose turn it is. A failure is logged: a long log does no harm.
    pub(super) async fn trim_sometimes(&self, logs: &[String]) {
        for log in logs {
            let due = self.log_head(log).is_some_and(|head| head.seq > 0 && head.seq.is_multiple_of(TRIM_EVERY));
            let before_s = (now_ms() / 1000).saturating_sub(KEPT_SECONDS_MIN);
            if due && let Err(error) = self.inner.engine.trim(log, KEPT_RECORDS_MIN, before_s).await {
                tracing::warn!(log, %error, "the change log could not be trimmed");
            }
        }
    }
}
