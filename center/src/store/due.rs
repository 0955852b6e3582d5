//! When a work was last begun, by any replica.

use std::time::Duration;

use super::change_log::encode;
use super::engine::Batch;
use super::metadata::decode;
use super::{Store, StoreError, family, now_ms};

impl Store {
    /// Whether a work is due that is done once in an interval; if so, it counts as begun. Never with an interval of zero. The first
    /// time, an interval begins: a center that has just been set up has nothing to clear away.
    pub(crate) async fn is_due(&self, work: &str, interval: Duration) -> Result<bool, StoreError> {
        if interval.is_zero() {
            return Ok(false);
        }
        let place = (family::UPKEEP, work.as_bytes().to_vec());
        let mut is_due = false;
        let decide = &mut |found: Vec<Option<bytes::Bytes>>| {
            let begun: Option<u64> =
                found.into_iter().next().flatten().map(|value| decode(&place.1, &value)).transpose()?;
            let now = now_ms();
            is_due = begun.is_some_and(|begun| u128::from(now.saturating_sub(begun)) >= interval.as_millis());
            let puts = vec![(place.clone(), encode(&now).into())];
            // A clock that was put back must not put the work off for as long.
            let is_ahead = begun.is_some_and(|begun| begun > now);
            Ok((is_due || is_ahead || begun.is_none()).then(|| Batch { puts, ..Batch::default() }))
        };
        self.inner.engine.commit(std::slice::from_ref(&place), None, decide).await?;
        Ok(is_due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreConfig;

    #[tokio::test]
    async fn a_work_is_due_once_in_an_interval() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::new(folder.path().to_owned())).unwrap();
        let (long, short) = (Duration::from_hours(1), Duration::from_millis(1));
        assert!(!store.is_due("gc", long).await.unwrap(), "an interval begins");
        tokio::time::sleep(short * 2).await;
        assert!(!store.is_due("gc", Duration::ZERO).await.unwrap(), "never");
        assert!(!store.is_due("gc", long).await.unwrap());
        let other = store.clone();
        let both = tokio::join!(store.is_due("gc", short), other.is_due("gc", Duration::from_millis(2)));
        let done = [both.0.unwrap(), both.1.unwrap()];
        assert!(done.contains(&true), "{done:?}");
        assert!(!store.is_due("retention", short).await.unwrap(), "each for itself");
    }
}
