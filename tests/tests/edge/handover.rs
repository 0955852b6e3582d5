//! A new edge takes the place of a running one: no connection is refused, no download breaks, nobody waits long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use modtier_tests::frames::{DATA, END_STREAM, Frames, GOAWAY, HEADERS, WINDOW};
use modtier_tests::raw::{self, address};
use modtier_tests::{BuiltModule, Cluster, Module, Origin, Process, Web, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The longest that a request may take across a hand-over.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What clients saw.
#[derive(Debug, Default)]
struct Seen {
    answers: usize,
    longest: Duration,
}

/// Asks for `path` again and again until told to stop; anything but the right body fails the test.
fn client(base: &str, path: String, body: bytes::Bytes, keep_alive: bool, stop: Arc<AtomicBool>) -> JoinHandle<Seen> {
    let base = base.to_owned();
    tokio::spawn(async move {
        let kept = Web::new(&base);
        let mut seen = Seen::default();
        while !stop.load(Relaxed) {
            let began = Instant::now();
            if keep_alive {
                let reply = kept.try_get(&path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
                assert!(reply.is_whole() && reply.body == body, "{path}: {} of {}", reply.status, reply.body.len());
            } else {
                let reply = raw::get(&base, &format!("/{path}")).await;
                assert!(reply.status() == 200 && reply.bytes.ends_with(&body), "{path}: {}", reply.text());
            }
            seen.longest = seen.longest.max(began.elapsed());
            seen.answers += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        seen
    })
}

/// A download that was begun and not read yet.
struct Download {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Download {
    async fn begin(base: &str, module: &BuiltModule) -> Self {
        let mut stream = TcpStream::connect(address(base)).await.unwrap();
        let request = format!("GET /{} HTTP/1.1\r\nHost: modtier\r\n\r\n", module.zip_path());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = vec![0; 64 * 1024];
        stream.read_exact(&mut bytes).await.unwrap();
        Self { stream, bytes }
    }

    /// Reads the rest, which must be all of the zip and then the end of the connection.
    async fn finish(mut self, module: &BuiltModule) {
        self.stream.read_to_end(&mut self.bytes).await.unwrap();
        let head = self.bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        assert!(self.bytes[head..] == module.zip[..], "{} of {}", self.bytes.len() - head, module.zip.len());
    }
}

/// Larger than what the kernel buffers between server and client.
fn large() -> BuiltModule {
    Module::new("example.com/large", "v1.0.0").package().ballast(24_000_000, 1).build()
}

fn small() -> BuiltModule {
    Module::new("example.com/small", "v1.0.0").package().build()
}

async fn cluster_with(modules: &[&BuiltModule]) -> (Origin, Cluster) {
    let origin = Origin::start().await;
    for module in modules {
        origin.publish(module);
    }
    let cluster = Cluster::of(&origin).start().await;
    for module in modules {
        assert_eq!(cluster.edge_web().get(&module.zip_path()).await.body, module.zip);
        assert_eq!(cluster.edge_web().get(&module.at("mod")).await.body, module.go_mod);
    }
    (origin, cluster)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hand_overs_under_load_lose_nothing() {
    let (large, small) = (large(), small());
    let (_origin, mut cluster) = cluster_with(&[&large, &small]).await;
    let (base, stop) = (cluster.goproxy(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let path = if number % 3 == 0 { small.zip_path() } else { small.at("mod") };
            let body = if number % 3 == 0 { small.zip.clone() } else { small.go_mod.clone() };
            client(&base, path, body, number % 2 == 0, Arc::clone(&stop))
        })
        .collect();
    let mut old = Vec::new();
    for _ in 0..3 {
        let download = Download::begin(&base, &large).await;
        old.push((cluster.hand_over_edge().await, download));
        cluster.edge_ready().await;
    }
    for (mut process, download) in old {
        assert!(process.exited().is_none(), "it must not end before its download:\n{}", process.log());
        download.finish(&large).await;
        assert!(process.ended(Duration::from_secs(20)).await.success());
    }
    stop.store(true, Relaxed);
    for client in clients {
        let seen = client.await.unwrap();
        assert!(seen.answers > 3 && seen.longest < WAIT_MAX, "{seen:?}");
        println!("{seen:?}");
    }
    assert_eq!(cluster.edge_web().get_held(&large.zip_path()).await.body, large.zip, "what was held is held");
    assert!(cluster.edge.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_under_way_reaches_its_client_across_a_hand_over() {
    let module = large();
    let (origin, mut cluster) = cluster_with(&[]).await;
    origin.publish(&module);
    origin.fault(&module.zip_path(), modtier_tests::Fault::Slow(8_000_000));
    let (web, path) = (cluster.edge_web(), module.zip_path());
    let client = tokio::spawn(async move { web.get(&path).await });
    let count = || origin.count(&module.zip_path());
    until("the origin is asked", Duration::from_secs(20), async || count() > 0).await;
    let mut old = cluster.hand_over_edge().await;
    let reply = client.await.unwrap();
    assert!(reply.is_whole() && reply.body == module.zip, "{} of {}", reply.body.len(), module.zip.len());
    assert!(old.ended(Duration::from_secs(20)).await.success());
    origin.heal();
    assert_eq!(cluster.edge_web().get(&module.zip_path()).await.body, module.zip);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_edge_that_cannot_start_changes_nothing() {
    let small = small();
    let (_origin, mut cluster) = cluster_with(&[&small]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let running = client(&cluster.goproxy(), small.at("mod"), small.go_mod.clone(), false, Arc::clone(&stop));
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = occupied.local_addr().unwrap().to_string();
    for (name, value, code) in [
        ("MODTIER_EDGE_FRESHNESS_HOT", "soon", 2),
        ("MODTIER_EDGE_TENANT", "a.b", 2),
        ("MODTIER_EDGE_LISTEN", address.as_str(), 1),
        ("MODTIER_EDGE_ADMIN_ACCESS_TOKENS_FILE", "/nonexistent/tokens", 1),
    ] {
        let mut new = Process::spawn(cluster.successor().env(name, value));
        assert_eq!(new.ended(Duration::from_secs(30)).await.code(), Some(code), "{name}={value}");
        assert!(cluster.edge.exited().is_none(), "{name}={value}");
        assert_eq!(cluster.admin_web().get("readyz").await.status, 200, "{name}={value}");
    }
    stop.store(true, Relaxed);
    let seen = running.await.unwrap();
    assert!(seen.longest < WAIT_MAX, "{seen:?}");
    drop(cluster.hand_over_edge().await);
    assert_eq!(cluster.edge_web().get_held(&small.zip_path()).await.body, small.zip);
}

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_old_edge_is_killed_the_new_one_serves() {
    let small = small();
    let (_origin, mut cluster) = cluster_with(&[&small]).await;
    for delay in [0, 40, 120, 200, 320, 500] {
        let mut new = Process::spawn(cluster.successor());
        tokio::time::sleep(Duration::from_millis(delay)).await;
        cluster.edge.kill9();
        until("the new edge serves", Duration::from_secs(30), async || {
            assert!(new.exited().is_none(), "killed after {delay} ms:\n{}", new.log());
            cluster.edge_web().try_get(&small.zip_path()).await.is_ok_and(|reply| reply.body == small.zip)
        })
        .await;
        cluster.edge = new;
    }
    assert!(cluster.edge.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_downloads_end_and_a_second_one_ends_them_at_once() {
    let large = large();
    let (_origin, mut cluster) = cluster_with(&[&large]).await;
    let download = Download::begin(&cluster.goproxy(), &large).await;
    let mut idle = TcpStream::connect(address(&cluster.goproxy())).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: modtier\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 4096];
    assert!(idle.read(&mut answer).await.unwrap() > 0);
    cluster.edge.signal("TERM");
    let (admin, service) = (cluster.admin_web(), cluster.edge_web());
    until("it is not ready", Duration::from_secs(5), async || admin.get("readyz").await.status == 503).await;
    until("it accepts no more", Duration::from_secs(5), async || service.try_get("healthz").await.is_err()).await;
    let closed = tokio::time::timeout(Duration::from_secs(5), idle.read(&mut answer)).await;
    assert_eq!(closed.unwrap().unwrap(), 0, "an idle connection is closed");
    assert!(cluster.edge.exited().is_none());
    download.finish(&large).await;
    let drained = Instant::now();
    assert!(cluster.edge.ended(Duration::from_secs(8)).await.success());
    assert!(drained.elapsed() < Duration::from_secs(5), "it does not wait for the grace: {:?}", drained.elapsed());

    cluster.restart_edge().await;
    let _unread = Download::begin(&cluster.goproxy(), &large).await;
    cluster.edge.signal("TERM");
    until("it is not ready", Duration::from_secs(5), async || admin.get("readyz").await.status == 503).await;
    cluster.edge.signal("INT");
    assert!(cluster.edge.ended(Duration::from_secs(5)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_still_accepted_while_a_load_balancer_takes_notice() {
    let origin = Origin::start().await;
    let mut cluster = Cluster::of(&origin).edge_env("MODTIER_EDGE_LIMITS_DRAIN_DELAY", "1m").start().await;
    cluster.edge.signal("TERM");
    let (admin, service) = (cluster.admin_web(), cluster.edge_web());
    until("it is not ready", Duration::from_secs(5), async || admin.get("readyz").await.status == 503).await;
    assert_eq!((service.get("readyz").await.status, service.get("healthz").await.status), (503, 200));
    cluster.edge.signal("TERM");
    assert!(cluster.edge.ended(Duration::from_secs(5)).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm_a_connection_of_http2_is_told_and_its_download_ends() {
    let origin = Origin::start().await;
    let small = small();
    origin.publish(&small);
    let mut cluster = Cluster::of(&origin).edge_env("MODTIER_EDGE_H2C_LISTEN", "127.0.0.1:0").start().await;
    assert_eq!(cluster.edge_web().get(&small.zip_path()).await.body, small.zip);
    // Without a window the body waits here.
    let mut client = Frames::connect(&cluster.h2c_url(), 0).await;
    assert!(client.get(1, &format!("/{}", small.zip_path())).await);
    let begun = client.until(WAIT_MAX, |frame| frame.kind == HEADERS).await;
    assert_eq!(begun.last().map(|frame| (frame.kind, frame.stream)), Some((HEADERS, 1)), "{begun:?}");
    cluster.edge.signal("TERM");
    let told = client.until(Duration::from_secs(5), |frame| frame.kind == GOAWAY).await;
    let told = told.last().filter(|frame| frame.kind == GOAWAY).expect("GOAWAY");
    assert_eq!(told.payload[4..8], [0; 4], "NO_ERROR");
    let window = u32::try_from(small.zip.len()).unwrap().to_be_bytes();
    assert!(client.send(WINDOW, 0, 1, &window).await && client.send(WINDOW, 0, 0, &window).await);
    let rest = client.until(Duration::from_secs(5), |frame| frame.kind == DATA && frame.flags & END_STREAM != 0).await;
    let data = rest.iter().filter(|frame| frame.kind == DATA).flat_map(|frame| frame.payload.clone());
    assert_eq!(data.collect::<Vec<u8>>(), small.zip);
    assert!(cluster.edge.ended(Duration::from_secs(8)).await.success());
}

/// The socket on which systemd listens to a service.
struct Manager(tokio::net::UnixDatagram);

impl Manager {
    /// What the service says next, line by line.
    async fn told(&self) -> Vec<String> {
        let mut text = vec![0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(30), self.0.recv(&mut text)).await;
        let len = read.expect("the service says something").unwrap();
        String::from_utf8_lossy(&text[..len]).lines().map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_of_start_reload_hand_over_and_stop() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("notify");
    let manager = Manager(tokio::net::UnixDatagram::bind(&socket).unwrap());
    let origin = Origin::start().await;
    let mut cluster = Cluster::of(&origin).edge_env("NOTIFY_SOCKET", &socket.display().to_string()).start().await;
    assert_eq!(manager.told().await, ["READY=1"]);
    cluster.edge.signal("HUP");
    let reloading = manager.told().await;
    // Without the time systemd would take a READY of before for the answer (sd_notify(3)).
    assert!(reloading[0] == "RELOADING=1" && reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(manager.told().await, ["READY=1"]);
    let old = cluster.hand_over_edge().await;
    let main_pid = format!("MAINPID={}", cluster.edge.pid());
    let mut told = Vec::new();
    while !told.contains(&main_pid) {
        told.extend(manager.told().await);
    }
    assert!(!told.contains(&"STOPPING=1".to_owned()), "the service goes on: {told:?}");
    drop(old);
    cluster.edge.signal("TERM");
    while !told.contains(&"STOPPING=1".to_owned()) {
        told.extend(manager.told().await);
    }
    assert!(cluster.edge.ended(Duration::from_secs(8)).await.success());
}
