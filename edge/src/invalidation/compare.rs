//! The regular comparison with the center's manifest: whatever happened to a change, its outcome is found within minutes.
//!
//! Only buckets whose digest is another one than at their last comparison are read, and those in which a version changed here since.
//! A quiet night costs one small answer each time, also over a restart; every bucket is read once in an edge's life.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::change::ChangeId;
use shared::digest::Digest;

use super::SourceError;
use super::reconcile::{get, listed, manifest};
use crate::app::App;
use crate::cache::{Cache, CacheError, Repaired};

/// How long the follower may take to come up to the manifest's head, before the comparison is put off to the next time.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Compares again and again, until dropped.
pub(super) async fn regularly(app: Arc<App>) {
    let mut has_failed = false;
    loop {
        // Jittered, so that the edges of a company do not all ask at once; with the time to catch up it is no more than the period.
        let period = app.config().sync.reconcile.get();
        let pause = if has_failed { period.min(CATCH_UP) } else { period };
        tokio::time::sleep(pause.mul_f64(0.7 + 0.2 * rand::random::<f64>())).await;
        let compared = compare(&app).await;
        has_failed = compared.is_err();
        match compared {
            Ok(repaired) if repaired == Repaired::default() => tracing::debug!("as the center's manifest says"),
            Ok(Repaired { removed, restored, lists }) => {
                tracing::warn!(removed, restored, lists, "changes had been missed: repaired from the manifest");
            }
            // The follower says so where the center cannot be asked at all.
            Err(error) => tracing::debug!(reason = %error, "not compared with the center's manifest"),
        }
    }
}

async fn compare(app: &Arc<App>) -> Result<Repaired, SourceError> {
    let manifest = manifest(app).await?;
    applied_up_to(app, manifest.head).await?;
    let repo = app.config().repository.clone();
    let seen = on_disk(app, move |cache| cache.seen(&repo)).await?;
    let (mut sum, empty) = (Repaired::default(), Digest::of(b""));
    for (bucket, digest) in manifest.buckets.iter().enumerate() {
        if seen.get(bucket) == Some(&Some(*digest)) || *digest == empty {
            continue;
        }
        let repaired = repair(app, manifest.head, bucket, *digest).await?;
        sum.removed += repaired.removed;
        sum.restored += repaired.restored;
        sum.lists += repaired.lists;
    }
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

/// Compares one bucket and notes that it was compared.
async fn repair(app: &Arc<App>, head: ChangeId, bucket: usize, digest: Digest) -> Result<Repaired, SourceError> {
    let repo = app.config().repository.clone();
    let as_of = app.cache.cursor(&repo);
    let listed = listed(&get(app, &format!("manifest/{bucket}")).await?);
    let repaired = on_disk(app, move |cache| {
        let repaired = cache.repair(&repo, (head, as_of), &listed)?;
        cache.note_seen(&repo, bucket, &digest, as_of)?;
        Ok(repaired)
    });
    repaired.await?.ok_or_else(|| SourceError("the log moved back while it was compared".to_owned()))
}

async fn on_disk<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&Cache) -> Result<T, CacheError> + Send + 'static,
) -> Result<T, SourceError> {
    app.with_cache(work)
        .await
        .map_err(|error| SourceError(format!("comparing: {error}")))?
        .map_err(|error| SourceError(format!("comparing: {error}")))
}
