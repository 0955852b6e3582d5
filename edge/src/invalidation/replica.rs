//! The cache as what is kept in step.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shared::change::{Change, ChangeId};
use shared::sync::{Channel, Followed, Replica, SourceError};

use super::reconcile::reconcile;
use crate::app::App;
use crate::cache::{ApplyError, Cache};

/// How long changes are trusted to arrive when nothing was heard any more: as long as the feed's longest silence, its long poll
/// and the time that an answer may take after it. An edge that was stopped for longer finds itself out of touch when it goes on, before
/// it has asked anybody.
const TRUST: Duration = Duration::from_secs(45);

/// So many changes are applied in a row, in one batch with the cursor: what takes a tenth of a millisecond.
const IN_A_ROW: usize = 16;

/// The longest rest between two rows: also on a busy machine tens of thousands of changes are applied in a second.
const REST_MAX: Duration = Duration::from_micros(300);

/// Applies changes row by row. A burst of them leaves the processors to hits for most of the time: after each row it rests for twice
/// as long as that took.
#[expect(clippy::disallowed_methods, reason = "it has a thread of its own, which is to do nothing")]
fn apply_in_rows(cache: &Cache, repo: &str, changes: &[Change]) -> Result<(), ApplyError> {
    let mut rows = changes.chunks(IN_A_ROW).peekable();
    while let Some(row) = rows.next() {
        let began = Instant::now();
        cache.apply(repo, row)?;
        if rows.peek().is_some() {
            std::thread::sleep((2 * began.elapsed()).min(REST_MAX));
        }
    }
    Ok(())
}

/// What this edge holds.
pub(super) struct Held(pub(super) Arc<App>);

impl Replica for Held {
    fn cursor(&self) -> ChangeId {
        self.0.cache.cursor(&self.0.config().repository)
    }

    async fn apply(&self, changes: Vec<Change>, channel: Channel) -> Result<(), SourceError> {
        let app = &self.0;
        let count = changes.len();
        let recorded_ms: Vec<u64> = changes.iter().map(Change::recorded_ms).collect();
        let (cache, repo) = (Arc::clone(&app.cache), app.config().repository.clone());
        let applied = tokio::task::spawn_blocking(move || apply_in_rows(&cache, &repo, &changes)).await;
        applied
            .map_err(|error| SourceError(format!("applying changes: {error}")))?
            .map_err(|error| SourceError(format!("applying changes: {error}")))?;
        app.metrics.sync.changes.with_label_values(&[channel.as_str()]).inc_by(count as u64);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        for at_ms in recorded_ms {
            app.metrics.sync.duration.observe((now - at_ms as f64 / 1e3).max(0.0));
        }
        tracing::debug!(count, channel = channel.as_str(), cursor = %self.cursor(), "changes applied");
        Ok(())
    }

    async fn reconcile(&self) -> Result<ChangeId, SourceError> {
        let before = self.cursor();
        let head = reconcile(&self.0).await?;
        let reason = if before == ChangeId::ZERO {
            "new"
        } else if before.epoch != head.epoch {
            "epoch"
        } else {
            "gone"
        };
        self.0.metrics.sync.resyncs.with_label_values(&[reason]).inc();
        Ok(head)
    }

    fn told(&self, followed: Followed) {
        let app = &self.0;
        match followed {
            Followed::Head(head) => app.sync.head(head),
            Followed::Cursor(cursor) => app.sync.cursor(cursor),
            Followed::Channel(channel) => app.sync.channel(channel),
            Followed::Healthy(healthy) => app.cache.trust_channel(if healthy { TRUST } else { Duration::ZERO }),
            Followed::Gap => app.metrics.sync.gaps.inc(),
            Followed::Resync => {}
        }
    }
}
