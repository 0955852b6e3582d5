//! What the edge is made of, built once in `main` and passed by reference.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use shared::fill::{FillError, FillErrorKind, Flights, Spooled};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::access_log::AccessLog;
use crate::cache::{Cache, CommitError, Entry, Freshness, Key, Meta, Ticket};
use crate::config::Config;
use crate::invalidation::SyncState;
use crate::limit::Limits;
use crate::metrics::Metrics;
use crate::popularity::Popularity;
use crate::reload::Reloads;
use crate::respond::Signature;
use crate::serve::Tally;
use crate::server::Descriptors;
use crate::upstream::{FillHead, Upstream};

/// What became of a proven body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It may go to its readers.
    Yes,
    /// Its version was removed meanwhile: nobody may have it.
    Removed,
}

/// Everything that a request needs.
#[derive(Debug)]
pub(crate) struct App {
    /// The settings; read them through [`App::config`].
    pub(crate) settings: ArcSwap<Config>,
    /// This edge's name.
    pub(crate) edge_id: String,
    /// The same as answers carry it.
    pub(crate) signature: Signature,
    /// Both tiers.
    pub(crate) cache: Arc<Cache>,
    /// The fills under way: at most one for each key.
    pub(crate) flights: Flights<Key, FillHead>,
    /// The centers.
    pub(crate) upstream: Upstream,
    /// What it takes on at most.
    pub(crate) limits: Limits,
    /// The runtime behind the serving threads.
    pub(crate) behind: Handle,
    /// How far changes are followed.
    pub(crate) sync: SyncState,
    /// What reloading needs, and what came of it.
    pub(crate) reloads: Reloads,
    /// The figures.
    pub(crate) metrics: Metrics,
    /// Those of every request.
    pub(crate) tally: Tally,
    /// The modules asked for most.
    pub(crate) popularity: Popularity,
    /// One line for every request.
    pub(crate) access_log: AccessLog,
    /// The file descriptors of this process.
    pub(crate) descriptors: Descriptors,
    /// Set once, when the edge is to end: for how long running responses may go on. `/readyz` says 503 from then on.
    pub(crate) leaving: watch::Sender<Option<Duration>>,
    /// True while no connection is accepted and those that are idle end: when the edge ends, and while a hand-over is
    /// being decided.
    pub(crate) stopping: watch::Sender<bool>,
    /// Turns true once, when the last response is out.
    pub(crate) stopped: watch::Sender<bool>,
}

impl App {
    /// The settings as they are now; a reload replaces them as a whole.
    pub(crate) fn config(&self) -> Guard<Arc<Config>> {
        self.settings.load()
    }

    /// What the cache holds for a key: from memory at once, else from the disk without holding up this thread.
    pub(crate) async fn held(&self, key: &Key) -> Option<(Entry, Freshness)> {
        if let Some((entry, Freshness::Fresh)) = self.cache.memory(key) {
            return Some((entry, Freshness::Fresh));
        }
        self.on_disk(key).await
    }

    /// What the disk holds for a key. A fill looks here: it is no ask that makes a module hot.
    pub(crate) async fn on_disk(&self, key: &Key) -> Option<(Entry, Freshness)> {
        let (cache, key) = (Arc::clone(&self.cache), key.clone());
        let looked_up = self.behind.spawn_blocking(move || cache.disk(&key)).await;
        // A look-up that failed is a miss: the center still has the artefact.
        match looked_up {
            Ok(Ok(held)) => held,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the disk could not be asked");
                None
            }
            Err(error) => {
                tracing::error!(%error, "a look-up panicked");
                None
            }
        }
    }

    /// Stores a proven body. A disk that takes nothing is no failure of the body: it goes to its readers uncached.
    pub(crate) async fn commit(&self, ticket: Ticket, meta: Meta, spooled: Spooled) -> Result<Kept, FillError> {
        match self.with_cache(move |cache| cache.commit(ticket, meta, spooled)).await? {
            Ok(_) => Ok(Kept::Yes),
            Err(error @ CommitError::Storage(_)) => {
                tracing::warn!(%error, "not stored");
                Ok(Kept::Yes)
            }
            Err(CommitError::Tombstoned) => Ok(Kept::Removed),
            Err(error @ CommitError::Conflict { .. }) => {
                tracing::error!(%error, "a version came with other bytes than before");
                let message = "the center's answer differs from what was served before";
                Err(FillError::new(FillErrorKind::Integrity, message))
            }
        }
    }

    /// Does something with the cache that may wait for the disk.
    pub(crate) async fn with_cache<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Cache) -> T + Send + 'static,
    ) -> Result<T, FillError> {
        let cache = Arc::clone(&self.cache);
        self.behind.spawn_blocking(move || work(&cache)).await.map_err(|error| {
            tracing::error!(%error, "the cache failed");
            FillError::new(FillErrorKind::Storage, "the cache failed")
        })
    }

    /// Whether the edge is to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.leaving.borrow().is_some()
    }

    /// To be asked when `stopping` turned true: waits until it is known whether that was only a pause.
    pub(crate) async fn stays(&self) -> bool {
        let (mut leaving, mut stopping) = (self.leaving.subscribe(), self.stopping.subscribe());
        tokio::select! {
            biased;
            _ = leaving.wait_for(Option::is_some) => false,
            _ = stopping.wait_for(|stopping| !*stopping) => true,
        }
    }

    /// Waits until the time that running responses have is over. It can be shortened meanwhile.
    pub(crate) async fn grace_over(&self) {
        let mut leaving = self.leaving.subscribe();
        let began = Instant::now();
        loop {
            let grace = *leaving.borrow_and_update();
            let left = grace.unwrap_or(Duration::MAX).saturating_sub(began.elapsed());
            tokio::select! {
                () = tokio::time::sleep(left) => return,
                // An error means that the app is gone: nothing is left to wait for.
                changed = leaving.changed() => if changed.is_err() { return },
            }
        }
    }
}
