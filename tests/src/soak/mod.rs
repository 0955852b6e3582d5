//! A mixed run with random faults: whatever the centers do, no client accepts a wrong or short body, nothing that exists is
//! said to be absent, and the edge grows neither in memory nor in descriptors.
//!
//! ```text
//! clients (load.rs) ──▶ edge ──▶ two centers with equal bytes (content.rs), each with faults of its own (disturbance.rs)
//!                        │  └──▶ Redis, which dies and returns
//!                        └ figures.rs: resident memory, open descriptors
//! ```
//! First a part of the time to warm up, then the rest; after each the edge is measured at rest.

mod content;
mod disturbance;
mod figures;
mod load;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::task::JoinSet;

use self::content::Content;
use self::disturbance::Disturbances;
use self::figures::{Figures, Rest};
use self::load::Client;
use crate::{LoneEdge, Origin, RedisServer, Seed, until};

/// Clients at one time, each with a connection of its own.
const CLIENTS: u64 = 16;

/// What memory may grow by between the two rests: the index fills its write buffers and its block cache over minutes.
const GROWTH_BYTES_MAX: u64 = 32 << 20;

/// What descriptors may grow by between the two rests: database files that come and go.
const DESCRIPTORS_GROWTH_MAX: usize = 24;

/// How long everything may take to return once the faults are over.
const RETURN_LIMIT: Duration = Duration::from_mins(2);

/// Small tiers, so that there are always cold fills; short periods, so that there are always revalidations.
fn config(redis: &str, other_seconds: u64) -> String {
    format!(
        "redis: {{url: '{redis}'}}\n\
         cache: {{memory_bytes_max: 8MiB, disk_bytes_max: 24MiB}}\n\
         freshness: {{memory: 1s, hot: 1s, stable: 1s, other: {other_seconds}s, unhealthy: 1s, negative: 1s}}\n\
         limits: {{upstream_first_byte: 2s, upstream_stall: 2s, upstream_queue: 2s}}\n\
         log: {{level: warn}}\n"
    )
}

/// Everything of a run.
struct Stage {
    content: Arc<Content>,
    edge: LoneEdge,
    figures: Arc<Figures>,
    disturbances: Disturbances,
    seed: Seed,
    _dir: TempDir,
}

/// Runs for `length`, every choice drawn from `seed`, and prints the figures.
///
/// # Panics
/// When a client was answered wrongly, or the edge has grown.
pub async fn run(length: Duration, seed: u64) {
    let mut stage = Stage::build(seed).await;
    let warm_up = length * 3 / 10;
    stage.load(warm_up).await;
    let before = stage.rest().await;
    stage.load(length.saturating_sub(warm_up)).await;
    let after = stage.rest().await;
    stage.all_is_served().await;
    stage.figures.print(&before, &after);
    let log = stage.edge.process.log();
    assert!(!log.contains("panicked at"), "the edge panicked:\n{log}");
    let grown = after.memory_bytes.saturating_sub(before.memory_bytes);
    assert!(grown <= GROWTH_BYTES_MAX, "memory has grown by {grown} bytes");
    let opened = after.descriptors.saturating_sub(before.descriptors);
    assert!(opened <= DESCRIPTORS_GROWTH_MAX, "{opened} descriptors more than after the warm-up");
}

impl Stage {
    async fn build(seed: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("modtier-soak-").tempdir().expect("the folder is writable");
        let redis = RedisServer::start(dir.path()).await;
        let content = Arc::new(Content::of(seed));
        let (a, b) = (Origin::start().await, Origin::start().await);
        for center in [&a, &b] {
            content.publish(center);
        }
        let edge = LoneEdge::before(&[&a, &b]).config(&config(&redis.url(), 1)).start().await;
        let disturbances = Disturbances::new([a, b], redis, seed);
        Self { content, edge, figures: Arc::default(), disturbances, seed: Seed::of(seed), _dir: dir }
    }

    /// Load and faults for so long.
    async fn load(&mut self, length: Duration) {
        let ends_at = Instant::now() + length;
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let seed = Seed::of(self.seed.within(0..u64::MAX));
            let client = Client::new(&self.edge.goproxy(), Arc::clone(&self.content), Arc::clone(&self.figures), seed);
            clients.spawn(client.run(ends_at));
        }
        let figures = Arc::clone(&self.figures);
        tokio::select! {
            () = self.disturbances.run(&self.edge, &figures, ends_at) => {}
            () = figures.watch(&self.edge.process) => {}
        }
        // Each client ends its request; none may wait longer than its patience.
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client tells its findings and does not panic");
        }
        self.figures.assert_no_violation();
        assert!(self.edge.process.exited().is_none(), "the edge has ended:\n{}", self.edge.process.log());
    }

    /// Waits until nothing moves any more, and measures.
    async fn rest(&mut self) -> Rest {
        self.disturbances.end(true).await;
        let process = &self.edge.process;
        let mut seen = (process.descriptors(), Instant::now());
        until("the edge comes to rest", RETURN_LIMIT, async || {
            let now = process.descriptors();
            if now != seen.0 {
                seen = (now, Instant::now());
            }
            seen.1.elapsed() > Duration::from_secs(2)
        })
        .await;
        Rest { memory_bytes: process.memory_bytes(), descriptors: process.descriptors() }
    }

    /// Without any fault everything can be had again, unaided.
    async fn all_is_served(&self) {
        let web = self.edge.web();
        for artefact in self.content.all() {
            until(&format!("{} is served again", artefact.path), RETURN_LIMIT, async || {
                let reply = web.get(&artefact.path).await;
                assert!(!reply.is_whole() || reply.body == artefact.bytes, "{}: other bytes", artefact.path);
                reply.is_whole()
            })
            .await;
        }
    }
}
