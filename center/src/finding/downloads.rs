//! How often versions were asked for: counted in memory, written now and then. A crash loses the last seconds of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::app::App;

/// How often what was counted is written.
const INTERVAL: Duration = Duration::from_secs(5);
/// Versions counted at a time; what comes beside them until the next writing is not counted.
const PENDING_MAX: usize = 100_000;
/// Versions written in one commit.
const BATCH: usize = 500;

/// What was counted and not yet written.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    pending: Mutex<HashMap<(String, String), u64>>,
}

impl Downloads {
    /// Counts one.
    pub(crate) fn count(&self, module: &str, version: &str) {
        let mut pending = self.pending.lock();
        let key = (module.to_owned(), version.to_owned());
        if let Some(count) = pending.get_mut(&key) {
            *count += 1;
        } else if pending.len() < PENDING_MAX {
            pending.insert(key, 1);
        }
    }

    /// Writes what was counted.
    pub(crate) async fn write(&self, app: &App) {
        let counted: Vec<_> = std::mem::take(&mut *self.pending.lock()).into_iter().collect();
        for batch in counted.chunks(BATCH) {
            if let Err(error) = app.store.add_downloads(batch).await {
                tracing::warn!(%error, "downloads could not be counted");
            }
        }
    }

    /// Writes now and then, and whenever a stop is asked for: what comes of a hand-over, only its end shows.
    pub(crate) async fn keep_writing(app: Arc<App>) {
        loop {
            let is_stopping = tokio::select! {
                () = app.stopped() => true,
                () = tokio::time::sleep(INTERVAL) => false,
            };
            app.downloads.write(&app).await;
            if is_stopping {
                app.resumed().await;
            }
        }
    }
}
