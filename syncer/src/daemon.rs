//! `modtier-syncer run`: the admin listener, the relay where there is Redis, the oversight, the watch of upstreams, until a signal.

use std::future::pending;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use shared::cli::{Announcement, announce};
use shared::client::{ClientOptions, http_client};
use shared::redis::Redis;
use shared::sync::{Relay, RelayEnd, RelayEvent};
use shared::telemetry::HttpMetrics;
use shared::{administration, backoff};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::admin::{AdminState, bind, router};
use crate::config::Config;
use crate::error::SyncerError;
use crate::feed::Feed;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::oversee::oversee;
use crate::prewarm::Prewarm;
use crate::stream::Store;
use crate::tier::TierClient;
use crate::url::authority;
use crate::watch::{Watcher, deliver};

/// How long an answer may go without a byte: longer than the feed's long poll of 30 s.
const READ_TIMEOUT: Duration = Duration::from_secs(45);

/// New versions that wait to be delivered.
const NEW_VERSIONS_WAITING: usize = 256;

/// Whom the syncer speaks to, of one configuration.
pub(crate) struct Parties {
    /// The center's feed.
    pub(crate) feed: Feed,
    /// Redis, where it is configured.
    pub(crate) redis: Option<Redis>,
    /// The edges.
    pub(crate) fleet: Arc<Fleet>,
}

impl Parties {
    /// Speaks to nobody yet.
    pub(crate) fn new(config: &Config) -> Result<Self, SyncerError> {
        let client = http_client(ClientOptions { read_timeout: READ_TIMEOUT, ..ClientOptions::default() })
            .map_err(SyncerError::Client)?;
        let feed = Feed::new(TierClient::of_center(client.clone(), config)?, &config.center, &config.repository);
        let redis = Redis::new(&config.redis).map_err(SyncerError::Setting)?;
        let fleet = Arc::new(Fleet::new(client, feed.clone(), config, redis.as_ref())?);
        Ok(Self { feed, redis, fleet })
    }
}

/// Runs until SIGTERM or SIGINT.
pub(crate) async fn run(config: Config, announcement: Option<&Path>) -> Result<(), SyncerError> {
    let stop = stop_signal()?;
    let prewarm = Prewarm::of(&config)?;
    let listener = bind(&config.admin).await?;
    let address = listener.local_addr().map_err(SyncerError::Serve)?;
    let Parties { feed, redis, fleet } = Parties::new(&config)?;
    let metrics = Metrics::new();
    let (ready, watched) = watch::channel(redis.is_none());
    let routes = router(AdminState { ready: watched, http: HttpMetrics::new("syncer"), fleet: Arc::clone(&fleet) });
    if let Some(file) = announcement {
        announce(file, &Announcement::new(None::<&str>, Some(address)))
            .map_err(|source| SyncerError::Announce { file: file.to_owned(), source })?;
    }
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("administration at {address}"))]);
    tracing::info!(admin = %address, center = authority(&config.center), relay = redis.is_some(), "the syncer runs");
    let of_prewarm = feed.clone();
    let watching = keep_warm(&config, prewarm, &of_prewarm, &fleet, &metrics);
    let overseeing = oversee(Arc::clone(&fleet), metrics.clone());
    let (stopping, stopped) = watch::channel(false);
    let relay = relay(&config, feed, redis, metrics.clone(), ready, stopped);
    let mut relay = pin!(relay);
    // Nothing needs to be drained: a batch that is cut off is found in the stream, or not, by the next start.
    tokio::select! {
        () = stop => {}
        ended = &mut relay => return ended.map_err(SyncerError::from),
        () = overseeing => {}
        () = watching => {}
        () = administration::serve(listener, routes, pending()) => {}
    }
    notify(&[NotifyState::Stopping]);
    // Another relay takes over at once when this one gives its lease back.
    stopping.send_replace(true);
    relay.await.map_err(SyncerError::from)
}

/// Relays, where there is Redis, until `stopped` turns true.
async fn relay(
    config: &Config,
    feed: Feed,
    redis: Option<Redis>,
    metrics: Metrics,
    ready: watch::Sender<bool>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), RelayEnd> {
    let stop = async {
        // An error means that nobody can say it any more.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let Some(redis) = redis else {
        // The sender must live, or readiness would not.
        let _ready = ready;
        stop.await;
        return Ok(());
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
    relay.run(stop, backoff::random()).await
}

/// Looks upstream for new versions, and keeps edges warm with them and with the configured sources. Without sources there is no queue,
/// and the edges are told at once.
async fn keep_warm(config: &Config, prewarm: Option<Prewarm>, feed: &Feed, fleet: &Arc<Fleet>, metrics: &Metrics) {
    let (wanted, appeared) = mpsc::channel(NEW_VERSIONS_WAITING);
    let watching = async {
        if config.watch.modules == 0 {
            // The sender must live, or whoever follows would believe that it is over.
            let _wanted = wanted;
            return pending().await;
        }
        Watcher::new(Arc::clone(fleet), config, metrics.clone()).run(wanted).await;
    };
    let warming = async {
        match prewarm {
            Some(prewarm) => prewarm.watch(feed, appeared).await,
            None => deliver(Arc::clone(fleet), appeared).await,
        }
    };
    tokio::join!(watching, warming);
}

/// Tells systemd, if it listens (`NOTIFY_SOCKET`).
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager could not be told");
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
