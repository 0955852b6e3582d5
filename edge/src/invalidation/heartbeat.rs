//! The heartbeat: what this edge tells Redis about itself, `edge:<id>` and its part of `hot:<repo>`.
//!
//! It is sent every ten seconds, and soon after the cursor has moved: whoever waits until a change has reached every edge should not
//! wait for the next ten.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::RedisError;
use serde_json::Value;
use shared::redis::{Connection, Redis};
use tokio::time::{Instant, sleep};

use super::control::Control;
use super::redis::Streams;
use super::report;
use crate::app::App;

/// How often this edge says how far it is.
const EVERY: Duration = Duration::from_secs(10);

/// How soon after the cursor has moved: a burst of changes is told once.
const SOON: Duration = Duration::from_millis(50);

/// How long a heartbeat holds, in seconds.
const EXPIRES_SECONDS: u64 = 60;

/// How long Redis may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// How often the modules asked for most are told.
const HOT_EVERY: Duration = Duration::from_mins(1);

/// Modules that are told of.
const HOT_MODULES: usize = 100;

/// The counts in Redis halve as often as they do here, by whichever edge comes first, in seconds.
const HOT_HALF_LIFE_SECONDS: u64 = 600;

/// Most modules that Redis keeps counts of.
const HOT_KEPT: isize = 1000;

/// Tells Redis, where it is configured. Never ends.
pub(super) async fn send(streams: Streams) {
    if streams.redis.is_none() {
        return std::future::pending().await;
    }
    let (mut open, mut control) = (None, Control::default());
    let mut hot_told = Instant::now();
    loop {
        if open.is_none() {
            open = streams.connect(ANSWER).await.ok();
        }
        if let Some((redis, connection)) = &mut open
            && let Err(error) = tell(&streams.app, redis, connection, &mut control, &mut hot_told).await
        {
            tracing::debug!(%error, "no heartbeat");
            open = None;
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = streams.app.sync.moved() => sleep(SOON).await,
            () = control.done() => {}
        }
    }
}

/// All of it. Only a heartbeat that could not be sent is an error: the rest may be forbidden to this edge, and is no reason to fall
/// silent.
async fn tell(
    app: &Arc<App>,
    redis: &Redis,
    connection: &mut Connection,
    control: &mut Control,
    hot_told: &mut Instant,
) -> Result<(), RedisError> {
    if let Err(error) = control.obey(app, redis, connection).await {
        tracing::debug!(%error, "what is asked of all edges cannot be read");
    }
    beat(app, redis, connection, control).await?;
    if hot_told.elapsed() >= HOT_EVERY {
        *hot_told = Instant::now();
        if let Err(error) = tell_hot(app, redis, connection).await {
            tracing::debug!(%error, "the modules asked for most were not told");
        }
    }
    Ok(())
}

/// A hash that expires says where this edge is; a set that does not expire says when it was last heard of.
async fn beat(app: &App, redis: &Redis, connection: &mut Connection, control: &Control) -> Result<(), RedisError> {
    let key = format!("edge:{}", app.edge_id);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut set = redis::cmd("HSET");
    set.arg(&key).arg("time").arg(now).arg("obeyed").arg(control.last());
    if let Value::Object(report) = report(app) {
        for (name, value) in report {
            // A hash has texts alone: what is unknown is an empty one.
            let text = match value {
                Value::Null => String::new(),
                Value::String(text) => text,
                other => other.to_string(),
            };
            set.arg(name).arg(text);
        }
    }
    let mut pipe = redis::pipe();
    pipe.add_command(set).ignore().cmd("EXPIRE").arg(&key).arg(EXPIRES_SECONDS).ignore();
    pipe.exec_async(connection).await?;
    let heard = redis.key("edges", &app.config().repository);
    redis::cmd("ZADD").arg(heard).arg(now).arg(&app.edge_id).exec_async(connection).await
}

/// Adds what was asked for here since the last time.
pub(super) async fn tell_hot(app: &App, redis: &Redis, connection: &mut Connection) -> Result<(), RedisError> {
    let key = redis.key("hot", &app.config().repository);
    let halved = format!("{key}:halved");
    let is_first: Option<String> = redis::cmd("SET")
        .arg(&halved)
        .arg(&app.edge_id)
        .arg(&["NX", "EX"])
        .arg(HOT_HALF_LIFE_SECONDS)
        .query_async(connection)
        .await?;
    let mut pipe = redis::pipe();
    if is_first.is_some() {
        pipe.cmd("ZUNIONSTORE").arg(&key).arg(1).arg(&key).arg("WEIGHTS").arg("0.5").ignore();
        pipe.cmd("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg("(1").ignore();
    }
    for (module, requests) in app.popularity.take_untold(HOT_MODULES) {
        pipe.cmd("ZINCRBY").arg(&key).arg(requests).arg(module.as_str()).ignore();
    }
    pipe.cmd("ZREMRANGEBYRANK").arg(&key).arg(0).arg(-HOT_KEPT - 1).ignore();
    pipe.cmd("EXPIRE").arg(&key).arg(24 * 3600).ignore();
    pipe.exec_async(connection).await
}
