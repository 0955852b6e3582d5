//! New versions of what edges are asked for most: the center's change feed says that a module has got one, and it is warm before
//! anybody asks for it.

use std::collections::BTreeSet;
use std::time::Duration;

use shared::backoff::Backoff;
use shared::change::{Change, ChangeId, EventType, Kind};
use shared::sync::log::PAGE_RECORDS_MAX;
use shared::sync::{Log as _, LogError};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Sources;
use crate::feed::Feed;
use crate::prewarm::wanted::{Cause, CauseKind};
use crate::watch::NewVersion;

/// How long the feed is waited for.
const WAIT: Duration = Duration::from_secs(30);

impl Sources {
    /// Follows the feed for good, from its head on: what was missed while nobody followed is found by `want_hot`.
    pub(super) async fn watch_changes(&self, feed: &Feed) {
        if self.settings.hot_modules == 0 {
            return;
        }
        let mut backoff = Backoff::default();
        let mut after = None;
        loop {
            let page = match after {
                None => feed.head(ChangeId::default()).await.map(|head| {
                    after = Some(head);
                    Vec::new()
                }),
                Some(id) => feed.page(id, WAIT, PAGE_RECORDS_MAX).await.map(|page| page.changes),
            };
            match page {
                Ok(changes) => {
                    backoff.reset();
                    after = changes.last().map(|change| change.id).or(after);
                    self.want_changed(&changes).await;
                }
                Err(error) => {
                    if matches!(error, LogError::Gone(_)) {
                        after = None;
                    }
                    tracing::debug!(%error, "the change feed says nothing of new versions");
                    sleep(backoff.next()).await;
                }
            }
        }
    }

    /// Wants what appears upstream, as it is told, with what a program that requires it would load.
    pub(crate) async fn want_appeared(&self, mut appeared: mpsc::Receiver<NewVersion>) {
        while let Some(new) = appeared.recv().await {
            self.want_new(&new).await;
        }
    }

    /// Wants one of them. Whether all that it loads is known.
    pub(crate) async fn want_new(&self, new: &NewVersion) -> bool {
        let name = format!("{}@{}", new.module, new.version);
        let closure = self.closure_of_names(&BTreeSet::from([name])).await;
        self.want(closure, &Cause::new(CauseKind::NewVersion, "upstream"), false).await
    }

    /// Wants the latest versions of the hot modules among these.
    async fn want_changed(&self, changes: &[Change]) {
        let latest: BTreeSet<String> = {
            let hot = self.hot.lock();
            let names = changes.iter().filter(|change| may_be_newer(change)).map(|change| &change.module_id);
            names.filter(|module| hot.contains(*module)).map(|module| format!("{module}@latest")).collect()
        };
        for name in latest {
            let closure = self.closure_of_names(&BTreeSet::from([name])).await;
            self.want(closure, &Cause::new(CauseKind::NewVersion, "feed"), false).await;
        }
    }
}

/// Whether the module may have another latest version since.
fn may_be_newer(change: &Change) -> bool {
    match change.event_type {
        EventType::Create => true,
        EventType::Update => matches!(change.kind, Kind::List | Kind::Latest | Kind::Module),
        EventType::Delete => false,
    }
}
