//! How far changes are followed, for `/api/v1/sync` and `/readyz?verbose`.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde_json::{Value, json};
use shared::change::ChangeId;
use shared::sync::Channel;
use tokio::sync::Notify;

/// The follower's state.
#[derive(Debug)]
pub(crate) struct SyncState {
    edge: String,
    repo: String,
    inner: Mutex<Inner>,
    /// The cursor has moved.
    moved: Notify,
}

#[derive(Debug)]
struct Inner {
    cursor: ChangeId,
    head: ChangeId,
    behind_since: Option<Instant>,
    channel: Channel,
    last_reconcile: Option<SystemTime>,
}

impl SyncState {
    /// Before anything was heard; `cursor` is the kept one.
    pub(crate) fn new(edge: &str, repo: &str, cursor: ChangeId) -> Self {
        let inner = Inner { cursor, head: cursor, behind_since: None, channel: Channel::Down, last_reconcile: None };
        Self { edge: edge.to_owned(), repo: repo.to_owned(), inner: Mutex::new(inner), moved: Notify::new() }
    }

    /// The log's newest id was heard of.
    pub(super) fn head(&self, head: ChangeId) {
        let mut inner = self.inner.lock();
        inner.head = head.max(inner.head);
        inner.note_lag();
    }

    /// Everything up to `cursor` is applied.
    pub(super) fn cursor(&self, cursor: ChangeId) {
        let mut inner = self.inner.lock();
        let has_moved = inner.cursor != cursor;
        inner.cursor = cursor;
        inner.head = inner.head.max(cursor);
        inner.note_lag();
        drop(inner);
        if has_moved {
            self.moved.notify_one();
        }
    }

    /// Waits until the cursor is another one than when this was last waited for. For one waiter.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }

    /// Changes come this way from now on.
    pub(super) fn channel(&self, channel: Channel) {
        self.inner.lock().channel = channel;
    }

    /// A reconciliation ended.
    pub(super) fn reconciled(&self) {
        self.inner.lock().last_reconcile = Some(SystemTime::now());
    }

    /// The state as JSON.
    pub(crate) fn report(&self) -> Value {
        let inner = self.inner.lock();
        let lag = inner.behind_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        let last_reconcile =
            inner.last_reconcile.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map(|at| at.as_secs());
        json!({
            "edge": self.edge,
            "repo": self.repo,
            "cursor": inner.cursor.to_string(),
            "head": inner.head.to_string(),
            "lag_seconds": lag,
            "channel": inner.channel.as_str(),
            "last_reconcile": last_reconcile,
        })
    }
}

impl Inner {
    fn note_lag(&mut self) {
        if self.head > self.cursor {
            self.behind_since.get_or_insert_with(Instant::now);
        } else {
            self.behind_since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lags_while_the_head_is_ahead() {
        let id = |seq| ChangeId { epoch: 5, seq };
        let state = SyncState::new("e", "r", id(1));
        assert_eq!(state.report()["lag_seconds"], 0.0);
        state.head(id(3));
        assert!(state.inner.lock().behind_since.is_some());
        state.cursor(id(3));
        assert_eq!(state.report()["lag_seconds"], 0.0);
        assert_eq!(state.report()["head"], "5-3");
    }
}
