//! The edges' consumer groups: who lives, who is slowest, who is gone for good.
//!
//! A group's name is the key of its edge's heartbeat, which expires a minute after the last beat. When it was last there is kept
//! in `groups:<repo>`, so that a day is counted over changes of the leader.

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
    let groups = names(stream).await?;
    let cursors = cursors(stream, &groups).await?;
    Ok(cursors.into_iter().flatten().min())
}

/// Destroys the groups that had no heartbeat for `age`, and remembers those that have one now.
pub(super) async fn retire(stream: &mut Stream, fence: &Fence, age: Duration) -> Result<Vec<String>, WriteError> {
    let groups = names(stream).await?;
    let cursors = cursors(stream, &groups).await?;
    let mut command = redis::cmd("HGETALL");
    let seen: HashMap<String, u64> = stream.run(command.arg(&stream.groups.clone())).await?;
    let now = now_seconds();
    let (mut alive, mut gone) = (Vec::new(), Vec::new());
    for (group, cursor) in groups.into_iter().zip(cursors) {
        match seen.get(&group) {
            Some(seen) if cursor.is_none() && now.saturating_sub(*seen) > age.as_secs() => gone.push(group),
            Some(_) if cursor.is_none() => {}
            // Alive, or never seen before: its time begins now.
            _ => alive.push((group, now)),
        }
    }
    if !alive.is_empty() {
        let mut command = redis::cmd("HSET");
        stream.run::<Value>(command.arg(&stream.groups.clone()).arg(alive)).await?;
    }
    for group in &gone {
        let mut command = scripts::call(scripts::DESTROY, &[&stream.lease, &stream.stream, &stream.groups]);
        stream.fenced(command.arg(value(fence)).arg(group)).await?;
    }
    Ok(gone)
}

async fn names(stream: &mut Stream) -> Result<Vec<String>, WriteError> {
    let mut command = redis::cmd("XINFO");
    command.arg("GROUPS").arg(&stream.stream);
    let reply: RedisResult<StreamInfoGroupsReply> = command.query_async(&mut stream.connection).await;
    match reply {
        Ok(reply) => {
            Ok(reply.groups.into_iter().map(|group| group.name).filter(|name| name.starts_with(EDGE)).collect())
        }
        Err(error) if is(&error, "no such key") => Ok(Vec::new()),
        Err(error) => Err(judge(&error)),
    }
}

/// The cursor that each edge's heartbeat names; none where there is no heartbeat, or it is of another repository.
async fn cursors(stream: &Stream, groups: &[String]) -> Result<Vec<Option<ChangeId>>, WriteError> {
    let asked = groups.iter().map(async |group| {
        let mut connection = stream.connection.clone();
        let mut command = redis::cmd("HMGET");
        let (repo, cursor): (Option<String>, Option<String>) = command
            .arg(group)
            .arg(&["repo", "cursor"])
            .query_async(&mut connection)
            .await
            .map_err(|error| judge(&error))?;
        let is_ours = repo.is_some_and(|repo| repo == stream.repository);
        Ok(cursor.filter(|_| is_ours).and_then(|cursor| cursor.parse().ok()))
    });
    join_all(asked).await.into_iter().collect()
}
