//! The regular comparison with the center's manifest: whatever happened to a change, its outcome is found within minutes.
//!
//! Only buckets whose digest is another one than at their last comparison are read, and those in which a version changed here since.
//! A quiet night costs one small answer each time, also over a restart; every bucket is read once in an edge's life. Of a large bucket
//! only those of its parts are read then that moved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use shared::change::ChangeId;
use shared::digest::Digest;
use shared::manifest::parts;

use super::SourceError;
use super::reconcile::{get, listed, manifest};
use crate::app::App;
use crate::cache::{Cache, CacheError, Repaired};

/// How long the follower may take to come up to the manifest's head, before the comparison is put off to the next time.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Parts that a bucket must have for their digests to be asked for: of a smaller one the lines are hardly more than these.
const PARTS_MIN: usize = 64;

/// How the parts of a bucket stand at the center.
#[derive(Deserialize)]
struct Parts {
    parts: Vec<Digest>,
}

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
    let lines = moved_lines(app, bucket).await?;
    let repaired = on_disk(app, move |cache| {
        let repaired = cache.repair(&repo, (head, as_of), &listed(&lines))?;
        if repaired.is_some() {
            cache.note_seen(&repo, (bucket, &digest), &parts(&lines), as_of)?;
        }
        Ok(repaired)
    });
    repaired.await?.ok_or_else(|| SourceError("the log moved back while it was compared".to_owned()))
}

/// The lines of a bucket, all or at least those of the parts that moved since they were compared.
async fn moved_lines(app: &Arc<App>, bucket: usize) -> Result<String, SourceError> {
    let (repo, whole) = (app.config().repository.clone(), format!("manifest/{bucket}"));
    let known = on_disk(app, move |cache| cache.seen_parts(&repo, bucket)).await?;
    if known.len() < PARTS_MIN {
        return get(app, &whole).await;
    }
    let answer = get(app, &format!("{whole}?sub=")).await?;
    // A center that knows of no parts has answered with the lines.
    let Ok(Parts { parts }) = serde_json::from_str(&answer) else { return Ok(answer) };
    let empty = Digest::of(b"");
    let has_moved = |(part, digest): &(u8, Digest)| *digest != empty && known.get(part) != Some(digest);
    let moved: Vec<String> = (0..=u8::MAX).zip(parts).filter(has_moved).map(|(part, _)| part.to_string()).collect();
    match moved.len() {
        0 => Ok(String::new()),
        many if many > known.len() / 2 => get(app, &whole).await,
        _ => get(app, &format!("{whole}?sub={}", moved.join(","))).await,
    }
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
