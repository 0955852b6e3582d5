//! Changes through Redis: a stream for each repository, a consumer group for each edge.
//!
//! Reading blocks, so it has a connection of its own whose response time-out is longer than the block (the client's
//! default of half a second would cut every read). The relay's sign of life is watched on another connection, because a
//! dead relay looks just like a quiet one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamReadReply};
use redis::{AsyncConnectionConfig, Client, RedisError, Value};
use shared::change::{Change, ChangeId};

use super::{Arrived, Source, SourceError, anything_changed};
use crate::app::App;

/// How long one read waits in Redis.
const BLOCK: Duration = Duration::from_secs(5);

/// How long any other command may take.
const ANSWER: Duration = Duration::from_secs(2);

/// How often the relay's sign of life is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// How long the relay may be ahead of the cursor before the stream is held to be stuck.
const AHEAD_MAX: Duration = Duration::from_secs(1);

/// Entries read at a time.
const COUNT: usize = 1000;

/// The stream of the repository that is served.
pub(crate) struct Stream {
    connection: MultiplexedConnection,
    key: String,
    group: String,
    consumer: String,
    repo: String,
    /// Ids read and not yet confirmed.
    unconfirmed: Vec<String>,
    /// Whether entries that were delivered before and never confirmed are still to be read.
    pending_first: bool,
}

impl Stream {
    /// Connects and sets the group to the cursor: entries above it are delivered again, those below are confirmed.
    pub(crate) async fn connect(app: &App, url: &str, cursor: ChangeId) -> Result<Self, SourceError> {
        let mut connection = connect(url, BLOCK + ANSWER).await?;
        let key = format!("meta:{}", app.config().repository);
        let group = format!("edge:{}", app.edge_id);
        let at = cursor.to_string();
        let created: Result<Value, RedisError> =
            redis::cmd("XGROUP").arg(&["CREATE", &key, &group, &at, "MKSTREAM"]).query_async(&mut connection).await;
        match created {
            Ok(_) => {}
            Err(error) if error.code() == Some("BUSYGROUP") => {
                let _: Value = redis::cmd("XGROUP")
                    .arg(&["SETID", &key, &group, &at])
                    .query_async(&mut connection)
                    .await
                    .map_err(trouble)?;
            }
            Err(error) => return Err(trouble(error)),
        }
        Ok(Self {
            connection,
            key,
            group,
            consumer: app.edge_id.clone(),
            repo: app.config().repository.clone(),
            unconfirmed: Vec::new(),
            pending_first: true,
        })
    }

    async fn read(&mut self, from: &str, block: bool) -> Result<Vec<StreamId>, RedisError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.group).arg(&self.consumer).arg("COUNT").arg(COUNT);
        if block {
            command.arg("BLOCK").arg(u64::try_from(BLOCK.as_millis()).unwrap_or(5000));
        }
        command.arg("STREAMS").arg(&self.key).arg(from);
        let reply: Option<StreamReadReply> = command.query_async(&mut self.connection).await?;
        Ok(reply.map(|reply| reply.keys.into_iter().flat_map(|key| key.ids).collect()).unwrap_or_default())
    }
}

impl Source for Stream {
    async fn next(&mut self, _: ChangeId) -> Result<Arrived, SourceError> {
        let read = if self.pending_first { self.read("0", false).await } else { self.read(">", true).await };
        let entries = match read {
            Ok(entries) => entries,
            Err(error) if error.code() == Some("NOGROUP") => {
                return Ok(Arrived::Lost("the consumer group is gone".into()));
            }
            Err(error) => return Err(trouble(error)),
        };
        // Pending ones are confirmed after each read, so the next read of them finds the rest, and at last none.
        self.pending_first = self.pending_first && !entries.is_empty();
        let mut changes = Vec::with_capacity(entries.len());
        for entry in entries {
            self.unconfirmed.push(entry.id.clone());
            changes.extend(record(&entry, &self.repo)?);
        }
        Ok(Arrived::Changes { changes, head: None })
    }

    async fn applied(&mut self, _: ChangeId) -> Result<(), SourceError> {
        if self.unconfirmed.is_empty() {
            return Ok(());
        }
        let _: Value = redis::cmd("XACK")
            .arg(&self.key)
            .arg(&self.group)
            .arg(&self.unconfirmed)
            .query_async(&mut self.connection)
            .await
            .map_err(trouble)?;
        self.unconfirmed.clear();
        Ok(())
    }
}

/// The entry's record; none for a pending entry whose content was trimmed away, which shows as a hole.
fn record(entry: &StreamId, repo: &str) -> Result<Option<Change>, SourceError> {
    if entry.map.is_empty() {
        return Ok(None);
    }
    let fields: HashMap<&String, String> = entry
        .map
        .iter()
        .filter_map(|(name, value)| Some((name, redis::from_redis_value_ref::<String>(value).ok()?)))
        .collect();
    let fields = fields.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    match Change::from_fields(&entry.id, fields) {
        Ok(change) => Ok(Some(change)),
        Err(error) => {
            let id = entry.id.parse().map_err(|_| SourceError(format!("a stream entry is no record: {error}")))?;
            tracing::warn!(%id, %error, "a change record cannot be read: taken as a change of everything");
            Ok(Some(anything_changed(id, repo)))
        }
    }
}

/// Watches the relay's sign of life.
pub(crate) struct RelayWatch {
    connection: MultiplexedConnection,
    key: String,
    ahead_since: Option<Instant>,
}

impl RelayWatch {
    /// Connects.
    pub(crate) async fn connect(app: &App, url: &str) -> Result<Self, SourceError> {
        let connection = connect(url, ANSWER).await?;
        Ok(Self { connection, key: format!("relay:{}", app.config().repository), ahead_since: None })
    }

    /// One look: an error when the stream cannot be relied on.
    pub(crate) async fn check(&mut self, cursor: ChangeId) -> Result<(), SourceError> {
        let text: Option<String> =
            redis::cmd("GET").arg(&self.key).query_async(&mut self.connection).await.map_err(trouble)?;
        let head: ChangeId = text
            .ok_or_else(|| SourceError("no relay is alive".into()))?
            .parse()
            .map_err(|_| SourceError("the relay's sign of life is no change id".into()))?;
        if head <= cursor {
            self.ahead_since = None;
            return Ok(());
        }
        let since = *self.ahead_since.get_or_insert_with(Instant::now);
        if since.elapsed() > AHEAD_MAX {
            return Err(SourceError(format!("the relay is at {head}, and nothing comes after {cursor}")));
        }
        Ok(())
    }

    /// Ends, with the reason, when the stream can no longer be relied on.
    pub(crate) async fn until_unhealthy(&mut self, app: &App) -> SourceError {
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            if let Err(error) = self.check(app.cache.cursor(&app.config().repository)).await {
                return error;
            }
        }
    }
}

/// A connection whose answers may take so long.
pub(super) async fn connect(url: &str, answer: Duration) -> Result<MultiplexedConnection, SourceError> {
    // The URL may hold a password, and the client's error may hold the URL.
    let client = Client::open(url).map_err(|_| SourceError("redis.url is no URL of a Redis server".into()))?;
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(ANSWER)).set_response_timeout(Some(answer));
    client.get_multiplexed_async_connection_with_config(&config).await.map_err(trouble)
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn trouble(error: RedisError) -> SourceError {
    SourceError(format!("redis: {error}"))
}
