//! Clients that take more than their part: too many connections, headers that trickle, bodies that are not read, and a machine
//! that has no file descriptors left. Each is bounded, and the others are served.

use std::process::Command;
use std::time::{Duration, Instant};

use modtier_tests::{Cluster, ClusterBuilder, Module, Origin, raw, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(20);

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.publish(&Module::new("example.com/a", "v1.0.0").package().ballast(8_000_000, 1).build());
    origin
}

async fn edge(origin: &Origin, change: impl FnOnce(ClusterBuilder) -> ClusterBuilder) -> Cluster {
    let cluster = change(Cluster::of(origin)).start().await;
    for path in ["example.com/a/@v/list", "example.com/a/@v/v1.0.0.zip"] {
        assert!(cluster.edge_web().get(path).await.is_whole());
    }
    cluster
}

async fn figure(cluster: &Cluster, name: &str) -> f64 {
    let text = cluster.admin_web().get("metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

/// Asks on an open connection for something short and says the status; 0: it was closed.
async fn ask(stream: &mut TcpStream) -> u16 {
    let request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let talk = async {
        stream.write_all(request).await.ok()?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            let mut piece = [0; 1000];
            match stream.read(&mut piece).await.ok()? {
                0 => return None,
                len => answer.extend_from_slice(&piece[..len]),
            }
        }
        String::from_utf8_lossy(&answer).get(9..12)?.parse().ok()
    };
    tokio::time::timeout(LIMIT, talk).await.ok().flatten().unwrap_or_default()
}

async fn connect(cluster: &Cluster) -> TcpStream {
    TcpStream::connect(raw::address(&cluster.goproxy())).await.expect("the edge listens")
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_a_clients_part_are_closed_at_once() {
    let origin = origin().await;
    for (setting, reason) in [
        ("MODTIER_EDGE_SERVING_CONNECTIONS_PER_CLIENT_MAX", "client"),
        ("MODTIER_EDGE_LIMITS_CONNECTIONS_MAX", "total"),
    ] {
        let cluster = Cluster::of(&origin).edge_env(setting, "5").start().await;
        let mut open = Vec::new();
        for _ in 0..5 {
            let mut stream = connect(&cluster).await;
            assert_eq!(ask(&mut stream).await, 200);
            open.push(stream);
        }
        let began = Instant::now();
        assert_eq!(ask(&mut connect(&cluster).await).await, 0, "{setting}");
        assert!(began.elapsed() < Duration::from_secs(5), "closed at once, not left waiting");
        let refused = format!("modtier_edge_connections_refused_total{{reason=\"{reason}\"}}");
        assert!(figure(&cluster, &refused).await >= 1.0, "{setting}");
        for stream in &mut open {
            assert_eq!(ask(stream).await, 200, "those within the limit go on");
        }
        open.pop();
        until("a place is free again", LIMIT, async || ask(&mut connect(&cluster).await).await == 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_trickles_does_not_buy_time() {
    let origin = origin().await;
    let cluster = edge(&origin, |cluster| cluster.edge_env("MODTIER_EDGE_LIMITS_CLIENT_HEADER", "2s")).await;
    let mut stream = connect(&cluster).await;
    // Also on a connection that has proven well-behaved before.
    assert_eq!(ask(&mut stream).await, 200);
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").await.unwrap();
    let mut byte = [0];
    let closed = loop {
        tokio::select! {
            read = stream.read(&mut byte) => break !matches!(read, Ok(1)),
            _ = ticks.tick() => {
                if stream.write_all(b"a").await.is_err() {
                    break true;
                }
            }
        }
        if began.elapsed() > LIMIT {
            break false;
        }
    };
    assert!(closed, "it may trickle for ever");
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(figure(&cluster, "modtier_edge_connections_refused_total{reason=\"header\"}").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_ends_and_one_that_reads_slowly_goes_on() {
    let origin = origin().await;
    let cluster = edge(&origin, |cluster| {
        cluster
            .edge_env("MODTIER_EDGE_SERVING_CLIENT_RATE_WINDOW", "1s")
            .edge_env("MODTIER_EDGE_SERVING_CLIENT_RATE_MIN", "10KiB")
    })
    .await;
    let request = b"GET /example.com/a/@v/v1.0.0.zip HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut idle = connect(&cluster).await;
    idle.write_all(request).await.unwrap();
    let mut slow = connect(&cluster).await;
    slow.write_all(request).await.unwrap();
    let reading = tokio::spawn(async move {
        // A few megabytes a second: slower than the edge can send, far above the minimum.
        let (mut all, mut piece) = (0, vec![0; 64 * 1024]);
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            match slow.read(&mut piece).await {
                Ok(0) | Err(_) => return all,
                Ok(len) => all += len,
            }
        }
    });
    until("the client that does not read is cut off", LIMIT, async || {
        figure(&cluster, "modtier_edge_broken_responses_total").await >= 1.0
    })
    .await;
    let zip = cluster.edge_web().get("example.com/a/@v/v1.0.0.zip").await;
    assert!(zip.is_whole(), "others are served");
    assert!(reading.await.unwrap() > zip.body.len(), "the slow one has all of it, and a header");
    assert!(figure(&cluster, "modtier_edge_broken_responses_total").await < 2.0);
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administration_answers_when_there_are_no_descriptors_left() {
    let origin = origin().await;
    let cluster = edge(&origin, |cluster| cluster.edge_env("MODTIER_EDGE_SERVING_DESCRIPTORS_RESERVED", "0")).await;
    let pid = cluster.edge.pid();
    let in_use = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = in_use() + 10;
    let limited = Command::new("prlimit").args([format!("--pid={pid}"), format!("--nofile={limit}:{limit}")]).status();
    assert!(limited.unwrap().success());
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(connect(&cluster).await);
    }
    until("accepting fails", LIMIT, async || figure(&cluster, "modtier_edge_accept_failures_total").await >= 1.0).await;
    for nth in 0..30 {
        let began = Instant::now();
        let reply = cluster.admin_web().try_get("readyz").await.unwrap_or_else(|error| panic!("{nth}: {error}"));
        assert_eq!(reply.status, 200);
        assert!(began.elapsed() < Duration::from_millis(900), "{nth}: {:?}", began.elapsed());
    }
    let failures = figure(&cluster, "modtier_edge_accept_failures_total").await;
    tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await.unwrap_err();
    let more = figure(&cluster, "modtier_edge_accept_failures_total").await - failures;
    assert!(more < 200.0, "it spins: {more} failures in a second");
    drop(crowd);
    until("clients are served again", LIMIT, async || ask(&mut connect(&cluster).await).await == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn few_descriptors_mean_few_connections_and_the_rest_is_closed_at_once() {
    let origin = origin().await;
    // The reserve leaves room for about ten connections, whatever the limit of this machine is.
    let shell = Command::new("sh").args(["-c", "ulimit -Hn"]).output().unwrap();
    let hard: u64 = String::from_utf8_lossy(&shell.stdout).trim().parse().expect("a machine for tests has a limit");
    let reserve = (hard - 20).to_string();
    let cluster =
        edge(&origin, |cluster| cluster.edge_env("MODTIER_EDGE_SERVING_DESCRIPTORS_RESERVED", &reserve)).await;
    let mut open = Vec::new();
    for _ in 0..30 {
        open.push(connect(&cluster).await);
    }
    let mut served = 0;
    for stream in &mut open {
        served += usize::from(ask(stream).await == 200);
    }
    assert!((8..=10).contains(&served), "{served}");
    assert!(figure(&cluster, "modtier_edge_connections_refused_total{reason=\"total\"}").await >= 20.0);
}
