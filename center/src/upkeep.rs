//! What is done by itself: retention, and the collection of bodies that nothing refers to.
//!
//! When each was last begun stands in the metadata. So a center that is started again does not begin anew, and of several on one
//! database the one that writes its beginning first does it. They look at times that differ.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;

use crate::app::App;
use crate::reload::Live;
use crate::repository::RepoError;
use crate::repository::retention::{self, Leaving};
use crate::store::{Collected, StoreError};

/// How often at most, and at least, it is looked whether something is due.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(1));
/// How often when nothing is to be done: the settings may change.
const LOOK_IDLE: Duration = Duration::from_mins(1);

/// Applies the rules of retention. With `dry_run` nothing is changed.
pub(crate) async fn retain(app: &App, dry_run: bool) -> Result<Vec<Leaving>, RepoError> {
    let work = retention::retain(&app.store, &app.retention, dry_run);
    let leaving = app.store.alone("retention", work).await??;
    let bytes: u64 = leaving.iter().map(|version| version.bytes).sum();
    tracing::info!(target: "audit", versions = leaving.len(), bytes, dry_run, "retention");
    Ok(leaving)
}

/// Collects bodies that nothing refers to.
pub(crate) async fn collect(app: &App, grace: Duration, dry_run: bool) -> Result<Collected, StoreError> {
    let collected = app.store.collect(grace, dry_run).await?;
    tracing::info!(target: "audit", ?collected, dry_run, "bodies collected");
    Ok(collected)
}

/// Does what is due, as the settings of the moment have it, for as long as the center runs.
pub(crate) async fn keep(live: Arc<Live>) {
    loop {
        let app = live.app();
        tokio::time::sleep(pause(&app)).await;
        if *app.stopping.borrow() {
            app.resumed().await;
        }
        if let Err(error) = look(&live.app()).await {
            tracing::warn!(%error, "upkeep failed; it is tried again at its next time");
        }
    }
}

/// Until the next look: a tenth of the shortest interval, half as much more or less.
fn pause(app: &App) -> Duration {
    let intervals = [app.upkeep.retention_interval.get(), app.upkeep.gc_interval.get()];
    let shortest = intervals.into_iter().filter(|interval| !interval.is_zero()).min();
    let look = shortest.map_or(LOOK_IDLE, |shortest| (shortest / 10).clamp(LOOK.0, LOOK.1));
    look.mul_f64(rand::rng().random_range(0.5..1.5))
}

async fn look(app: &App) -> Result<(), RepoError> {
    let settings = &app.upkeep;
    if !app.retention.is_empty() && app.store.is_due("retention", settings.retention_interval.get()).await? {
        let leaving = retain(app, settings.dry_run).await?;
        for version in leaving {
            let Leaving { repository, module, version, bytes, reason, .. } = version;
            tracing::info!(
                repository,
                module,
                version,
                bytes,
                ?reason,
                dry_run = settings.dry_run,
                "retention: it goes"
            );
        }
    }
    if app.store.is_due("gc", settings.gc_interval.get()).await? {
        collect(app, settings.gc_grace.get(), settings.dry_run).await?;
    }
    Ok(())
}
