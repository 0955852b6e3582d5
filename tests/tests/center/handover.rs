//! A new center takes the place of a running one: no connection is refused, no request fails, nothing published is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use modtier_tests::raw::{self, address};
use modtier_tests::{BuiltModule, Cluster, Module, Origin, Process, Web};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The longest that a request may take across a hand-over, on a machine that compiles beside.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Asks for a module again and again until told to stop; anything but the right body fails the test. The longest wait.
fn reader(cluster: &Cluster, module: &BuiltModule, keep_alive: bool, stop: &Arc<AtomicBool>) -> JoinHandle<Duration> {
    let (web, base) = (cluster.repository_web("golang-virtual"), cluster.center_url().to_owned());
    let (path, body, stop) = (module.zip_path(), module.zip.clone(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        while !stop.load(Relaxed) {
            let began = Instant::now();
            if keep_alive {
                let reply = web.try_get(&path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
                assert!(reply.is_whole() && reply.body == body, "{path}: {} {}", reply.status, reply.text());
            } else {
                let reply = raw::get(&base, &format!("/api/go/golang-virtual/{path}")).await;
                assert!(reply.status() == 200 && reply.bytes.ends_with(&body), "{path}: {}", reply.text());
            }
            longest = longest.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        longest
    })
}

/// Publishes one version after another until told to stop; each must be taken. How many.
fn publisher(cluster: &Cluster, number: usize, stop: &Arc<AtomicBool>) -> JoinHandle<(usize, Duration)> {
    let (web, token, stop) = (cluster.repository_web("golang-local"), cluster.token().to_owned(), Arc::clone(stop));
    tokio::spawn(async move {
        let (mut count, mut longest) = (0, Duration::ZERO);
        while !stop.load(Relaxed) {
            let module = published(number, count);
            let began = Instant::now();
            let reply = web.put(&module.zip_path(), Some(&token), module.zip.clone()).await;
            let reply = reply.unwrap_or_else(|error| panic!("{}: {error}", module.query()));
            assert_eq!(reply.status, 201, "{}: {}", module.query(), reply.text());
            longest = longest.max(began.elapsed());
            count += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (count, longest)
    })
}

fn published(number: usize, count: usize) -> BuiltModule {
    Module::new(&format!("corp.example/m{number}"), &format!("v1.0.{count}")).package().build()
}

/// The numbers of all changes of `golang-local`.
async fn changes(cluster: &Cluster) -> Vec<u64> {
    let feed = cluster.center_web().get("api/v1/repos/golang-local/changes?limit=1000").await;
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    feed.text().lines().map(id).map(|id| id.rsplit_once('-').unwrap().1.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_overs_under_load_lose_nothing() {
    let origin = Origin::start().await;
    let mut cluster = Cluster::of(&origin).start().await;
    let small = Module::new("corp.example/small", "v1.0.0").package().build();
    // Larger than what the kernel buffers between server and client.
    let large = Module::new("corp.example/large", "v1.0.0").package().ballast(24_000_000, 1).build();
    cluster.publish_new(&small).await;
    cluster.publish_new(&large).await;
    let stop = Arc::new(AtomicBool::new(false));
    let readers = [false, true].map(|keep_alive| reader(&cluster, &small, keep_alive, &stop));
    let publishers = [0, 1].map(|number| publisher(&cluster, number, &stop));
    let mut old = Vec::new();
    for _ in 0..2 {
        let mut download = TcpStream::connect(address(cluster.center_url())).await.unwrap();
        let head = format!("GET /api/go/golang-local/{} HTTP/1.1\r\nHost: modtier\r\n\r\n", large.zip_path());
        download.write_all(head.as_bytes()).await.unwrap();
        let mut begun = vec![0; 64 * 1024];
        download.read_exact(&mut begun).await.unwrap();
        old.push((cluster.hand_over_center().await, download, begun));
        cluster.center_ready().await;
    }
    for (mut process, mut download, mut bytes) in old {
        assert!(process.exited().is_none(), "it must not end before its download:\n{}", process.log());
        download.read_to_end(&mut bytes).await.unwrap();
        assert!(bytes.ends_with(&large.zip), "{} bytes", bytes.len());
        assert!(process.ended(Duration::from_secs(20)).await.success());
    }
    stop.store(true, Relaxed);
    for reader in readers {
        let longest = reader.await.unwrap();
        assert!(longest < WAIT_MAX, "{longest:?}");
    }
    let web = cluster.repository_web("golang-virtual");
    let mut total = 2;
    for (number, publisher) in publishers.into_iter().enumerate() {
        let (count, longest) = publisher.await.unwrap();
        assert!(count > 2 && longest < WAIT_MAX, "{count} in {longest:?}");
        for version in 0..count {
            let module = published(number, version);
            assert_eq!(web.get(&module.zip_path()).await.body, module.zip, "{}", module.query());
        }
        total += count;
    }
    let numbers = changes(&cluster).await;
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a hole in {numbers:?}");
    assert!(numbers.len() >= total, "{} changes of {total} versions", numbers.len());
    assert!(cluster.center.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_center_that_fails_after_the_database_was_given_up_changes_nothing() {
    let origin = Origin::start().await;
    let mut cluster = Cluster::of(&origin).start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = publisher(&cluster, 0, &stop);
    for (name, value, code) in [
        ("MODTIER_CENTER_LIMITS_DRAIN_TIMEOUT", "soon", 2),
        ("MODTIER_CENTER_ACCESS_TOKENS_FILE", "/nonexistent/tokens", 1),
        ("MODTIER_CENTER_OUTBOUND_NETRC_FILE", "/nonexistent/netrc", 1),
    ] {
        let mut new = Process::spawn(cluster.center_successor().env(name, value));
        assert_eq!(new.ended(Duration::from_secs(30)).await.code(), Some(code), "{name}={value}: {}", new.log());
        assert!(cluster.center.exited().is_none(), "{name}={value}");
        cluster.center_ready().await;
    }
    stop.store(true, Relaxed);
    let (count, longest) = publishing.await.unwrap();
    assert!(count > 2 && longest < WAIT_MAX, "{count} in {longest:?}");
    // Downloads are counted, and what came is indexed, as before.
    let module = published(7, 0);
    cluster.publish_new(&module).await;
    let web: Web = cluster.center_web();
    modtier_tests::until("the index goes on", Duration::from_secs(20), async || {
        web.get("index").await.text().contains("corp.example/m7")
    })
    .await;
    let numbers = changes(&cluster).await;
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "a hole in {numbers:?}");
    drop(cluster.hand_over_center().await);
    assert_eq!(cluster.repository_web("golang-virtual").get(&module.zip_path()).await.body, module.zip);
}
