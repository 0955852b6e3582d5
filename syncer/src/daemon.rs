//! `modtier-syncer run`: the admin listener, the relay where there is Redis, the oversight, until a signal.

use std::future::pending;
use std::path::Path;
use std::time::Duration;

use shared::cli::{Announcement, announce};
use shared::client::{ClientOptions, http_client};
use shared::telemetry::HttpMetrics;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{AdminState, bind, router};
use crate::config::Config;
use crate::error::SyncerError;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::oversee::Overseer;
use crate::prewarm::Prewarm;
use crate::relay::Relay;
use crate::url::authority;

/// How long an answer may go without a byte: longer than the feed's long poll of 30 s.
const READ_TIMEOUT: Duration = Duration::from_secs(45);

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(config: Config, announcement: Option<&Path>) -> Result<(), SyncerError> {
    let stop = stop_signal()?;
    let prewarm = Prewarm::of(&config)?;
    let listener = bind(&config.admin).await?;
    let address = listener.local_addr().map_err(SyncerError::Serve)?;
    let client = http_client(ClientOptions { read_timeout: READ_TIMEOUT, ..ClientOptions::default() })
        .map_err(SyncerError::Client)?;
    let feed = Feed::new(client.clone(), &config.center, &config.repository);
    let metrics = Metrics::new();
    // The URL was checked with the configuration.
    let redis = config.redis_url().and_then(|url| redis::Client::open(url).ok());
    let (ready, watched) = watch::channel(redis.is_none());
    let overseer = Overseer::new(client, feed.clone(), &config, redis.as_ref(), metrics.clone());
    let routes = router(AdminState { ready: watched, http: HttpMetrics::new("syncer") });
    if let Some(file) = announcement {
        announce(file, &Announcement::new(None::<&str>, Some(address)))
            .map_err(|source| SyncerError::Announce { file: file.to_owned(), source })?;
    }
    tracing::info!(admin = %address, center = authority(&config.center), relay = redis.is_some(), "the syncer runs");
    let of_prewarm = feed.clone();
    let prewarm = async {
        match prewarm {
            Some(prewarm) => prewarm.watch(&of_prewarm).await,
            None => pending().await,
        }
    };
    let relay = async {
        let Some(redis) = redis else {
            // The sender must live, or readiness would not.
            let _ready = ready;
            return pending().await;
        };
        Relay::new(feed, redis, &config.repository, metrics, ready).run().await
    };
    // Nothing needs to be drained: a batch that is cut off is found in the stream, or not, by the next start.
    tokio::select! {
        () = stop => Ok(()),
        error = relay => Err(error),
        () = overseer.run() => Ok(()),
        () = prewarm => Ok(()),
        served = axum::serve(listener, routes) => served.map_err(SyncerError::Serve),
    }
}

/// Ends with the first SIGTERM or SIGINT from this call on, not only from when it is first waited for.
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()>, SyncerError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(SyncerError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(SyncerError::Signal)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
