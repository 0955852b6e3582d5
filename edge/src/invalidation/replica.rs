//! The cache as what is kept in step.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shared::change::{Change, ChangeId};
use shared::sync::{Channel, Followed, Replica, SourceError};

use super::reconcile::reconcile;
use crate::app::App;

/// How long changes are trusted to arrive when nothing was heard any more: as long as the feed's longest silence, its long poll
/// and the time that an answer may take after it. An edge that was stopped for longer finds itself out of touch when it goes on, before
/// it has asked anybody.
const TRUST: Duration = Duration::from_secs(45);

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
        let applied = tokio::task::spawn_blocking(move || cache.apply(&repo, &changes)).await;
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
