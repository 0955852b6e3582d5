//! A burst of changes, applied by three edges that serve hits meanwhile: `burst stream|feed`. Prints rows of a table.
//!
//! The center is played, by another process of this program; edges, syncer and Redis are real, built beside this program. What stands for
//! other machines (center, syncer, Redis) runs in the scheduler's idle class: it has the processors when neither the edges nor
//! their client want them. `CHANGES` makes it smaller.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use modtier_tests::{KeepAlive, LoneEdge, PlayedCenter, Process, ProcessSpec, RedisServer, Web, binary, until};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

const EDGES: usize = 3;
const HOT: &str = "bench.example/hot/@v/v1.0.0.info";
const LIMIT: Duration = Duration::from_mins(5);
const QUIET: Duration = Duration::from_secs(3);
const ELSEWHERE: [&str; 3] = ["chrt", "--idle", "0"];

/// The played center, in a process of its own.
struct Center {
    url: String,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Center {
    async fn start() -> Self {
        let own = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(ELSEWHERE[0]);
        command.args(&ELSEWHERE[1..]).arg(own).arg("center").kill_on_drop(true);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("chrt is installed");
        let orders = process.stdin.take().expect("it is piped");
        let mut answers = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let url = answers.next_line().await.expect("it is readable").expect("the center starts");
        Self { url, orders, answers, _process: process }
    }

    /// So many more changes at once; the id of the last one.
    async fn record(&mut self, count: u64) -> String {
        self.orders.write_all(format!("{count}\n").as_bytes()).await.expect("the center reads");
        self.answers.next_line().await.expect("it is readable").expect("the center answers")
    }

    /// The other side: records as many changes as each line says.
    async fn play() {
        let center = PlayedCenter::start().await;
        println!("{}", center.url());
        let orders = move || {
            for count in std::io::stdin().lines() {
                let count = count.expect("it is readable").parse().expect("a number");
                println!("{}", center.record(count));
            }
        };
        tokio::task::spawn_blocking(orders).await.expect("it ends with its standard input");
    }
}

async fn cursor(edge: &Web) -> String {
    edge.get("api/v1/sync").await.json()["cursor"].as_str().unwrap_or_default().to_owned()
}

/// Hits until told to stop, a pause after each: what one takes, not how many there are.
async fn hits(mut connection: KeepAlive, stop: watch::Receiver<bool>) -> Vec<Duration> {
    let mut times = Vec::new();
    while !*stop.borrow() {
        let asked = Instant::now();
        let head = connection.get(HOT, |_| {}).await.expect("a hit is answered");
        times.push(asked.elapsed());
        assert!(head.contains("\r\nx-cache: hit\r\n"), "{head}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    times
}

/// The 99th percentile of the hits at all edges while `work` is done. They are asked from a thread that does nothing else.
async fn p99_during(edges: &[LoneEdge], work: impl Future<Output = ()>) -> f64 {
    let (stop, stopped) = watch::channel(false);
    let addresses: Vec<String> = edges.iter().map(LoneEdge::goproxy).collect();
    let clients = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(async {
            let mut clients = JoinSet::new();
            for address in addresses {
                let connection = KeepAlive::to(&address).await.expect("the edge accepts");
                clients.spawn(hits(connection, stopped.clone()));
            }
            clients.join_all().await.concat()
        })
    });
    work.await;
    stop.send_replace(true);
    let mut times = clients.join().expect("every hit was answered");
    times.sort_unstable();
    times[(times.len() * 99 / 100).min(times.len() - 1)].as_secs_f64() * 1000.0
}

fn syncer(center: &str, redis: &str, folder: &Path) -> Process {
    let spec = ProcessSpec::new("syncer", binary("syncer"), folder)
        .arg("run")
        .env("MODTIER_SYNCER_ADMIN", "127.0.0.1:0")
        .env("MODTIER_SYNCER_CENTER", center)
        .env("MODTIER_SYNCER_EDGES", "")
        .env("MODTIER_SYNCER_LOG_LEVEL", "warn")
        .env("MODTIER_SYNCER_REDIS_URL", redis);
    Process::spawn(spec.under(&ELSEWHERE))
}

#[tokio::main]
async fn main() {
    let role = std::env::args().nth(1).unwrap_or_default();
    match role.as_str() {
        "center" => Center::play().await,
        "stream" | "feed" => burst(&role).await,
        _ => panic!("burst stream|feed"),
    }
}

async fn burst(channel: &str) {
    let count: u64 = std::env::var("CHANGES").map_or(50_000, |text| text.parse().expect("CHANGES is a number"));
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    let mut center = Center::start().await;
    let redis =
        if channel == "stream" { Some(RedisServer::start_under(folder.path(), &ELSEWHERE).await) } else { None };
    let _syncer = redis.as_ref().map(|redis| syncer(&center.url, &redis.url(), folder.path()));
    let mut edges = Vec::new();
    for _ in 0..EDGES {
        let mut builder = LoneEdge::at(&center.url).env("MODTIER_EDGE_LOG_LEVEL", "warn");
        if let Some(redis) = &redis {
            builder = builder.env("MODTIER_EDGE_REDIS_URL", &redis.url());
        }
        edges.push(builder.start().await);
    }
    let admins: Vec<Web> = edges.iter().map(LoneEdge::admin_web).collect();
    for (edge, admin) in edges.iter().zip(&admins) {
        let follows = async || admin.get("api/v1/sync").await.json()["channel"] == channel;
        until("the edges follow", LIMIT, follows).await;
        assert_eq!(edge.web().get(HOT).await.status, 200);
    }
    let quiet = p99_during(&edges, tokio::time::sleep(QUIET)).await;
    let before: u64 = edges.iter().map(|edge| edge.process.memory_peak_bytes()).max().unwrap_or_default();
    let mut slowest = Duration::ZERO;
    let during = p99_during(&edges, async {
        let begun = Instant::now();
        let head = center.record(count).await;
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
