//! What Redis knows of the edges: their heartbeats, and the consumer groups of those that no longer send one.

use std::collections::HashMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::StreamInfoGroupsReply;
use redis::{AsyncConnectionConfig, Client, RedisResult};
use shared::change::ChangeId;

use super::report::Report;

/// Most edges that are read.
const EDGES_MAX: usize = 1000;

/// How long Redis may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that is made anew when it broke.
#[derive(Debug)]
pub(crate) struct Heartbeats {
    client: Client,
    connection: Option<MultiplexedConnection>,
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
    /// Through this client.
    pub(super) const fn new(client: Client) -> Self {
        Self { client, connection: None }
    }

    /// A connection; to be given back with [`Self::keep`] when all went well.
    pub(crate) async fn connection(&mut self) -> RedisResult<MultiplexedConnection> {
        if let Some(connection) = self.connection.take() {
            return Ok(connection);
        }
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        self.client.get_multiplexed_async_connection_with_config(&settings).await
    }

    /// Keeps a connection that works.
    pub(crate) fn keep(&mut self, connection: MultiplexedConnection) {
        self.connection = Some(connection);
    }

    /// Reads all that concerns `repository`.
    pub(super) async fn read(&mut self, repository: &str) -> RedisResult<Beats> {
        let mut connection = self.connection().await?;
        let mut beats = Beats::default();
        let mut at = 0_u64;
        loop {
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(at)
                .arg(&["MATCH", "edge:*", "COUNT"])
                .arg(EDGES_MAX)
                .query_async(&mut connection)
                .await?;
            for key in keys {
                let fields: HashMap<String, String> =
                    redis::cmd("HGETALL").arg(&key).query_async(&mut connection).await?;
                beats.alive.extend(Report::from_fields(key.trim_start_matches("edge:"), fields));
            }
            at = next;
            if at == 0 || beats.alive.len() >= EDGES_MAX {
                break;
            }
        }
        let groups: RedisResult<StreamInfoGroupsReply> =
            redis::cmd("XINFO").arg("GROUPS").arg(format!("meta:{repository}")).query_async(&mut connection).await;
        // Without a stream there are no groups.
        for group in groups.map(|reply| reply.groups).unwrap_or_default() {
            let Some(edge) = group.name.strip_prefix("edge:") else { continue };
            if let Ok(cursor) = group.last_delivered_id.parse()
                && !beats.alive.iter().any(|report| report.edge == edge)
            {
                beats.silent.push((edge.to_owned(), cursor));
            }
        }
        beats.alive.retain(|report| report.repo.is_empty() || report.repo == repository);
        self.keep(connection);
        Ok(beats)
    }
}
