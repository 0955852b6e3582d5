//! The edges' consumer groups: who lives, who is slowest, who is gone for good.
//!
//! A group's name is the key of its edge's heartbeat, which expires a minute after the last beat. When that was stays in
//! `edges:<repo>`, so that a day is counted over changes of the leader.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use redis::streams::StreamInfoGroupsReply;
use redis::{RedisResult, Value};
use shared::change::ChangeId;
use shared::sync::{Fence, WriteError};

use super::{Stream, is, judge, now_seconds, scripts, value};

/// What an edge's name begins with, as a group and as a key.
const EDGE: &str = "edge:";

/// The smallest cursor of the edges that live.
pub(super) async fn slowest(stream: &mut Stream) -> Result<Option<ChangeId>, WriteError> {
    let edges = edges(stream).await?;
    let asked = edges.iter().map(|edge| cursor(stream, edge));
    let cursors: Vec<Option<ChangeId>> = join_all(asked).await.into_iter().collect::<Result<_, _>>()?;
    let known: Vec<ChangeId> = cursors.into_iter().flatten().collect();
    // One that is in an older log, or nowhere yet, has to reconcile whatever is kept: it must not hide another that is slow.
    let newest = known.iter().max().map(|cursor| cursor.epoch);
    Ok(known.into_iter().filter(|cursor| Some(cursor.epoch) == newest).min())
}

/// Destroys the groups whose edge gave no sign of life for `age`, and forgets when edges without a group lived that long ago.
pub(super) async fn retire(stream: &mut Stream, fence: &Fence, age: Duration) -> Result<Vec<String>, WriteError> {
    let edges = edges(stream).await?;
    let mut command = redis::cmd("ZRANGE");
    let lived: HashMap<String, u64> =
        stream.run(command.arg(stream.edges.clone()).arg(&["0", "-1", "WITHSCORES"])).await?;
    let now = now_seconds();
    let mut gone = Vec::new();
    let is_old = |lived: u64| now.saturating_sub(lived) > age.as_secs();
    for (edge, _) in lived.iter().filter(|(edge, lived)| is_old(**lived) && !edges.contains(edge)) {
        let mut command = scripts::call(scripts::FORGET, &[&stream.lease, &stream.edges]);
        stream.fenced(command.arg(value(fence)).arg(edge)).await?;
    }
    for edge in edges {
        match lived.get(&edge) {
            Some(lived) if is_old(*lived) => {
                let mut command = scripts::call(scripts::DESTROY, &[&stream.lease, &stream.key, &stream.edges]);
                stream.fenced(command.arg(value(fence)).arg(&edge)).await?;
                gone.push(edge);
            }
            Some(_) => {}
            // It has not said yet that it lives: its time begins now.
            None => {
                let mut command = redis::cmd("ZADD");
                stream.run::<Value>(command.arg(stream.edges.clone()).arg("NX").arg(now).arg(&edge)).await?;
            }
        }
    }
    Ok(gone)
}

/// The edges that have a group.
async fn edges(stream: &mut Stream) -> Result<Vec<String>, WriteError> {
    let mut command = redis::cmd("XINFO");
    command.arg("GROUPS").arg(&stream.key);
    let reply: RedisResult<StreamInfoGroupsReply> = command.query_async(&mut stream.connection).await;
    match reply {
        Ok(reply) => {
            Ok(reply.groups.iter().filter_map(|group| group.name.strip_prefix(EDGE)).map(ToOwned::to_owned).collect())
        }
        Err(error) if is(&error, "no such key") => Ok(Vec::new()),
        Err(error) => Err(judge(&error)),
    }
}

/// The cursor that an edge's heartbeat names; none where there is no heartbeat, or it is of another repository.
async fn cursor(stream: &Stream, edge: &str) -> Result<Option<ChangeId>, WriteError> {
    let mut connection = stream.connection.clone();
    let mut command = redis::cmd("HMGET");
    let (repo, cursor): (Option<String>, Option<String>) = command
        .arg(format!("{EDGE}{edge}"))
        .arg(&["repo", "cursor"])
        .query_async(&mut connection)
        .await
        .map_err(|error| judge(&error))?;
    let is_ours = repo.is_some_and(|repo| repo == stream.repository);
    Ok(cursor.filter(|_| is_ours).and_then(|cursor| cursor.parse().ok()))
}
