//! The regular comparison with the center's manifest: whatever happened to a change, its outcome is found within minutes.
//!
//! Only buckets whose digest is another one than at the last comparison are read. A bucket moves with every change in it, so a
//! quiet night costs one small answer each time; after a start, every bucket is read once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::change::ChangeId;
use shared::digest::Digest;

use super::SourceError;
use super::reconcile::{Manifest, get, listed, manifest};
use crate::app::App;
use crate::cache::Repaired;

/// How long the follower may take to come up to the manifest's head, before the comparison is put off to the next time.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Compares again and again, until dropped.
pub(super) async fn regularly(app: Arc<App>) {
    let mut seen = Vec::new();
    loop {
        // Jittered, so that the edges of a company do not all ask at once.
        let period = app.config().sync.reconcile.get();
        tokio::time::sleep(period.mul_f64(0.8 + 0.4 * rand::random::<f64>())).await;
        match compare(&app, &mut seen).await {
            Ok(repaired) if repaired == Repaired::default() => tracing::debug!("as the center's manifest says"),
            Ok(Repaired { removed, restored, lists }) => {
                tracing::warn!(removed, restored, lists, "changes had been missed: repaired from the manifest");
            }
            // The follower says so where the center cannot be asked at all.
            Err(error) => tracing::debug!(reason = %error, "not compared with the center's manifest"),
        }
    }
}

async fn compare(app: &Arc<App>, seen: &mut Vec<Digest>) -> Result<Repaired, SourceError> {
    let manifest = manifest(app).await?;
    applied_up_to(app, manifest.head).await?;
    let mut sum = Repaired::default();
    let empty = Digest::of(b"");
    for (number, digest) in manifest.buckets.iter().enumerate() {
        if seen.get(number) == Some(digest) || (seen.is_empty() && *digest == empty) {
            continue;
        }
        let repaired = repair(app, &manifest, &get(app, &format!("manifest/{number}")).await?).await?;
        sum.removed += repaired.removed;
        sum.restored += repaired.restored;
        sum.lists += repaired.lists;
    }
    *seen = manifest.buckets;
    let counted = [("removed", sum.removed), ("restored", sum.restored), ("list", sum.lists)];
    for (what, count) in counted {
        app.metrics.sync.repairs.with_label_values(&[what]).inc_by(count as u64);
    }
    app.sync.reconciled();
    Ok(sum)
}

/// What differs before then is not missed, only on its way.
async fn applied_up_to(app: &Arc<App>, head: ChangeId) -> Result<(), SourceError> {
    let deadline = Instant::now() + CATCH_UP;
    loop {
        let cursor = app.cache.cursor(&app.config().repository);
        if cursor >= head && cursor.epoch == head.epoch {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(SourceError(format!("changes are applied up to {cursor}, the manifest is of {head}")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn repair(app: &Arc<App>, manifest: &Manifest, lines: &str) -> Result<Repaired, SourceError> {
    let (listed, head) = (listed(lines), manifest.head);
    let repo = app.config().repository.clone();
    let repaired = app
        .with_cache(move |cache| cache.repair(&repo, head, &listed))
        .await
        .map_err(|error| SourceError(format!("repairing: {error}")))?
        .map_err(|error| SourceError(format!("repairing: {error}")))?;
    repaired.ok_or_else(|| SourceError("the log moved back while it was compared".to_owned()))
}
