//! Follows the change log of every repository that holds something and lists what came: for the index, and for who requires
//! whom. It has a cursor of its own in the store; where the log no longer goes back so far, all versions are read instead.

use std::collections::BTreeSet;
use std::time::Duration;

use parking_lot::Mutex;
use shared::change::{ChangeId, EventType, Kind};
use shared::module::gomod;

use crate::app::App;
use crate::repository::RepositoryKind;
use crate::store::{Arrival, ReadError, Store, StoreError, now_ms};

/// Records taken at a time.
const BATCH: usize = 200;
/// How often versions are looked at again whose go.mod was not held, and how long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(10);
/// Versions remembered for that.
const UNREAD_MAX: usize = 100_000;

/// Which repositories are followed.
#[derive(Debug, Default)]
pub(crate) struct Indexer {
    followed: Mutex<BTreeSet<String>>,
}

impl Indexer {
    /// Starts following every repository that holds something and is not followed yet, one task for each. They rest when a stop
    /// is asked for (a hand-over that fails has them go on); one whose repository has gone from the settings has nothing to do.
    pub(crate) fn follow(&self, app: &App) {
        let leaves = app.repositories.iter().filter(|repository| repository.kind() != RepositoryKind::Virtual);
        for name in leaves.map(|leaf| leaf.name().to_owned()) {
            if !self.followed.lock().insert(name.clone()) {
                continue;
            }
            let (store, mut stopping) = (app.store.clone(), app.stopping.subscribe());
            let mut follower = Follower { store, name, listed_ms: 0, unread: BTreeSet::new() };
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        _ = stopping.wait_for(|stopping| *stopping) => {}
                        () = follower.run() => {}
                    }
                    if stopping.wait_for(|stopping| !*stopping).await.is_err() {
                        return;
                    }
                }
            });
        }
    }
}

struct Follower {
    store: Store,
    name: String,
    /// The last time that was given: no line of the index may come before one that was shown.
    listed_ms: u64,
    /// Versions whose go.mod was not held when they came: of a remote repository the `.info` is asked for first.
    unread: BTreeSet<(String, String)>,
}

impl Follower {
    async fn run(&mut self) {
        match self.store.unread_requirements(&self.name).await {
            Ok(unread) => self.unread.extend(unread.into_iter().take(UNREAD_MAX)),
            Err(error) => tracing::warn!(repository = self.name, %error, "some requirements are not known"),
        }
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(repository = self.name, %error, "the index lags behind");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Lists everything there is, then waits for more.
    async fn round(&mut self) -> Result<(), StoreError> {
        let log = self.store.change_log(&self.name)?;
        let mut head = log.watch();
        // An empty log has a head, too: what counts is that it moves after this reading.
        let seen = *head.borrow_and_update();
        let cursor = self.store.index_cursor(&self.name).await?.unwrap_or(ChangeId::ZERO);
        match log.read_after(cursor, BATCH).await {
            Ok(changes) => {
                let Some(last) = changes.last().map(|change| change.id) else {
                    self.read_missing().await?;
                    let _ = tokio::time::timeout(PAUSE, head.wait_for(|head| *head != seen)).await;
                    return Ok(());
                };
                let came = changes
                    .into_iter()
                    .filter(|change| change.kind == Kind::Version && matches!(change.event_type, EventType::Create));
                let came = came.filter_map(|change| Some((change.module_id, change.version?))).collect::<Vec<_>>();
                self.list(&came, Some(last)).await
            }
            Err(ReadError::Unknown { .. }) => self.list_all(log.head()).await,
            Err(ReadError::Store(error)) => Err(error),
        }
    }

    async fn list_all(&mut self, head: ChangeId) -> Result<(), StoreError> {
        let mut all = Vec::new();
        let keep = |module: &str, version: &str, record: crate::store::VersionRecord| {
            if record.is_visible() {
                all.push((record.created_ms, module.to_owned(), version.to_owned()));
            }
        };
        self.store.for_each_version(&self.name, keep).await?;
        all.sort();
        let all: Vec<_> = all.into_iter().map(|(_, module, version)| (module, version)).collect();
        for batch in all.chunks(BATCH) {
            self.list(batch, None).await?;
        }
        self.list(&[], Some(head)).await
    }

    /// Looks again at versions whose go.mod was not held when they came.
    async fn read_missing(&mut self) -> Result<(), StoreError> {
        let unread: Vec<_> = self.unread.iter().cloned().collect();
        for batch in unread.chunks(BATCH) {
            let mut there = Vec::new();
            for (module, version) in batch {
                let record = self.store.version(&self.name, module, version).await?.unwrap_or_default();
                if record.gomod.is_some() || !record.is_visible() {
                    self.unread.remove(&(module.clone(), version.clone()));
                }
                if record.gomod.is_some() {
                    there.push((module.clone(), version.clone()));
                }
            }
            self.list(&there, None).await?;
        }
        Ok(())
    }

    async fn list(&mut self, came: &[(String, String)], cursor: Option<ChangeId>) -> Result<(), StoreError> {
        let mut arrivals = Vec::with_capacity(came.len());
        for (module, version) in came {
            let record = self.store.version(&self.name, module, version).await?.unwrap_or_default();
            let body = match &record.gomod {
                Some(stored) => self.store.load(stored).await?,
                None => None,
            };
            if body.is_none() && self.unread.len() < UNREAD_MAX {
                self.unread.insert((module.clone(), version.clone()));
            }
            self.listed_ms = now_ms().max(self.listed_ms + 1);
            arrivals.push(Arrival {
                module: module.clone(),
                version: version.clone(),
                at_ms: self.listed_ms,
                requires: body.map(|body| gomod::requirements(&body)),
            });
        }
        if arrivals.is_empty() && cursor.is_none() {
            return Ok(());
        }
        self.store.list_arrivals(&self.name, &arrivals, cursor).await
    }
}
