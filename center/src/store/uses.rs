//! When a version was last asked for: what retention by last use goes by. Written behind, a minute late: it decides about months.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::engine::Batch;
use super::{Store, StoreError, family, keys, now_ms};

/// How often uses are written.
const FLUSH: Duration = Duration::from_mins(1);
/// How many uses wait to be written at most; what is beyond is not noted.
const PENDING_MAX: usize = 100_000;
/// How many are written at a time.
const BATCH: usize = 1000;

/// Uses that are not written yet.
#[derive(Default)]
pub(super) struct Uses {
    pending: Mutex<HashSet<Vec<u8>>>,
}

impl Store {
    /// Notes that a version was asked for.
    pub(crate) fn used(&self, repository: &str, module: &str, version: &str) {
        let key = keys::version(repository, module, version);
        let mut pending = self.inner.uses.pending.lock();
        if pending.len() < PENDING_MAX {
            pending.insert(key);
        }
    }

    /// When a version was last asked for: Unix time in milliseconds; none if that was never noted.
    pub(crate) async fn last_use(
        &self,
        repository: &str,
        module: &str,
        version: &str,
    ) -> Result<Option<u64>, StoreError> {
        let key = keys::version(repository, module, version);
        if self.inner.uses.pending.lock().contains(&key) {
            return Ok(Some(now_ms()));
        }
        let value = self.inner.engine.get(family::USES, &key).await?;
        Ok(value.and_then(|value| <[u8; 8]>::try_from(value.as_ref()).ok()).map(u64::from_be_bytes))
    }

    /// Writes what was noted.
    pub(crate) async fn write_uses(&self) -> Result<(), StoreError> {
        let pending = std::mem::take(&mut *self.inner.uses.pending.lock());
        let pending: Vec<Vec<u8>> = pending.into_iter().collect();
        let now = Bytes::copy_from_slice(&now_ms().to_be_bytes());
        for keys in pending.chunks(BATCH) {
            let puts = keys.iter().map(|key| ((family::USES, key.clone()), now.clone()));
            let batch = Batch { puts: puts.collect(), ..Batch::default() };
            self.inner.engine.commit(&[], None, &mut |_| Ok(Some(batch.clone()))).await?;
        }
        Ok(())
    }

    /// Writes what was noted each minute, for as long as the store is open.
    pub(crate) fn write_uses_behind(&self) {
        let store = self.weak();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(FLUSH).await;
                let Some(store) = store() else { return };
                if let Err(error) = store.write_uses().await {
                    tracing::warn!(%error, "the last uses of versions could not be written");
                }
            }
        });
    }
}
