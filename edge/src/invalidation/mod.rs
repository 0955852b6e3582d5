//! Following the center's changes, so that what is held here is never older than it needs to be.
//!
//! One task reads one of two [`Source`]s: the Redis stream, where a change arrives in milliseconds, or the center's own
//! feed, which is the truth. The cursor lies in the cache and moves in the same batch as the invalidation, so a crash
//! repeats a change at worst; applying is idempotent.
//!
//! ```text
//!        ┌──────── stream ────────┐  gap, no relay, relay ahead for over 1 s, Redis down
//!        │  read, apply, confirm  │──────────────────────────────────────▶ feed
//!        └────────────────────────┘◀────────────────────────────────────── │ relay is alive again
//!                                                                           │ 410
//!                                                                           ▼
//!                                      reconcile: head first, mutables stale, tombstones, cursor = head
//! ```
//!
//! Beside it, what is held is compared with the manifest every few minutes: that finds what no id can show.

pub(crate) mod apply;
mod compare;
mod control;
mod feed;
mod heartbeat;
mod reconcile;
mod redis;
mod replay;
mod report;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shared::change::{Change, ChangeId, EventType, Kind, SCHEMA};

use self::feed::Feed;
use self::redis::{RelayWatch, Stream};
pub(crate) use self::replay::{ReplayError, replay};
pub(crate) use self::report::report;
pub(crate) use self::state::{Channel, SyncState};
use crate::app::App;

/// How long the feed is asked at a time while Redis is looked for again.
const FEED_ROUND_BESIDE_REDIS: Duration = Duration::from_secs(2);

/// How long the feed is asked at a time where it is the only source.
const FEED_ROUND: Duration = Duration::from_secs(30);

/// The least time between two answers of the feed that have nothing new.
const FEED_PAUSE: Duration = Duration::from_millis(200);

/// Where changes come from.
pub(crate) trait Source {
    /// Waits for what comes after `cursor`.
    fn next(&mut self, cursor: ChangeId) -> impl Future<Output = Result<Arrived, SourceError>> + Send;

    /// Hears that everything up to `cursor` is applied and kept.
    fn applied(&mut self, cursor: ChangeId) -> impl Future<Output = Result<(), SourceError>> + Send;
}

/// What came.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// Records in order, perhaps with known ones before them; empty: the source is alive and has nothing new.
    Changes {
        /// The records.
        changes: Vec<Change>,
        /// The log's newest id, where the source says it.
        head: Option<ChangeId>,
    },
    /// This source cannot go on from the cursor.
    Lost(String),
}

/// A source that could not be read, in words for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SourceError(pub(crate) String);

/// Follows changes until the edge stops; not while a hand-over is decided, as the next edge may have the cursor then.
pub(crate) async fn follow(app: Arc<App>) {
    let mut stopping = app.stopping.subscribe();
    loop {
        let heartbeat = heartbeat::send(Arc::clone(&app));
        let comparison = compare::regularly(Arc::clone(&app));
        let follower = Follower { app: Arc::clone(&app), feed_failures: 0, is_feed_known: false, stream_trouble: None };
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = follower.run() => {}
            () = heartbeat => {}
            () = comparison => {}
        }
        if !app.stays().await {
            return;
        }
    }
}

struct Follower {
    app: Arc<App>,
    feed_failures: u32,
    /// Whether the feed has answered since the last start, reconciliation or failure. Until then it is asked without a
    /// long poll: whether changes arrive should be known at once, not after half a minute of silence.
    is_feed_known: bool,
    /// Why the stream is not followed, as it was last logged.
    stream_trouble: Option<String>,
}

impl Follower {
    async fn run(mut self) {
        let mut feed = Feed::new(Arc::clone(&self.app));
        let mut knows_where = self.cursor() != ChangeId::ZERO;
        while !knows_where {
            let began = self.resync("new").await;
            self.judge_feed(&began).await;
            knows_where = began.is_ok();
        }
        loop {
            if let Some(url) = self.app.config().redis_url().map(ToOwned::to_owned) {
                if let Err(error) = self.follow_stream(&url).await {
                    self.note_stream_trouble(&error);
                }
                feed.wait = FEED_ROUND_BESIDE_REDIS;
            } else {
                feed.wait = FEED_ROUND;
            }
            if !self.is_feed_known {
                feed.wait = Duration::ZERO;
            }
            let round = self.feed_round(&mut feed).await;
            self.judge_feed(&round).await;
        }
    }

    /// Follows the Redis stream for as long as it delivers; says why it no longer does.
    async fn follow_stream(&mut self, url: &str) -> Result<(), SourceError> {
        let mut watch = RelayWatch::connect(&self.app, url).await?;
        watch.check(self.cursor()).await?;
        let mut stream = Stream::connect(&self.app, url, self.cursor()).await?;
        self.app.sync.channel(Channel::Stream);
        self.stream_trouble = None;
        self.app.cache.set_channel_health(true);
        tracing::info!("changes come from Redis");
        loop {
            let cursor = self.cursor();
            // A read that is dropped in the middle is repaired by connecting again, which goes back to the cursor.
            let arrived = tokio::select! {
                arrived = stream.next(cursor) => arrived?,
                unhealthy = watch.until_unhealthy(&self.app) => return Err(unhealthy),
            };
            match arrived {
                Arrived::Lost(reason) => {
                    self.app.metrics.sync.gaps.inc();
                    return Err(SourceError(reason));
                }
                Arrived::Changes { changes, head } => {
                    self.app.sync.head(head);
                    if let Err(gap) = self.apply(changes, "stream").await? {
                        self.app.metrics.sync.gaps.inc();
                        return Err(SourceError(gap));
                    }
                    stream.applied(self.cursor()).await?;
                }
            }
        }
    }

    /// Said once, not every two seconds.
    fn note_stream_trouble(&mut self, error: &SourceError) {
        let reason = error.to_string();
        if self.stream_trouble.as_ref() != Some(&reason) {
            tracing::warn!(%reason, "changes come from the center's feed until Redis delivers them");
            self.stream_trouble = Some(reason);
        }
    }

    async fn feed_round(&mut self, feed: &mut Feed) -> Result<(), SourceError> {
        let (asked_at, before) = (Instant::now(), self.cursor());
        let lost = match feed.next(before).await? {
            Arrived::Changes { changes, head } => {
                self.app.sync.head(head);
                self.app.sync.channel(Channel::Feed);
                match self.apply(changes, "feed").await? {
                    Ok(()) => {
                        self.is_feed_known = true;
                        // A feed that answers "nothing new" at once must not be asked in a tight loop.
                        if self.cursor() == before && asked_at.elapsed() < FEED_PAUSE {
                            tokio::time::sleep(FEED_PAUSE).await;
                        }
                        return feed.applied(self.cursor()).await;
                    }
                    Err(gap) => {
                        self.app.metrics.sync.gaps.inc();
                        ("hole", gap)
                    }
                }
            }
            Arrived::Lost(reason) => ("gone", reason),
        };
        self.is_feed_known = false;
        tracing::warn!(reason = %lost.1, "the feed does not go on from here: reconciling with the manifest");
        self.resync(lost.0).await
    }

    /// Goes on from the manifest; `reason` is for the figures.
    async fn resync(&self, reason: &str) -> Result<(), SourceError> {
        reconcile::reconcile(&self.app).await?;
        self.app.metrics.sync.resyncs.with_label_values(&[reason]).inc();
        Ok(())
    }

    /// Applies records after the cursor. The inner error is a hole: what follows it is not applied.
    async fn apply(&self, changes: Vec<Change>, channel: &str) -> Result<Result<(), String>, SourceError> {
        let mut cursor = self.cursor();
        let mut fresh = Vec::with_capacity(changes.len());
        let mut hole = None;
        for change in changes {
            if change.id <= cursor {
                continue;
            }
            if !change.id.follows(cursor) {
                hole = Some(format!("record {} does not follow {cursor}", change.id));
                break;
            }
            cursor = change.id;
            fresh.push(change);
        }
        if !fresh.is_empty() {
            let count = fresh.len() as u64;
            let recorded_ms: Vec<u64> = fresh.iter().map(Change::recorded_ms).collect();
            let (cache, repo) = (Arc::clone(&self.app.cache), self.app.config().repository.clone());
            let applied = tokio::task::spawn_blocking(move || cache.apply(&repo, &fresh)).await;
            applied
                .map_err(|error| SourceError(format!("applying changes: {error}")))?
                .map_err(|error| SourceError(format!("applying changes: {error}")))?;
            self.app.metrics.sync.changes.with_label_values(&[channel]).inc_by(count);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            for at_ms in recorded_ms {
                self.app.metrics.sync.duration.observe((now - at_ms as f64 / 1e3).max(0.0));
            }
            tracing::debug!(count, channel, %cursor, "changes applied");
        }
        self.app.sync.cursor(self.cursor());
        Ok(hole.map_or(Ok(()), Err))
    }

    /// Notes whether changes arrive at all, and waits a little longer after each failure in a row.
    async fn judge_feed(&mut self, round: &Result<(), SourceError>) {
        match round {
            Ok(()) => {
                if self.feed_failures > 0 {
                    tracing::info!("changes arrive again");
                }
                self.feed_failures = 0;
                self.app.cache.set_channel_health(true);
            }
            Err(error) => {
                if self.feed_failures == 0 {
                    tracing::warn!(reason = %error, "changes do not arrive: what may change is asked for more often");
                }
                self.feed_failures += 1;
                self.is_feed_known = false;
                self.app.sync.channel(Channel::Down);
                self.app.cache.set_channel_health(false);
                let seconds = f64::from(self.feed_failures.min(5)) * (0.5 + rand::random::<f64>());
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
        }
    }

    fn cursor(&self) -> ChangeId {
        self.app.cache.cursor(&self.app.config().repository)
    }
}

/// What a record that this build cannot read may mean at most: anything may have changed.
pub(crate) fn anything_changed(id: ChangeId, repo: &str) -> Change {
    Change {
        id,
        repo: repo.to_owned(),
        event_type: EventType::Update,
        module_id: String::new(),
        version: None,
        kind: Kind::All,
        timestamp: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        timestamp_ms: None,
        sha256: None,
        h1: None,
        origin: None,
        reason: "unreadable record".to_owned(),
        schema: SCHEMA,
        traceparent: None,
    }
}
