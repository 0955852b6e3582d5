//! A repository's Redis stream, `meta:<repo>`, and the relay's sign of life, `relay:<repo>`.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::StreamInfoStreamReply;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult};
use shared::change::{Change, ChangeId};

use crate::error::SyncerError;

/// About how many entries the stream keeps; older ones are in the center's log.
const ENTRIES_MAX: usize = 100_000;

/// Records sent in one go.
pub(crate) const BATCH_MAX: usize = 500;

/// How long the sign of life lasts, in seconds.
const HEARTBEAT_EXPIRY_SECONDS: u64 = 5;

/// How long Redis may take to accept a connection or answer. Nothing here blocks in Redis.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of a batch.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Added {
    /// Records that are new in the stream.
    pub(crate) published: u64,
    /// Records that the stream refused because it has that id or a larger one.
    pub(crate) refused: u64,
}

/// Why a stream's command failed.
#[derive(Debug)]
pub(crate) enum StreamError {
    /// Redis cannot be reached or is not able; try again.
    Unavailable(String),
    /// No trying helps.
    Fatal(SyncerError),
}

/// A connection to one repository's stream.
#[derive(Clone)]
pub(crate) struct Stream {
    connection: MultiplexedConnection,
    key: String,
    heartbeat_key: String,
}

impl Stream {
    /// Connects; the connection is not renewed when it breaks, because then the stream's last id must be read again.
    pub(crate) async fn connect(client: &Client, repository: &str) -> Result<Self, StreamError> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(RESPONSE_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let connection = client
            .get_multiplexed_async_connection_with_config(&settings)
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(Self { connection, key: format!("meta:{repository}"), heartbeat_key: format!("relay:{repository}") })
    }

    /// The stream's key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The id of the last entry the stream ever had; [`ChangeId::ZERO`] for a missing or empty stream.
    pub(crate) async fn last_id(&mut self) -> Result<ChangeId, StreamError> {
        let reply: RedisResult<StreamInfoStreamReply> =
            redis::cmd("XINFO").arg("STREAM").arg(&self.key).query_async(&mut self.connection).await;
        match reply {
            Ok(info) => info
                .last_generated_id
                .parse()
                .map_err(|_| self.fatal(&format!("its last id is {:?}", info.last_generated_id))),
            Err(error) if is(&error, "no such key") => Ok(ChangeId::ZERO),
            Err(error) => Err(self.judge(&error)),
        }
    }

    /// Adds records in their order, each with its own id as the entry's id. At most [`BATCH_MAX`] at a time.
    pub(crate) async fn add(&mut self, changes: &[Change]) -> Result<Added, StreamError> {
        let mut batch = redis::Pipeline::with_capacity(changes.len());
        for change in changes {
            let add =
                batch.cmd("XADD").arg(&self.key).arg("MAXLEN").arg("~").arg(ENTRIES_MAX).arg(change.id.to_string());
            for (name, value) in change.to_fields() {
                add.arg(name).arg(value);
            }
        }
        let replies: Vec<RedisResult<String>> =
            batch.ignore_errors().query_async(&mut self.connection).await.map_err(|error| self.judge(&error))?;
        let mut added = Added::default();
        for reply in replies {
            match reply {
                Ok(_) => added.published += 1,
                Err(error) if is(&error, "equal or smaller") => added.refused += 1,
                Err(error) => return Err(self.judge(&error)),
            }
        }
        Ok(added)
    }

    /// Says that the relay lives and where the feed is.
    pub(crate) async fn beat(&mut self, head: ChangeId) -> Result<(), StreamError> {
        redis::cmd("SET")
            .arg(&self.heartbeat_key)
            .arg(head.to_string())
            .arg("EX")
            .arg(HEARTBEAT_EXPIRY_SECONDS)
            .query_async(&mut self.connection)
            .await
            .map_err(|error| unavailable(&error))
    }

    fn judge(&self, error: &RedisError) -> StreamError {
        if error.code() == Some("WRONGTYPE") { self.fatal(&error.to_string()) } else { unavailable(error) }
    }

    fn fatal(&self, message: &str) -> StreamError {
        StreamError::Fatal(SyncerError::NotAStream { stream: self.key.clone(), message: message.to_owned() })
    }
}

fn unavailable(error: &RedisError) -> StreamError {
    StreamError::Unavailable(format!("redis: {error}"))
}

fn is(error: &RedisError, words: &str) -> bool {
    error.detail().is_some_and(|detail| detail.contains(words)) || error.to_string().contains(words)
}
