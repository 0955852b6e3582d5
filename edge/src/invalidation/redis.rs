//! Changes through Redis: a stream for each repository, a consumer group for each edge.
//!
//! Reading blocks, so it has a connection of its own whose response time-out is longer than the block (the client's
//! default of half a second would cut every read). The relay's sign of life is watched on another connection, because a
//! dead relay looks just like a quiet one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::streams::{StreamId, StreamReadReply};
use redis::{RedisError, Value};
use shared::change::{Change, ChangeId, anything_changed};
use shared::redis::{Connection, Redis};
use shared::sync::{Arrived, RelaySign, SourceError, StreamAccess, StreamReader};

use super::AT_A_TIME;
use crate::app::App;

/// How long one read waits in Redis.
const BLOCK: Duration = Duration::from_secs(5);

/// How long any other command may take.
const ANSWER: Duration = Duration::from_secs(2);

/// Redis, as the edge's settings name it.
pub(super) struct Streams {
    pub(super) app: Arc<App>,
    pub(super) redis: Option<Redis>,
}

impl Streams {
    /// Redis of `app`'s settings, if there is one.
    pub(super) fn new(app: Arc<App>) -> Self {
        // The settings were checked when they were read.
        let redis = Redis::new(&app.config().redis).unwrap_or_default();
        Self { app, redis }
    }

    /// A connection whose answers may take so long.
    pub(super) async fn connect(&self, answer: Duration) -> Result<(&Redis, Connection), SourceError> {
        let redis = self.redis.as_ref().ok_or_else(|| SourceError("no Redis is configured".into()))?;
        let connection = redis.connect(answer).await.map_err(|error| SourceError(error.to_string()))?;
        Ok((redis, connection))
    }
}

impl StreamAccess for Streams {
    type Reader = Stream;
    type Sign = Sign;

    fn is_configured(&self) -> bool {
        self.redis.is_some()
    }

    async fn sign(&self) -> Result<Sign, SourceError> {
        let (redis, connection) = self.connect(ANSWER).await?;
        Ok(Sign { connection, key: redis.key("relay", &self.app.config().repository) })
    }

    async fn reader(&self, cursor: ChangeId) -> Result<Stream, SourceError> {
        let (redis, connection) = self.connect(BLOCK + ANSWER).await?;
        let repo = self.app.config().repository.clone();
        Stream::open(connection, redis.key("meta", &repo), &self.app.edge_id, repo, cursor).await
    }
}

/// The stream of the repository that is served.
pub(super) struct Stream {
    connection: Connection,
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
    /// Sets the group to the cursor: entries above it are delivered again, those below are confirmed.
    async fn open(
        mut connection: Connection,
        key: String,
        edge: &str,
        repo: String,
        cursor: ChangeId,
    ) -> Result<Self, SourceError> {
        let group = format!("edge:{edge}");
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
            consumer: edge.to_owned(),
            repo,
            unconfirmed: Vec::new(),
            pending_first: true,
        })
    }

    async fn read(&mut self, from: &str, block: bool) -> Result<Vec<StreamId>, RedisError> {
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(&self.group).arg(&self.consumer).arg("COUNT").arg(AT_A_TIME);
        if block {
            command.arg("BLOCK").arg(u64::try_from(BLOCK.as_millis()).unwrap_or(5000));
        }
        command.arg("STREAMS").arg(&self.key).arg(from);
        let reply: Option<StreamReadReply> = command.query_async(&mut self.connection).await?;
        Ok(reply.map(|reply| reply.keys.into_iter().flat_map(|key| key.ids).collect()).unwrap_or_default())
    }
}

impl StreamReader for Stream {
    async fn next(&mut self) -> Result<Arrived, SourceError> {
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
        Ok(Arrived::Changes(changes))
    }

    async fn applied(&mut self) -> Result<(), SourceError> {
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

/// The relay's sign of life. It is watched on a connection of its own, because reading blocks.
pub(super) struct Sign {
    connection: Connection,
    key: String,
}

impl RelaySign for Sign {
    async fn head(&mut self) -> Result<Option<ChangeId>, SourceError> {
        let text: Option<String> =
            redis::cmd("GET").arg(&self.key).query_async(&mut self.connection).await.map_err(trouble)?;
        let head = text.map(|text| text.parse()).transpose();
        head.map_err(|_| SourceError("the relay's sign of life is no change id".into()))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn trouble(error: RedisError) -> SourceError {
    SourceError(format!("redis: {error}"))
}
