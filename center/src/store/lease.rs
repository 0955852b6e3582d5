//! One at a time, among all replicas.
//!
//! Within one process the flights see to that. Between processes a lease does: it is renewed while the work runs, and whoever
//! finds it expired takes it over. What is committed within the work is fenced by it: a holder that was away for too long (stopped,
//! cut off from the database) finds its commits refused.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use super::engine::Fence;
use super::{Store, StoreError};

/// How often a lease of ten seconds is renewed.
const RENEWAL: Duration = Duration::from_secs(3);
/// How often a lease that somebody else holds is asked for.
const POLL: Duration = Duration::from_millis(100);
/// How long a lease is waited for. Whoever still holds it then is slow but alive; the work is done twice, and the commit, which
/// checks everything anew, sees to it that it counts once.
const PATIENCE: Duration = Duration::from_secs(15);

tokio::task_local! {
    /// The lease under which this task works.
    static FENCE: Option<Fence>;
}

/// The lease that fences what this task commits, if it works under one.
pub(super) fn fence() -> Option<Fence> {
    FENCE.try_with(Clone::clone).unwrap_or_default()
}

impl Store {
    /// Does a work that no other replica does at the same time. What it commits, on the task that it is awaited on, is refused with
    /// [`StoreError::Fenced`] once another replica has taken over.
    ///
    /// When the work begins, whoever did it before is done: it should look whether there is still something to do.
    pub(crate) async fn alone<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, StoreError> {
        let Some(fence) = self.take(what).await? else { return Ok(work.await) };
        let work = FENCE.scope(Some(fence.clone()), work);
        // Beside the work, not in turns with it: a slow database must not make a fill stall.
        let done = tokio::select! {
            done = work => done,
            never = self.renew(what, &fence) => match never {},
        };
        // Otherwise it expires by itself.
        if let Err(error) = self.inner.engine.end_lease(&fence).await {
            tracing::debug!(what, %error, "a lease could not be given back");
        }
        Ok(done)
    }

    async fn renew(&self, what: &str, fence: &Fence) -> Infallible {
        loop {
            tokio::time::sleep(RENEWAL).await;
            match self.inner.engine.renew_lease(fence).await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(what, "another replica has taken over"),
                Err(error) => tracing::warn!(what, %error, "a lease could not be renewed"),
            }
        }
    }

    async fn take(&self, what: &str) -> Result<Option<Fence>, StoreError> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(fence) = self.inner.engine.take_lease(what).await? {
                return Ok(Some(fence));
            }
            tokio::time::sleep(POLL).await;
        }
        tracing::info!(what, "another replica has been at it for long; done here too");
        Ok(None)
    }
}
