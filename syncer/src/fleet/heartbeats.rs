//! What Redis knows of the edges: their heartbeats, and the consumer groups of those that no longer send one.

use std::time::Duration;

use redis::RedisResult;
use redis::streams::StreamInfoGroupsReply;
use shared::change::ChangeId;
use shared::redis::{Connection, Redis, RedisError};

use super::report::Report;

/// Most edges that are read.
const EDGES_MAX: isize = 1000;

/// How long Redis may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that is made anew when it broke.
pub(crate) struct Heartbeats {
    redis: Redis,
    connection: Option<Connection>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Beats {
    /// Edges that live.
    pub(super) alive: Vec<Report>,
    /// Name and place of edges that have a consumer group and no heartbeat.
    pub(super) silent: Vec<(String, ChangeId)>,
}

impl Heartbeats {
    /// Of this Redis.
    pub(super) const fn new(redis: Redis) -> Self {
        Self { redis, connection: None }
    }

    /// The name of a repository's key.
    pub(crate) fn key(&self, kind: &str, repository: &str) -> String {
        self.redis.key(kind, repository)
    }

    /// A connection; to be given back with [`Self::keep`] when all went well.
    pub(crate) async fn connection(&mut self) -> Result<Connection, RedisError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.redis.connect(ANSWER_TIMEOUT).await,
        }
    }

    /// Keeps a connection that works.
    pub(crate) fn keep(&mut self, connection: Connection) {
        self.connection = Some(connection);
    }

    /// Reads all that concerns `repository`; none if Redis does not answer.
    pub(super) async fn read(&mut self, repository: &str) -> Option<Beats> {
        let mut connection = self.connection().await.ok()?;
        let beats = self.beats(&mut connection, repository).await.ok()?;
        self.keep(connection);
        Some(beats)
    }

    async fn beats(&self, connection: &mut Connection, repository: &str) -> RedisResult<Beats> {
        let mut beats = Beats::default();
        let mut heard = redis::cmd("ZRANGE");
        heard.arg(self.key("edges", repository)).arg(-EDGES_MAX).arg(-1);
        let edges: Vec<String> = heard.query_async(connection).await?;
        // All at once over the one connection: one after another, some hundred would take longer than an answer may.
        let asked = edges.iter().map(|edge| {
            let mut connection = connection.clone();
            async move {
                let fields = redis::cmd("HGETALL").arg(format!("edge:{edge}")).query_async(&mut connection).await?;
                RedisResult::Ok(Report::from_fields(edge, fields))
            }
        });
        beats.alive.extend(futures_util::future::try_join_all(asked).await?.into_iter().flatten());
        beats.alive.retain(|report| report.repo.is_empty() || report.repo == repository);
        let groups: RedisResult<StreamInfoGroupsReply> =
            redis::cmd("XINFO").arg("GROUPS").arg(self.key("meta", repository)).query_async(connection).await;
        // Without a stream there are no groups.
        for group in groups.map(|reply| reply.groups).unwrap_or_default() {
            let Some(edge) = group.name.strip_prefix("edge:") else { continue };
            if let Ok(cursor) = group.last_delivered_id.parse()
                && !beats.alive.iter().any(|report| report.edge == edge)
            {
                beats.silent.push((edge.to_owned(), cursor));
            }
        }
        Ok(beats)
    }
}
