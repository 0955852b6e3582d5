//! Who is the master: the Sentinels are asked, and who is named must say so himself, because for a while after a fail-over a
//! Sentinel may not have heard.

use std::time::Duration;

use ::redis::{ConnectionAddr, ConnectionInfo, Value};
use futures_util::future::select_ok;
use tokio::time::timeout;

use super::RedisError;
use super::connection::{CONNECT, Connection, single, trouble};
use super::settings::Identity;

/// Connects to the master that the first of the Sentinels to answer names.
pub(super) async fn master(
    sentinels: &[ConnectionInfo],
    name: &str,
    identity: &Identity,
    answer: Duration,
) -> Result<Connection, RedisError> {
    if sentinels.is_empty() {
        return Err(RedisError("there are no Sentinels".into()));
    }
    // All at once: one that does not answer must not use up the time for the others.
    let asked = sentinels.iter().map(|sentinel| {
        Box::pin(async move {
            let answered = timeout(CONNECT + CONNECT, through(sentinel, name, identity, answer)).await;
            answered.unwrap_or_else(|_| Err(RedisError("a Sentinel does not answer".into())))
        })
    });
    select_ok(asked).await.map(|(connection, _)| connection)
}

async fn through(
    sentinel: &ConnectionInfo,
    name: &str,
    identity: &Identity,
    answer: Duration,
) -> Result<Connection, RedisError> {
    let theirs = Identity { user: None, password: None, certificates: identity.certificates.clone() };
    let mut asked = single(sentinel_info(sentinel), &theirs, CONNECT).await?;
    let mut question = ::redis::cmd("SENTINEL");
    question.arg("get-master-addr-by-name").arg(name);
    let address: Option<(String, u16)> = question.query_async(&mut asked).await.map_err(trouble)?;
    let (host, port) = address.ok_or_else(|| RedisError(format!("the Sentinels know no master {name:?}")))?;
    let mut connection = single(server_info(sentinel, host, port), identity, answer).await?;
    let role: Vec<Value> = ::redis::cmd("ROLE").query_async(&mut connection).await.map_err(trouble)?;
    match role.first().map(::redis::from_redis_value_ref::<String>) {
        Some(Ok(role)) if role == "master" => Ok(connection),
        _ => Err(RedisError("the server that a Sentinel names is not the master".into())),
    }
}

/// A Sentinel has no databases.
fn sentinel_info(sentinel: &ConnectionInfo) -> ConnectionInfo {
    sentinel.clone().set_redis_settings(sentinel.redis_settings().clone().set_db(0))
}

/// The server, reached as its Sentinel is, but for who we are.
fn server_info(sentinel: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
    let address = match sentinel.addr() {
        ConnectionAddr::TcpTls { insecure, .. } => {
            ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: None }
        }
        _ => ConnectionAddr::Tcp(host, port),
    };
    let login = ::redis::RedisConnectionInfo::default().set_db(sentinel.redis_settings().db());
    sentinel.clone().set_addr(address).set_redis_settings(login)
}
