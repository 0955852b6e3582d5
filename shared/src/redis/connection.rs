//! One connection, whatever stands behind it.

use std::time::Duration;

use ::redis::aio::{ConnectionLike, MultiplexedConnection};
use ::redis::cluster::ClusterClientBuilder;
use ::redis::cluster_async::ClusterConnection;
use ::redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, RedisFuture, Value};

use super::RedisError;
use super::settings::Identity;

/// How long connecting may take.
pub(super) const CONNECT: Duration = Duration::from_secs(2);

/// A connection to a server or to the nodes of a Cluster. Clones share it; it is not renewed when it breaks.
#[derive(Clone)]
pub enum Connection {
    /// To one server.
    Single(MultiplexedConnection),
    /// To a Cluster.
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// Connects to one server.
pub(super) async fn single(
    server: ConnectionInfo,
    identity: &Identity,
    answer: Duration,
) -> Result<Connection, RedisError> {
    let mut login = server.redis_settings().clone();
    if let Some(user) = &identity.user {
        login = login.set_username(user);
    }
    if let Some(password) = &identity.password {
        login = login.set_password(password);
    }
    // Telling the library's name is one more command that an ACL user would have to be allowed.
    let server = server.set_redis_settings(login.set_skip_set_lib_name());
    let client = match &identity.certificates {
        Some(certificates) => Client::build_with_tls(server, certificates.clone()),
        None => Client::open(server),
    };
    let client = client.map_err(|error| RedisError(format!("cannot be used as configured: {}", error.category())))?;
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(answer));
    let connected = client.get_multiplexed_async_connection_with_config(&config).await;
    connected.map(Connection::Single).map_err(trouble)
}

/// Connects to a Cluster.
pub(super) async fn cluster(
    nodes: &[ConnectionInfo],
    identity: &Identity,
    answer: Duration,
) -> Result<Connection, RedisError> {
    // Trying again is for the caller, who knows what to read anew.
    let mut builder = ClusterClientBuilder::new(nodes.iter().cloned())
        .connection_timeout(CONNECT)
        .response_timeout(answer)
        .overall_response_timeout(Some(answer + CONNECT))
        .retries(1);
    if let Some(user) = &identity.user {
        builder = builder.username(user);
    }
    if let Some(password) = &identity.password {
        builder = builder.password(password);
    }
    if let Some(certificates) = &identity.certificates {
        builder = builder.certs(certificates.clone());
    }
    let client = builder.build().map_err(trouble)?;
    client.get_async_connection().await.map(Connection::Cluster).map_err(trouble)
}

#[expect(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
pub(super) fn trouble(error: ::redis::RedisError) -> RedisError {
    RedisError(error.to_string())
}
