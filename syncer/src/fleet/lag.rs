//! For how long an edge has been without a record, from the time of the oldest one that it has not applied.
//!
//! That time stands in the record itself, so it does not matter when the syncer first looked. It is the center's clock against ours:
//! both should be set by the same time service.

use std::collections::HashMap;
use std::time::Duration;

use shared::change::ChangeId;
use shared::sync::{Log as _, LogError};

use crate::feed::Feed;

/// When the record after a cursor was made, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// Unix time in milliseconds, by cursor. It never changes: nothing is put between two records.
    since_ms: HashMap<ChangeId, u64>,
}

impl Missed {
    /// The lag of a cursor at `now_ms`; none where the center does not tell.
    pub(super) async fn lag(&mut self, feed: &Feed, cursor: ChangeId, head: ChangeId, now_ms: u64) -> Option<Duration> {
        if cursor >= head {
            return Some(Duration::ZERO);
        }
        let since_ms = if let Some(since_ms) = self.since_ms.get(&cursor) {
            *since_ms
        } else {
            let asked = tokio::time::timeout(super::ANSWER_TIMEOUT, first_after(feed, cursor, head)).await;
            let since_ms = asked.ok().flatten()?;
            self.since_ms.insert(cursor, since_ms);
            since_ms
        };
        Some(Duration::from_millis(now_ms.saturating_sub(since_ms)))
    }

    /// Forgets what concerns no edge any more.
    pub(super) fn keep(&mut self, is_cursor: impl Fn(ChangeId) -> bool) {
        self.since_ms.retain(|cursor, _| is_cursor(*cursor));
    }
}

async fn first_after(feed: &Feed, cursor: ChangeId, head: ChangeId) -> Option<u64> {
    let page = match feed.page(cursor, Duration::ZERO, 1).await {
        // What followed the cursor is no longer kept, or the log is another one: since the oldest that is kept at the least.
        Err(LogError::Gone(_)) => feed.page(ChangeId::ZERO, Duration::ZERO, 1).await,
        page => page,
    };
    // A new log without a record: it began when its epoch says.
    match page.ok()?.changes.first() {
        Some(first) => Some(first.recorded_ms()),
        // A replica that has not seen the head yet shows nothing behind the cursor of its own log: not known.
        None => (cursor.epoch != head.epoch).then_some(head.epoch),
    }
}
