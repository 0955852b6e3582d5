//! The syncer's relay: a change feed of the test's own, the real syncer, a real redis-server.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use modtier_tests::{Process, ProcessSpec, RedisServer, binary, until, until_some};
use redis::AsyncCommands as _;
use serde::Deserialize;
use shared::change::{Change, ChangeId, EventType, Kind};
use shared::cli::Announcement;
use tempfile::TempDir;
use tokio::sync::watch;

const STREAM: &str = "meta:golang-virtual";
const HEARTBEAT: &str = "relay:golang-virtual";
const LIMIT: Duration = Duration::from_secs(30);

/// What the center's log looks like.
#[derive(Debug, Clone, Copy)]
struct Log {
    epoch: u64,
    /// The oldest record that is kept.
    first: u64,
    head: u64,
    up: bool,
}

/// A change feed with a log that the test moves.
struct Center {
    log: watch::Sender<Log>,
    url: String,
}

#[derive(Deserialize)]
struct Ask {
    after: ChangeId,
    wait: String,
    limit: u64,
}

fn id(epoch: u64, seq: u64) -> ChangeId {
    ChangeId { epoch, seq }
}

fn record(id: ChangeId) -> Change {
    Change {
        id,
        repo: "golang-virtual".into(),
        event_type: EventType::Create,
        module_id: "example.com/a".into(),
        version: Some(format!("v1.0.{}", id.seq)),
        kind: Kind::Version,
        timestamp: 1_763_671_234,
        timestamp_ms: None,
        sha256: None,
        h1: Some("h1:x".into()),
        origin: Some("golang-local".into()),
        reason: "publish".into(),
        schema: 1,
        traceparent: None,
    }
}

async fn changes(State(mut log): State<watch::Receiver<Log>>, Query(ask): Query<Ask>) -> Response {
    let wait = Duration::from_secs(ask.wait.trim_end_matches('s').parse().expect("wait is in seconds"));
    let now = *log.borrow_and_update();
    let after = match ask.after {
        ChangeId::ZERO => now.first - 1,
        after if after.epoch == now.epoch && (now.first - 1..=now.head).contains(&after.seq) => after.seq,
        _ => return StatusCode::GONE.into_response(),
    };
    if after == now.head && now.up {
        // The log may also become another one or go down meanwhile: then the answer is the next question's.
        let _ = tokio::time::timeout(wait, log.wait_for(|log| log.head != now.head || !log.up)).await;
    }
    let now = *log.borrow();
    if !now.up {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let lines: Vec<String> = (after + 1..=now.head)
        .take(usize::try_from(ask.limit).expect("a limit is small"))
        .map(|seq| serde_json::to_string(&record(id(now.epoch, seq))).expect("a record is JSON") + "\n")
        .collect();
    ([("x-change-head", id(now.epoch, now.head).to_string())], lines.concat()).into_response()
}

impl Center {
    async fn start(epoch: u64, first: u64, head: u64) -> Self {
        let (log, seen) = watch::channel(Log { epoch, first, head, up: true });
        let routes = Router::new().route("/api/v1/repos/golang-virtual/changes", get(changes)).with_state(seen);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { log, url }
    }

    fn change(&self, change: impl FnOnce(&mut Log)) {
        self.log.send_modify(change);
    }
}

/// Redis, a center and the syncer between them.
struct Fixture {
    center: Center,
    redis: RedisServer,
    folder: TempDir,
}

struct Syncer {
    process: Process,
    admin: String,
}

impl Fixture {
    async fn new(center: Center) -> Self {
        let folder = tempfile::tempdir().expect("the temporary directory is writable");
        let redis = RedisServer::start(folder.path()).await;
        Self { center, redis, folder }
    }

    fn spawn(&self) -> Process {
        let announcement = self.folder.path().join("announced.json");
        let _ = std::fs::remove_file(&announcement);
        let spec = ProcessSpec::new("syncer", binary("syncer"), self.folder.path())
            .args(&["run", "--announce"])
            .arg(&announcement.display().to_string())
            .env("MODTIER_SYNCER_ADMIN", "127.0.0.1:0")
            .env("MODTIER_SYNCER_CENTER", &self.center.url)
            .env("MODTIER_SYNCER_EDGES", "")
            .env("MODTIER_SYNCER_REDIS_URL", &self.redis.url());
        Process::spawn(spec)
    }

    async fn syncer(&self) -> Syncer {
        let process = self.spawn();
        let file = self.folder.path().join("announced.json");
        let announced = until_some("the syncer announces itself", LIMIT, async || {
            serde_json::from_slice::<Announcement>(&std::fs::read(&file).ok()?).ok()
        })
        .await;
        assert_eq!(announced.pid, process.pid());
        Syncer { process, admin: format!("http://{}", announced.admin.expect("the syncer has an admin listener")) }
    }

    /// Waits until the stream's ids are exactly these.
    async fn has(&self, expected: &[ChangeId]) {
        let mut connection = self.redis.connect().await;
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        until("the stream holds the log", LIMIT, async || ids(&mut connection).await == expected).await;
    }

    async fn heartbeat_is(&self, head: ChangeId) {
        let mut connection = self.redis.connect().await;
        until("the heartbeat shows the head", LIMIT, async || {
            let beat: Option<String> = connection.get(HEARTBEAT).await.expect("redis answers");
            beat == Some(head.to_string())
        })
        .await;
    }
}

async fn ids(connection: &mut redis::aio::MultiplexedConnection) -> Vec<String> {
    let entries: Vec<(String, BTreeMap<String, String>)> =
        redis::cmd("XRANGE").arg(STREAM).arg("-").arg("+").query_async(connection).await.expect("redis answers");
    entries.into_iter().map(|(id, _)| id).collect()
}

impl Syncer {
    async fn status(&self, path: &str) -> u16 {
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client can be made")
            .get(format!("{}{path}", self.admin))
            .send()
            .await
            .expect("the admin listener answers")
            .status()
            .as_u16()
    }

    async fn readyz_is(&self, status: u16) {
        let what = format!("/readyz answers {status}");
        until(&what, LIMIT, async || self.status("/readyz").await == status).await;
    }
}

fn span(epoch: u64, seqs: std::ops::RangeInclusive<u64>) -> Vec<ChangeId> {
    seqs.map(|seq| id(epoch, seq)).collect()
}

fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[tokio::test]
async fn every_record_is_published_once_under_its_own_id() {
    install_tls();
    let fixture = Fixture::new(Center::start(1000, 1, 1700).await).await;
    let mut syncer = fixture.syncer().await;
    fixture.has(&span(1000, 1..=1700)).await;
    syncer.readyz_is(200).await;

    let mut connection = fixture.redis.connect().await;
    let first: Vec<(String, BTreeMap<String, String>)> =
        redis::cmd("XRANGE").arg(STREAM).arg("1000-1").arg("1000-1").query_async(&mut connection).await.unwrap();
    let fields = first[0].1.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    assert_eq!(Change::from_fields(&first[0].0, fields).unwrap(), record(id(1000, 1)));

    fixture.heartbeat_is(id(1000, 1700)).await;
    let expiry: i64 = connection.ttl(HEARTBEAT).await.unwrap();
    assert!((1..=5).contains(&expiry), "{expiry}");

    let begun = std::time::Instant::now();
    fixture.center.change(|log| log.head = 1701);
    fixture.has(&span(1000, 1..=1701)).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());

    // A second start, and a second relay beside it, add nothing twice.
    assert_eq!(syncer.process.stop().await.code(), Some(0));
    let again = fixture.syncer().await;
    let beside = fixture.syncer().await;
    fixture.center.change(|log| log.head = 2400);
    fixture.has(&span(1000, 1..=2400)).await;
    again.readyz_is(200).await;
    beside.readyz_is(200).await;
}

#[tokio::test]
async fn a_restart_of_redis_is_outlived() {
    install_tls();
    let mut fixture = Fixture::new(Center::start(1000, 1, 3).await).await;
    let mut syncer = fixture.syncer().await;
    fixture.has(&span(1000, 1..=3)).await;
    fixture.redis.kill9();
    fixture.center.change(|log| log.head = 9);
    syncer.readyz_is(503).await;
    assert_eq!(syncer.status("/healthz").await, 200);
    fixture.redis.restart().await;
    fixture.has(&span(1000, 1..=9)).await;
    syncer.readyz_is(200).await;
    assert!(syncer.process.exited().is_none());
}

#[tokio::test]
async fn a_redis_that_lost_everything_gets_what_the_log_keeps() {
    install_tls();
    let mut fixture = Fixture::new(Center::start(1000, 4, 6).await).await;
    let syncer = fixture.syncer().await;
    fixture.has(&span(1000, 4..=6)).await;
    let mut connection = fixture.redis.connect().await;
    let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
    fixture.redis.kill9();
    fixture.redis.restart().await;
    fixture.center.change(|log| log.head = 8);
    fixture.has(&span(1000, 4..=8)).await;
    syncer.readyz_is(200).await;
}

#[tokio::test]
async fn an_outage_of_the_center_is_outlived_and_its_heartbeat_ends() {
    install_tls();
    let fixture = Fixture::new(Center::start(1000, 1, 3).await).await;
    let syncer = fixture.syncer().await;
    fixture.heartbeat_is(id(1000, 3)).await;
    fixture.center.change(|log| log.up = false);
    syncer.readyz_is(503).await;
    let mut connection = fixture.redis.connect().await;
    until("the heartbeat expires", LIMIT, async || !connection.exists::<_, bool>(HEARTBEAT).await.unwrap()).await;
    assert_eq!(syncer.status("/healthz").await, 200);
    fixture.center.change(|log| (log.up, log.head) = (true, 5));
    fixture.has(&span(1000, 1..=5)).await;
    fixture.heartbeat_is(id(1000, 5)).await;
    syncer.readyz_is(200).await;
}

#[tokio::test]
async fn a_new_log_begins_with_its_first_record() {
    install_tls();
    let fixture = Fixture::new(Center::start(1000, 1, 5).await).await;
    let syncer = fixture.syncer().await;
    fixture.has(&span(1000, 1..=5)).await;
    fixture.center.change(|log| *log = Log { epoch: 2000, first: 1, head: 2, up: true });
    let both: Vec<ChangeId> = span(1000, 1..=5).into_iter().chain(span(2000, 1..=2)).collect();
    fixture.has(&both).await;
    fixture.heartbeat_is(id(2000, 2)).await;
    syncer.readyz_is(200).await;
}

#[tokio::test]
async fn records_that_the_log_no_longer_keeps_leave_a_gap_and_no_halt() {
    install_tls();
    let fixture = Fixture::new(Center::start(1000, 1, 3).await).await;
    let mut syncer = fixture.syncer().await;
    fixture.has(&span(1000, 1..=3)).await;
    syncer.process.kill9();
    fixture.center.change(|log| (log.first, log.head) = (8, 9));
    let _again = fixture.syncer().await;
    let kept: Vec<ChangeId> = span(1000, 1..=3).into_iter().chain(span(1000, 8..=9)).collect();
    fixture.has(&kept).await;
}

#[tokio::test]
async fn a_stream_of_another_center_is_refused() {
    install_tls();
    for foreign in ["1000-6", "3000-1"] {
        let fixture = Fixture::new(Center::start(1000, 1, 5).await).await;
        let mut connection = fixture.redis.connect().await;
        let _: String =
            redis::cmd("XADD").arg(STREAM).arg(foreign).arg("a").arg("b").query_async(&mut connection).await.unwrap();
        let mut process = fixture.spawn();
        let status = until_some("the syncer stops", LIMIT, async || process.exited()).await;
        assert_eq!(status.code(), Some(1));
        let log = process.log();
        let line = log.lines().last().unwrap_or_default();
        let says = ["modtier-syncer: ", STREAM, foreign, "1000-5", "ahead"];
        assert!(says.iter().all(|word| line.contains(word)), "{log}");
        assert_eq!(ids(&mut connection).await, [foreign]);
    }
}

#[tokio::test]
async fn a_stream_that_another_center_takes_over_is_left() {
    install_tls();
    let fixture = Fixture::new(Center::start(1000, 1, 2).await).await;
    let mut syncer = fixture.syncer().await;
    fixture.has(&span(1000, 1..=2)).await;
    let mut connection = fixture.redis.connect().await;
    let _: String =
        redis::cmd("XADD").arg(STREAM).arg("9000-1").arg("a").arg("b").query_async(&mut connection).await.unwrap();
    // Also where there is nothing to publish that would be refused.
    let status = until_some("the syncer stops", LIMIT, async || syncer.process.exited()).await;
    assert_eq!(status.code(), Some(1));
    assert!(syncer.process.log().contains("9000-1"), "{}", syncer.process.log());
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_waited_for() {
    install_tls();
    let mut fixture = Fixture::new(Center::start(1000, 1, 2).await).await;
    fixture.redis.kill9();
    let mut syncer = fixture.syncer().await;
    syncer.readyz_is(503).await;
    fixture.redis.restart().await;
    fixture.has(&span(1000, 1..=2)).await;
    syncer.readyz_is(200).await;
    assert_eq!(syncer.process.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_key_of_another_kind_is_named() {
    install_tls();
    let fixture = Fixture::new(Center::start(1000, 1, 2).await).await;
    let () = fixture.redis.connect().await.set(STREAM, "text").await.unwrap();
    let mut process = fixture.spawn();
    let status = until_some("the syncer stops", LIMIT, async || process.exited()).await;
    assert_eq!(status.code(), Some(1));
    assert!(process.log().contains("the key holds something else"), "{}", process.log());
}

#[tokio::test]
async fn without_redis_the_syncer_runs_and_is_ready() {
    install_tls();
    let center = Center::start(1000, 1, 2).await;
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    let file = folder.path().join("announced.json");
    let spec = ProcessSpec::new("syncer", binary("syncer"), folder.path())
        .args(&["run", "--announce"])
        .arg(&file.display().to_string())
        .env("MODTIER_SYNCER_ADMIN", "127.0.0.1:0")
        .env("MODTIER_SYNCER_CENTER", &center.url);
    let mut process = Process::spawn(spec);
    let announced = until_some("the syncer announces itself", LIMIT, async || {
        serde_json::from_slice::<Announcement>(&std::fs::read(&file).ok()?).ok()
    })
    .await;
    let syncer = format!("http://{}", announced.admin.expect("the syncer has an admin listener"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let status = client.get(format!("{syncer}/readyz")).send().await.unwrap().status();
    assert_eq!(status.as_u16(), 200);
    assert_eq!(process.stop().await.code(), Some(0));
}
