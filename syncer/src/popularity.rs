//! The modules that are asked for most, over all edges.
//!
//! Each edge keeps a sketch of fixed size whose counts halve every ten minutes. Where the edges' administrations are known, their lists
//! are merged here, region by region; elsewhere `hot:<repo>` in Redis has the sums that the edges add to once a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::fleet::Fleet;

/// Modules that an edge is asked for; it keeps no more.
const OF_AN_EDGE: usize = 200;

/// How long one edge may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// A module that is asked for often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct HotModule {
    /// Its path.
    pub(crate) module: String,
    /// Requests lately, by all edges together: never less than there were, but for what an edge has pushed out of its sketch.
    pub(crate) requests: u64,
    /// How many of them may have been another module's.
    pub(crate) overcount: u64,
    /// The same by region; edges that name none count under the empty one. Empty where only Redis tells.
    pub(crate) regions: BTreeMap<String, u64>,
}

/// An edge's list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OfEdge {
    region: String,
    modules: Vec<Counted>,
}

#[derive(Debug, Deserialize)]
struct Counted {
    module: String,
    requests: u64,
    #[serde(default)]
    overcount: u64,
}

/// Why nobody told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no edge tells what is asked for: is one reachable, or Redis?")]
pub(crate) struct NobodyTold;

/// The most asked modules, at most `count`, the first most.
pub(crate) async fn hottest(fleet: &Fleet, count: usize) -> Result<Vec<HotModule>, NobodyTold> {
    let asked = fleet.admins().map(|url| of_edge(fleet, url));
    let lists: Vec<OfEdge> = futures_util::future::join_all(asked).await.into_iter().flatten().collect();
    if !lists.is_empty() {
        return Ok(merge(lists, count));
    }
    let from_redis = timeout(ANSWER_TIMEOUT, from_redis(fleet, count)).await.ok().flatten();
    from_redis.ok_or(NobodyTold)
}

async fn of_edge(fleet: &Fleet, url: &str) -> Option<OfEdge> {
    let asked = async {
        let path = format!("api/v1/hot?n={OF_AN_EDGE}");
        fleet.edges().get(url, &path).send().await.ok()?.error_for_status().ok()?.json().await.ok()
    };
    timeout(ANSWER_TIMEOUT, asked).await.ok().flatten()
}

fn merge(lists: Vec<OfEdge>, count: usize) -> Vec<HotModule> {
    let mut merged: BTreeMap<String, HotModule> = BTreeMap::new();
    for OfEdge { region, modules } in lists {
        for counted in modules {
            let hot = merged.entry(counted.module).or_insert_with_key(|module| HotModule {
                module: module.clone(),
                requests: 0,
                overcount: 0,
                regions: BTreeMap::new(),
            });
            hot.requests += counted.requests;
            hot.overcount += counted.overcount;
            *hot.regions.entry(region.clone()).or_default() += counted.requests;
        }
    }
    let mut all: Vec<_> = merged.into_values().collect();
    // Equals stay in the order of their names.
    all.sort_by_key(|hot| std::cmp::Reverse(hot.requests));
    all.truncate(count);
    all
}

async fn from_redis(fleet: &Fleet, count: usize) -> Option<Vec<HotModule>> {
    let mut redis = fleet.heartbeats().await?;
    let mut connection = redis.connection().await.ok()?;
    let scores: Vec<(String, f64)> = redis::cmd("ZREVRANGE")
        .arg(redis.key("hot", fleet.repository()))
        .arg(0)
        .arg(count.saturating_sub(1))
        .arg("WITHSCORES")
        .query_async(&mut connection)
        .await
        .ok()?;
    redis.keep(connection);
    let hot = |(module, score): (String, f64)| HotModule {
        module,
        requests: whole(score),
        overcount: 0,
        regions: BTreeMap::new(),
    };
    Some(scores.into_iter().map(hot).collect())
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests, far below 2^53")]
fn whole(score: f64) -> u64 {
    score.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_edge(region: &str, counts: &[(&str, u64)]) -> OfEdge {
        let counted = |(module, requests): &(&str, u64)| Counted {
            module: (*module).to_owned(),
            requests: *requests,
            overcount: 1,
        };
        OfEdge { region: region.to_owned(), modules: counts.iter().map(counted).collect() }
    }

    #[test]
    fn regions_are_merged_and_the_most_asked_come_first() {
        let lists = vec![
            of_edge("eu", &[("example.com/a", 5), ("example.com/b", 4)]),
            of_edge("eu", &[("example.com/b", 3)]),
            of_edge("us", &[("example.com/b", 2), ("example.com/c", 1)]),
        ];
        let hot = merge(lists, 2);
        assert_eq!(hot.iter().map(|hot| hot.module.as_str()).collect::<Vec<_>>(), ["example.com/b", "example.com/a"]);
        assert_eq!((hot[0].requests, hot[0].overcount), (9, 3));
        assert_eq!(hot[0].regions.iter().map(|(r, n)| (r.as_str(), *n)).collect::<Vec<_>>(), [("eu", 7), ("us", 2)]);
    }
}
