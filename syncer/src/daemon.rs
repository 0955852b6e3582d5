//! `modtier-syncer run`: the admin listener, the relay where there is Redis, the oversight, until a signal.

use std::future::pending;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use shared::backoff;
use shared::cli::{Announcement, announce};
use shared::client::{ClientOptions, http_client};
use shared::redis::Redis;
use shared::sync::{Relay, RelayEvent};
use shared::telemetry::HttpMetrics;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{AdminState, bind, router};
use crate::config::Config;
use crate::error::SyncerError;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::oversee::Overseer;
use crate::stream::Store;
use crate::url::authority;

/// How long an answer may go without a byte: longer than the feed's long poll of 30 s.
const READ_TIMEOUT: Duration = Duration::from_secs(45);

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(config: Config, announcement: Option<&Path>) -> Result<(), SyncerError> {
    let stop = stop_signal()?;
    let listener = bind(&config.admin).await?;
    let address = listener.local_addr().map_err(SyncerError::Serve)?;
    let client = http_client(ClientOptions { read_timeout: READ_TIMEOUT, ..ClientOptions::default() })
        .map_err(SyncerError::Client)?;
    let feed = Feed::new(client.clone(), &config.center, &config.repository);
    let metrics = Metrics::new();
    let redis = Redis::new(&config.redis).map_err(SyncerError::Setting)?;
    let token = config.token_for_edges().map_err(SyncerError::Setting)?;
    let (ready, watched) = watch::channel(redis.is_none());
    let overseer = Overseer::new(client, feed.clone(), &config, redis.as_ref(), token, metrics.clone());
    let routes = router(AdminState { ready: watched, http: HttpMetrics::new("syncer") });
    if let Some(file) = announcement {
        announce(file, &Announcement::new(None::<&str>, Some(address)))
            .map_err(|source| SyncerError::Announce { file: file.to_owned(), source })?;
    }
    let has_relay = redis.is_some();
    tracing::info!(admin = %address, center = authority(&config.center), relay = has_relay, "the syncer runs");
    let (stopping, mut stopped) = watch::channel(false);
    let relay = async {
        let Some(redis) = redis else {
            // The sender must live, or readiness would not.
            let _ready = ready;
            return pending().await;
        };
        let settings = config.trimming.relay();
        let store = Store::new(redis, &config.repository, settings.keep.entries_max);
        let repository = config.repository.clone();
        let relay = Relay::new(feed, store, settings, move |event| {
            metrics.relay(&repository, event);
            if let RelayEvent::Ready(now) = event {
                ready.send_if_modified(|ready| std::mem::replace(ready, now) != now);
            }
        });
        let stop = async {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        relay.run(stop, backoff::random()).await
    };
    let mut relay = pin!(relay);
    // Nothing needs to be drained: a batch that is cut off is found in the stream, or not, by the next start.
    tokio::select! {
        () = stop => {}
        ended = &mut relay => return ended.map_err(SyncerError::from),
        () = overseer.run() => {}
        served = axum::serve(listener, routes) => return served.map_err(SyncerError::Serve),
    }
    if has_relay {
        // Another relay takes over at once when this one gives its lease back.
        stopping.send_replace(true);
        relay.await?;
    }
    Ok(())
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
