//! Oversight: how far every edge is behind the center, as figures.
//!
//! The lag is reckoned here and not taken from the edge: an edge whose channel is dead does not know what it misses.

mod lag;

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use shared::change::ChangeId;
use shared::redis::{Connection, Redis};
use shared::sync::Log as _;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use self::lag::LagClock;
use crate::config::Config;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::url::{authority, join};

/// How often everything is asked.
const ROUND: Duration = Duration::from_secs(2);

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Most heartbeats that are read from Redis in a round.
const HEARTBEATS_MAX: isize = 1000;

/// What an edge says about itself at `GET /api/v1/sync`.
#[derive(Debug, Deserialize)]
struct Sync {
    cursor: ChangeId,
}

/// Who is watched.
pub(crate) struct Overseer {
    client: reqwest::Client,
    feed: Feed,
    /// Label and URL of each edge.
    edges: Vec<(String, String)>,
    heartbeats: Option<Redis>,
    token: Option<String>,
    repository: String,
    metrics: Metrics,
}

impl Overseer {
    /// Watches the edges of the configuration.
    pub(crate) fn new(
        client: reqwest::Client,
        feed: Feed,
        config: &Config,
        redis: Option<&Redis>,
        token: Option<String>,
        metrics: Metrics,
    ) -> Self {
        let edges: Vec<_> = config.edges.iter().map(|edge| (authority(edge), join(edge, "api/v1/sync"))).collect();
        let heartbeats = redis.filter(|_| edges.is_empty()).cloned();
        Self { client, feed, edges, heartbeats, token, repository: config.repository.clone(), metrics }
    }

    /// Watches until the process ends.
    pub(crate) async fn run(self) {
        let mut ticks = interval(ROUND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut clock = LagClock::default();
        let mut cursors: HashMap<String, ChangeId> = HashMap::new();
        let mut redis = None;
        loop {
            ticks.tick().await;
            if let Ok(Ok(head)) = timeout(ANSWER_TIMEOUT, self.feed.head(clock.head())).await {
                clock.seen(head, Instant::now());
            }
            let told = match &self.heartbeats {
                Some(client) => timeout(ANSWER_TIMEOUT, beats(client, &self.repository, &mut redis))
                    .await
                    .ok()
                    .flatten()
                    .unwrap_or_default(),
                None => self.ask_edges().await,
            };
            self.mark_up(&told, &cursors);
            cursors.extend(told);
            for (edge, cursor) in &cursors {
                let lag = clock.lag(*cursor, Instant::now());
                self.metrics.sync_lag.with_label_values(&[edge, &self.repository]).set(lag.as_secs_f64());
            }
            clock.forget_before(cursors.values().copied().min());
        }
    }

    async fn ask_edges(&self) -> Vec<(String, ChangeId)> {
        let asked = self.edges.iter().map(async |(label, url)| {
            let cursor = timeout(ANSWER_TIMEOUT, self.ask(url)).await.ok().flatten();
            cursor.map(|cursor| (label.clone(), cursor))
        });
        futures_util::future::join_all(asked).await.into_iter().flatten().collect()
    }

    async fn ask(&self, url: &str) -> Option<ChangeId> {
        let mut request = self.client.get(url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.ok()?.error_for_status().ok()?;
        response.json::<Sync>().await.ok().map(|sync| sync.cursor)
    }

    fn mark_up(&self, told: &[(String, ChangeId)], cursors: &HashMap<String, ChangeId>) {
        let known =
            self.edges.iter().map(|(label, _)| label).chain(cursors.keys()).chain(told.iter().map(|(label, _)| label));
        for edge in known {
            let up = told.iter().any(|(label, _)| label == edge);
            self.metrics.edge_up.with_label_values(&[edge]).set(i64::from(up));
        }
    }
}

/// The cursors in the edges' heartbeat hashes, `edge:<id>`; the edges that were ever heard of stand in `edges:<repo>`.
async fn beats(redis: &Redis, repo: &str, kept: &mut Option<Connection>) -> Option<Vec<(String, ChangeId)>> {
    let mut connection =
        if let Some(connection) = kept.take() { connection } else { redis.connect(ANSWER_TIMEOUT).await.ok()? };
    let mut command = redis::cmd("ZRANGE");
    command.arg(redis.key("edges", repo)).arg(-HEARTBEATS_MAX).arg(-1);
    let edges: Vec<String> = command.query_async(&mut connection).await.ok()?;
    let mut told = Vec::new();
    for edge in edges {
        let mut command = redis::cmd("HGET");
        let cursor: Option<String> =
            command.arg(format!("edge:{edge}")).arg("cursor").query_async(&mut connection).await.ok()?;
        told.extend(cursor.and_then(|cursor| cursor.parse().ok()).map(|cursor| (edge, cursor)));
    }
    // A connection is kept only when all went well; a broken one is made anew in the next round.
    *kept = Some(connection);
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_may_say_more_than_is_read() {
        let sync: Sync = serde_json::from_str(
            r#"{"cursor":"5-7","head":"5-8","lag_seconds":0.5,"last_reconcile":null,"channel":"feed"}"#,
        )
        .unwrap();
        assert_eq!(sync.cursor, ChangeId { epoch: 5, seq: 7 });
    }
}
