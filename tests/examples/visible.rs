//! From a publish to the list of every edge: `visible stream|feed`. Prints rows of a table.
//!
//! Servers are those built beside this program. `EDGES` and `ROUNDS` make it smaller.

use std::time::{Duration, Instant};

use modtier_tests::{Cluster, Fleet, Module, Origin, Web, until};
use tokio::task::JoinSet;

/// Nobody waits for longer.
const LIMIT: Duration = Duration::from_mins(1);

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The time at which an edge lists the version.
async fn shown(web: Web, version: String) -> Instant {
    let deadline = Instant::now() + LIMIT;
    loop {
        if web.get("corp.example/bench/@v/list").await.text().lines().any(|line| line == version) {
            return Instant::now();
        }
        assert!(Instant::now() < deadline, "{version} is not shown");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::main]
async fn main() {
    let by_stream = match std::env::args().nth(1).as_deref() {
        Some("stream") => true,
        Some("feed") => false,
        _ => panic!("visible stream|feed"),
    };
    let (edges, rounds) = (setting("EDGES", 10), setting("ROUNDS", 100));
    let origin = Origin::start().await;
    let builder = Cluster::of(&origin)
        .center_env("MODTIER_CENTER_LOG_LEVEL", "warn")
        .edge_env("MODTIER_EDGE_LOG_LEVEL", "warn")
        .syncer_env("MODTIER_SYNCER_LOG_LEVEL", "warn");
    let fleet = Fleet::start(builder, edges, usize::from(by_stream)).await;
    let channel = if by_stream { "stream" } else { "feed" };
    for edge in &fleet.edges {
        let follows = async || edge.admin_web().get("api/v1/sync").await.json()["channel"] == channel;
        until("the edges follow", LIMIT, follows).await;
    }
    let mut times = Vec::new();
    for round in 0..=rounds {
        let version = format!("v1.0.{round}");
        let module = Module::new("corp.example/bench", &version).package().build();
        let reply = fleet.publish(&module).await.expect("the center answers");
        assert_eq!(reply.status, 201, "{}", reply.text());
        let published = Instant::now();
        let mut asking = JoinSet::new();
        for edge in &fleet.edges {
            asking.spawn(shown(edge.web().clone(), version.clone()));
        }
        let shown = asking.join_all().await;
        // The first round makes the edges ask for the list at all.
        if round > 0 {
            times.extend(shown.into_iter().map(|at| at - published));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    times.sort_unstable();
    let at = |permille: usize| times[(times.len() * permille / 1000).min(times.len() - 1)].as_secs_f64() * 1000.0;
    let (name, bound) = if by_stream { ("Redis", 250) } else { ("the feed", 500) };
    println!("| {edges} edges, by {name}: median, ms | {:.1} | |", at(500));
    println!("| {edges} edges, by {name}: p99, ms | {:.1} | {bound} |", at(990));
}
