//! The comparison of one edge with the manifest of a large center: all of it once, nothing, and some changed versions. Prints
//! rows of a table. The center is played. `VERSIONS` and `CHANGED` make it smaller.

use std::time::Duration;

use modtier_tests::{LoneEdge, PlayedCenter, until};

const LIMIT: Duration = Duration::from_mins(5);

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Waits until a comparison has moved this many bytes, and prints what it took.
async fn row(center: &PlayedCenter, what: &str, pleases: impl Fn(u64) -> bool) {
    let mut before = 0;
    let mut still = 0;
    until(what, LIMIT, async || {
        let bytes = center.compared().bytes;
        still = if bytes == before && pleases(bytes) { still + 1 } else { 0 };
        before = bytes;
        // Nothing more comes.
        still > 40
    })
    .await;
    let compared = center.compared();
    println!("| {what} | {} | {:.3} |", compared.bytes, compared.time.as_secs_f64());
}

#[tokio::main]
async fn main() {
    let (versions, changed) = (setting("VERSIONS", 1_000_000), setting("CHANGED", 100));
    let center = PlayedCenter::start().await;
    center.hold(versions, 0);
    // The manifest alone is 17 kB; a bucket has at least some lines of a hundred bytes.
    let (manifest, all) = (30_000, versions as u64 * 80);
    let edge = LoneEdge::at(center.url())
        .env("MODTIER_EDGE_LOG_LEVEL", "warn")
        .env("MODTIER_EDGE_SYNC_RECONCILE", "3s")
        .start()
        .await;
    assert_eq!(edge.web().get("bench.example/hot/@v/v1.0.0.info").await.status, 200);
    row(&center, &format!("{versions} versions, all for the first time"), |bytes| bytes > all).await;
    row(&center, "the same again", |bytes| bytes < manifest).await;
    center.hold(versions, changed);
    row(&center, &format!("{changed} versions changed"), |bytes| bytes > manifest).await;
    println!("| most resident memory of the edge, MiB: {} | | |", edge.process.memory_peak_bytes() >> 20);
}
