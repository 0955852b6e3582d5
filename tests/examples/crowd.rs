//! Crowds before an edge: a thousand clients at one cold zip, and warm hits beside fetches that hang. Prints markdown.
//!
//! The edge is the one that was built beside this program. `BENCH_CLIENTS`, `BENCH_SECONDS` and `BENCH_ROUNDS` make it smaller.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modtier_tests::{Fault, KeepAlive, LoneEdge, Origin, Seed, until};
use sha2::{Digest as _, Sha256};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

const LATENCY: Duration = Duration::from_millis(50);
const ZIP: &str = "bench.example/crowd/@v/v1.0.0.zip";
const ZIP_BYTES: usize = 20_000_000;
const INFO: &str = "bench.example/warm/@v/v1.0.0.info";
const HANGING: usize = 200;
const WARM_CLIENTS: usize = 16;
const NEVER: Duration = Duration::from_hours(1);

/// One client of a crowd: times since the crowd began.
#[derive(Debug, Clone, Copy)]
struct Served {
    first_byte: Duration,
    done: Duration,
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Everybody at once, each on a connection that stands already. Every twentieth hashes what it gets, all count it.
async fn crowd(edge: &LoneEdge, clients: usize, digest: [u8; 32]) -> (Instant, Vec<Served>) {
    let barrier = Arc::new(Barrier::new(clients + 1));
    let mut crowd = JoinSet::new();
    for number in 0..clients {
        let mut connection = KeepAlive::to(&edge.goproxy()).await.expect("the edge accepts");
        let barrier = Arc::clone(&barrier);
        crowd.spawn(async move {
            barrier.wait().await;
            let (begun, mut first, mut len, mut hash) = (Instant::now(), None, 0, Sha256::new());
            let hashes = number % 20 == 0;
            let got = connection.get(ZIP, |bytes| {
                first.get_or_insert_with(Instant::now);
                len += bytes.len();
                if hashes {
                    hash.update(bytes);
                }
            });
            got.await.unwrap_or_else(|error| panic!("client {number}: {error}"));
            assert_eq!(len, ZIP_BYTES, "client {number}");
            assert!(!hashes || <[u8; 32]>::from(hash.finalize()) == digest, "client {number}: other bytes");
            let first = first.expect("a body was read");
            Served { first_byte: first - begun, done: begun.elapsed() }
        });
    }
    barrier.wait().await;
    let begun = Instant::now();
    (begun, crowd.join_all().await)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn last(served: &[Served]) -> Duration {
    served.iter().map(|one| one.done).max().expect("a crowd is not empty")
}

async fn cold_crowd(clients: usize, rounds: usize) {
    println!("### {clients} concurrent cold requests for one 20 MB zip, origin at 50 ms\n");
    println!(
        "| round | origin requests | edge grows by | first byte after the origin's, median | last client done, cold | the same crowd, warm | cold ÷ warm |"
    );
    println!("|---|---|---|---|---|---|---|");
    let zip = Seed::of(7).bytes(ZIP_BYTES);
    let digest = <[u8; 32]>::from(Sha256::digest(&zip));
    for round in 1..=rounds {
        let center = Origin::start().await;
        center.set(ZIP, zip.clone());
        center.set_latency(LATENCY);
        let edge = many_connections(LoneEdge::before(&[&center])).start().await;
        let before = edge.process.memory_bytes();
        let (begun, cold) = crowd(&edge, clients, digest).await;
        let grown = edge.process.memory_peak_bytes().saturating_sub(before);
        let requests = center.count(ZIP);
        let seen = center.seen().into_iter().find(|seen| seen.path == ZIP).expect("the origin was asked");
        let origins_first = (seen.at + LATENCY).saturating_duration_since(begun);
        let first = median(cold.iter().map(|one| one.first_byte).collect()).saturating_sub(origins_first);
        let (_, warm) = crowd(&edge, clients, digest).await;
        let (cold, warm) = (last(&cold).as_secs_f64(), last(&warm).as_secs_f64());
        println!(
            "| {round} | {requests} | {} MB | {:.0} ms | {cold:.2} s | {warm:.2} s | {:.2} |",
            grown / 1_000_000,
            first.as_secs_f64() * 1000.0,
            cold / warm
        );
    }
}

/// Latencies of hits for so long, sorted.
async fn hits(edge: &LoneEdge, length: Duration) -> Vec<Duration> {
    let mut clients = JoinSet::new();
    for _ in 0..WARM_CLIENTS {
        let mut connection = KeepAlive::to(&edge.goproxy()).await.expect("the edge accepts");
        clients.spawn(async move {
            let (begun, mut took) = (Instant::now(), Vec::new());
            while begun.elapsed() < length {
                let asked = Instant::now();
                connection.get(INFO, |_| {}).await.expect("a hit is answered");
                took.push(asked.elapsed());
            }
            took
        });
    }
    let mut took = clients.join_all().await.concat();
    took.sort_unstable();
    took
}

async fn hits_beside_hanging(length: Duration, rounds: usize) {
    println!("\n### Hits of a 200-byte .info on {WARM_CLIENTS} connections while {HANGING} cold fetches hang\n");
    println!(
        "| round | requests/s undisturbed | p99 | requests/s beside | p99 | p99 ratio |\n|---|---|---|---|---|---|"
    );
    for round in 1..=rounds {
        let center = Origin::start().await;
        center.set(INFO, vec![b' '; 200]);
        center.fault("hanging.example/", Fault::Delay(NEVER));
        let edge = many_connections(LoneEdge::before(&[&center])).start().await;
        let web = edge.web();
        assert!(web.get(INFO).await.is_whole());
        hits(&edge, length / 3).await;
        let undisturbed = hits(&edge, length).await;
        let mut waiting = JoinSet::new();
        for number in 0..HANGING {
            let web = web.clone();
            waiting.spawn(async move { web.try_get(&format!("hanging.example/m{number}/@v/v1.0.0.zip")).await });
        }
        until("all fetches hang", Duration::from_secs(30), async || center.asked("hanging.example/").len() >= HANGING)
            .await;
        let beside = hits(&edge, length).await;
        assert_eq!(waiting.try_join_next().map(|_| ()), None, "a fetch ended before the measurement did");
        let p99 = |took: &[Duration]| took[took.len() * 99 / 100];
        let rate = |took: &[Duration]| took.len() as f64 / length.as_secs_f64();
        println!(
            "| {round} | {:.0} | {:?} | {:.0} | {:?} | {:.2} |",
            rate(&undisturbed),
            p99(&undisturbed),
            rate(&beside),
            p99(&beside),
            p99(&beside).as_secs_f64() / p99(&undisturbed).as_secs_f64()
        );
    }
}

/// A crowd on one machine has one address: what is kept from a single client must not be kept from it.
fn many_connections(edge: modtier_tests::LoneEdgeBuilder) -> modtier_tests::LoneEdgeBuilder {
    edge.env("MODTIER_EDGE_LOG_LEVEL", "warn")
}

#[tokio::main]
async fn main() {
    let rounds = setting("BENCH_ROUNDS", 3);
    cold_crowd(setting("BENCH_CLIENTS", 1000), rounds).await;
    let seconds = setting("BENCH_SECONDS", 5);
    hits_beside_hanging(Duration::from_secs(seconds as u64), rounds).await;
}
