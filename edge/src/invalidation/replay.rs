//! Applying once more what was applied before: for an operator who does not trust what an edge made of some records.
//!
//! The records come from the center's feed and not from Redis, whose stream takes each id once. The cursor stays where it is: every
//! effect keeps to the largest id that it saw, so that an old record takes nothing back that a later one did, and what has not been
//! applied yet comes by its usual way.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use shared::change::ChangeId;
use shared::sync::log::PAGE_RECORDS_MAX;
use shared::sync::{Log as _, LogError, SourceError};

use super::feed::Feed;
use crate::app::App;

/// What was applied once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Replayed {
    /// The id after which it began.
    pub(crate) from: ChangeId,
    /// The last record.
    pub(crate) to: ChangeId,
    /// How many records.
    pub(crate) records: usize,
}

/// Why nothing, or not everything, was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// There is nothing between that id and the cursor.
    #[error("{from} is not before {cursor}, up to which changes are applied here, in the same log")]
    NotBefore {
        /// The id that was asked for.
        from: ChangeId,
        /// How far this edge is.
        cursor: ChangeId,
    },
    /// The center keeps no record right after that id.
    #[error("the center no longer keeps the records after {0}; the comparison with its manifest finds what they did")]
    Gone(ChangeId),
    /// The center could not be asked, or the cache not written.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Applies what follows `from`, up to the cursor as it is now, once more.
pub(crate) async fn replay(app: &Arc<App>, from: ChangeId) -> Result<Replayed, ReplayError> {
    let repo = app.config().repository.clone();
    let until = app.cache.cursor(&repo);
    if from >= until || from.epoch != until.epoch {
        return Err(ReplayError::NotBefore { from, cursor: until });
    }
    let feed = Feed(Arc::clone(app));
    let mut done = Replayed { from, to: from, records: 0 };
    while done.to < until {
        let mut changes = match feed.page(done.to, Duration::ZERO, PAGE_RECORDS_MAX).await {
            Ok(page) => page.changes,
            Err(LogError::Gone(after)) => return Err(ReplayError::Gone(after)),
            Err(error) => return Err(SourceError(error.to_string()).into()),
        };
        changes.retain(|change| change.id > done.to && change.id <= until);
        let Some(last) = changes.last().map(|change| change.id) else {
            return Err(ReplayError::Gone(done.to));
        };
        let repo = repo.clone();
        let applied = app
            .with_cache(move |cache| cache.reapply(&repo, &changes))
            .await
            .map_err(|error| SourceError(format!("applying changes: {error}")))?
            .map_err(|error| SourceError(format!("applying changes: {error}")))?;
        done.to = last;
        done.records += applied;
    }
    tracing::info!(%from, to = %done.to, records = done.records, "changes applied once more");
    Ok(done)
}
