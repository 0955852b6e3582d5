//! A burst of changes, applied by three edges that serve hits meanwhile: `burst stream|feed`. Prints rows of a table.
//!
//! The center is played; edges, syncer and Redis are real, built beside this program. `CHANGES` makes it smaller.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use modtier_tests::{LoneEdge, PlayedCenter, Process, ProcessSpec, RedisServer, Web, binary, until};
use tokio::task::JoinSet;

const EDGES: usize = 3;
const HOT: &str = "bench.example/hot/@v/v1.0.0.info";
const LIMIT: Duration = Duration::from_mins(5);
const QUIET: Duration = Duration::from_secs(3);

async fn cursor(edge: &Web) -> String {
    edge.get("api/v1/sync").await.json()["cursor"].as_str().unwrap_or_default().to_owned()
}

/// Hits until told to stop, a pause after each: what one takes, not how many there are.
async fn hits(web: Web, stop: Arc<AtomicBool>) -> Vec<Duration> {
    let mut times = Vec::new();
    while !stop.load(Relaxed) {
        let asked = Instant::now();
        let reply = web.get(HOT).await;
        times.push(asked.elapsed());
        assert_eq!((reply.status, reply.header("x-cache")), (200, "HIT"));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    times
}

/// The 99th percentile of the hits at all edges while `work` is done.
async fn p99_during(edges: &[LoneEdge], work: impl Future<Output = ()>) -> f64 {
    let (mut clients, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
    for edge in edges {
        clients.spawn(hits(edge.web(), Arc::clone(&stop)));
    }
    work.await;
    stop.store(true, Relaxed);
    let mut times = clients.join_all().await.concat();
    times.sort_unstable();
    times[(times.len() * 99 / 100).min(times.len() - 1)].as_secs_f64() * 1000.0
}

fn syncer(center: &str, redis: &str, folder: &std::path::Path) -> Process {
    let spec = ProcessSpec::new("syncer", binary("syncer"), folder)
        .arg("run")
        .env("MODTIER_SYNCER_ADMIN", "127.0.0.1:0")
        .env("MODTIER_SYNCER_CENTER", center)
        .env("MODTIER_SYNCER_EDGES", "")
        .env("MODTIER_SYNCER_LOG_LEVEL", "warn")
        .env("MODTIER_SYNCER_REDIS_URL", redis);
    Process::spawn(spec)
}

#[tokio::main]
async fn main() {
    let channel = std::env::args().nth(1).filter(|word| word == "stream" || word == "feed").expect("burst stream|feed");
    let count: u64 = std::env::var("CHANGES").map_or(50_000, |text| text.parse().expect("CHANGES is a number"));
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    let center = PlayedCenter::start().await;
    let redis = if channel == "stream" { Some(RedisServer::start(folder.path()).await) } else { None };
    let _syncer = redis.as_ref().map(|redis| syncer(center.url(), &redis.url(), folder.path()));
    let mut edges = Vec::new();
    for _ in 0..EDGES {
        let mut builder = LoneEdge::at(center.url()).env("MODTIER_EDGE_LOG_LEVEL", "warn");
        if let Some(redis) = &redis {
            builder = builder.env("MODTIER_EDGE_REDIS_URL", &redis.url());
        }
        edges.push(builder.start().await);
    }
    let admins: Vec<Web> = edges.iter().map(LoneEdge::admin_web).collect();
    for (edge, admin) in edges.iter().zip(&admins) {
        let follows = async || admin.get("api/v1/sync").await.json()["channel"] == channel.as_str();
        until("the edges follow", LIMIT, follows).await;
        assert_eq!(edge.web().get(HOT).await.status, 200);
    }
    let quiet = p99_during(&edges, tokio::time::sleep(QUIET)).await;
    let before: u64 = edges.iter().map(|edge| edge.process.memory_peak_bytes()).max().unwrap_or_default();
    let mut slowest = Duration::ZERO;
    let during = p99_during(&edges, async {
        let begun = Instant::now();
        let head = center.record(count).to_string();
        for admin in &admins {
            until("the burst is applied", LIMIT, async || cursor(admin).await == head).await;
            slowest = begun.elapsed();
        }
    })
    .await;
    let after: u64 = edges.iter().map(|edge| edge.process.memory_peak_bytes()).max().unwrap_or_default();
    let by = if channel == "stream" { "Redis" } else { "the feed" };
    println!(
        "| {count} changes by {by}: a second, the slowest edge | {:.0} | ≥ 10000 |",
        count as f64 / slowest.as_secs_f64()
    );
    println!("| by {by}: most resident memory, before and after, MiB | {}, {} | |", before >> 20, after >> 20);
    println!("| by {by}: p99 of a hit, quiet, ms | {quiet:.2} | |");
    println!("| by {by}: p99 of a hit during the burst, ms | {during:.2} | {:.2} |", quiet * 1.5);
}
