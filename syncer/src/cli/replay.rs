//! `modtier-syncer replay --from ID`: edges apply once more what follows a record.
//!
//! Nothing is put into the stream: it takes each id once, and a record that is in it is in it. The edges read the center's feed. Those
//! whose administration is known are asked there, the others through
//! `control:edges:<repo>` in Redis.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use shared::change::ChangeId;
use shared::cli::{EXIT_DONE, EXIT_FAILED, EXIT_USAGE, fail};
use shared::sync::{Log as _, LogError};
use tokio::time::{Instant, sleep};

use super::print;
use crate::BINARY;
use crate::config::Config;
use crate::daemon::Parties;
use crate::error::SyncerError;
use crate::fleet::Fleet;
use crate::url::reason;

/// How long an edge may take: a long log is many records.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(5);

/// How long edges may take to begin what is asked of them in Redis: they look every ten seconds.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(45);

/// How long what is asked stays there, in seconds: an edge that comes back later does not do it.
const CONTROL_EXPIRY_SECONDS: u64 = 60;

/// What is to be applied once more, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The record after which to begin, such as 1763670000000-41
    #[arg(long, value_name = "ID")]
    from: ChangeId,
    /// Only this edge; may be given several times
    #[arg(long = "edge", value_name = "NAME")]
    edges: Vec<String>,
}

/// What an edge said: how many records, or why none.
type Said = (String, Result<u64, String>);

impl Replay {
    /// Does it. 0: every edge has; 1: some have; 2: none has.
    pub(crate) async fn run(&self, config: &Config) -> Result<u8, SyncerError> {
        let Parties { feed, fleet, .. } = Parties::new(config)?;
        if let Err(error) = feed.page(self.from, Duration::ZERO, 1).await {
            let why = match error {
                LogError::Gone(_) => format!(
                    "the center keeps no record after {}: it is trimmed, beyond the head, or of another log",
                    self.from
                ),
                LogError::Unavailable(_) | LogError::Malformed(_) => error.to_string(),
            };
            fail(BINARY, EXIT_USAGE, &why);
            return Ok(EXIT_USAGE);
        }
        let view = fleet.look().await;
        let is_meant = |name: &String| self.edges.is_empty() || self.edges.contains(name);
        let up: Vec<String> = view.edges.iter().filter(|edge| edge.up).map(|edge| edge.name.clone()).collect();
        let named = self.edges.iter().chain(view.edges.iter().map(|edge| &edge.name));
        let mut said: Vec<Said> = named
            .filter(|name| is_meant(name) && !up.contains(name))
            .map(|name| (name.clone(), Err("it does not answer".to_owned())))
            .collect();
        said.dedup();
        said.extend(self.ask(&fleet, up.into_iter().filter(is_meant).collect()).await);
        let done = said.iter().filter(|(_, outcome)| outcome.is_ok()).count();
        for (edge, outcome) in &said {
            print(&match outcome {
                Ok(records) => format!("{edge}: {records} records applied once more\n"),
                Err(why) => format!("{edge}: failed: {why}\n"),
            });
        }
        Ok(match done {
            0 => EXIT_USAGE,
            done if done == said.len() => EXIT_DONE,
            _ => EXIT_FAILED,
        })
    }

    async fn ask(&self, fleet: &Fleet, edges: Vec<String>) -> Vec<Said> {
        let (mut reachable, mut others) = (Vec::new(), Vec::new());
        for edge in edges {
            match fleet.admin_of(&edge).await {
                Some(base) => reachable.push((edge, base)),
                None => others.push(edge),
            }
        }
        let asked = reachable.into_iter().map(async |(edge, base)| {
            let outcome = self.ask_one(fleet, base).await;
            (edge, outcome)
        });
        let (mut said, through_redis) = tokio::join!(join_all(asked), self.ask_through_redis(fleet, others));
        said.extend(through_redis);
        said
    }

    async fn ask_one(&self, fleet: &Fleet, base: &str) -> Result<u64, String> {
        let body = json!({ "replay_from": self.from }).to_string();
        let request = fleet.edges().post(base, "api/v1/sync").body(body).timeout(ANSWER_TIMEOUT);
        let response = request.send().await.map_err(reason)?;
        let status = response.status();
        let answer: Value = response.json().await.map_err(reason)?;
        if status.is_success() {
            return answer["records"].as_u64().ok_or_else(|| "its answer has no count".to_owned());
        }
        Err(answer["detail"].as_str().map_or_else(|| status.to_string(), ToOwned::to_owned))
    }

    async fn ask_through_redis(&self, fleet: &Fleet, edges: Vec<String>) -> Vec<Said> {
        if edges.is_empty() {
            return Vec::new();
        }
        let id = format!("{:016x}", rand::random::<u64>());
        let action = json!({ "id": id, "repo": fleet.repository(), "edges": edges, "replay_from": self.from });
        if let Err(error) = put(fleet, &action).await {
            return edges.into_iter().map(|edge| (edge, Err(error.clone()))).collect();
        }
        let (mut waiting, mut said) = (edges, Vec::new());
        let asked = Instant::now();
        let mut patience = CONTROL_TIMEOUT;
        while !waiting.is_empty() && asked.elapsed() < patience {
            sleep(Duration::from_millis(200)).await;
            for edge in &fleet.look().await.edges {
                let outcome = edge.obeyed.strip_prefix(&id).map(str::trim);
                match outcome.filter(|_| waiting.contains(&edge.name)) {
                    None => {}
                    Some("begun") => patience = ANSWER_TIMEOUT,
                    Some(outcome) => {
                        waiting.retain(|name| *name != edge.name);
                        let records = outcome.parse().map_err(|_| "its log says why".to_owned());
                        said.push((edge.name.clone(), records));
                    }
                }
            }
        }
        said.extend(waiting.into_iter().map(|edge| (edge, Err("it has not said that it did it".to_owned()))));
        said
    }
}

async fn put(fleet: &Fleet, action: &Value) -> Result<(), String> {
    let Some(mut redis) = fleet.heartbeats().await else { return Ok(()) };
    let mut connection = redis.connection().await.map_err(|error| error.to_string())?;
    let key = redis.key("control:edges", fleet.repository());
    let set = redis::cmd("SET")
        .arg(key)
        .arg(action.to_string())
        .arg("EX")
        .arg(CONTROL_EXPIRY_SECONDS)
        .exec_async(&mut connection)
        .await;
    redis.keep(connection);
    set.map_err(|error| format!("redis: {error}"))
}
