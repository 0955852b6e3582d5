//! The follower against a scripted center and a real Redis.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use shared::change::{Change, ChangeId, EventType, Kind, anything_changed};
use shared::digest::Digest;
use shared::redis::Redis as Settings;
use tempfile::TempDir;

use super::heartbeat::tell_hot;
use crate::config::Config;
use crate::testing::{Center, Proof, Reply, TestEdge};

const LIST: &str = "example.com/a/@v/list";

fn id(seq: u64) -> ChangeId {
    ChangeId { epoch: 7, seq }
}

fn list_changed(seq: u64) -> Change {
    Change { kind: Kind::List, module_id: "example.com/a".into(), ..anything_changed(id(seq), "golang-virtual") }
}

fn lines(changes: &[Change]) -> String {
    let lines = changes.iter().map(|change| serde_json::to_string(change).unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

fn manifest(head: ChangeId) -> String {
    let empty = shared::digest::Digest::of(b"");
    serde_json::json!({ "head": head, "root": empty, "buckets": vec![empty; 256] }).to_string()
}

/// Waits until the edge's sync report pleases.
async fn until(edge: &TestEdge, what: &str, pleases: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let report =
            edge.client.get(edge.admin_url("api/v1/sync")).send().await.unwrap().json::<Value>().await.unwrap();
        if pleases(&report) {
            return report;
        }
        assert!(Instant::now() < deadline, "{what}: {report}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_begins_at_the_head_and_follows_the_feed() {
    let center = Center::start().await;
    center.reply_api("manifest", manifest(id(3)));
    center.reply_api("changes", String::new());
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "begins at the head", |report| report["cursor"] == "7-3" && report["channel"] == "feed").await;
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    assert_eq!(edge.get(LIST).await.x_cache(), "MISS");
    assert_eq!(center.last_headers(LIST)["x-min-change-id"], "7-3");
    assert_eq!(edge.get(LIST).await.x_cache(), "HIT");
    center.reply(LIST, Reply::right("v1.0.0\nv1.1.0\n", Proof::Header));
    center.reply_api("changes", lines(&[list_changed(4)]));
    until(&edge, "applies the change", |report| report["cursor"] == "7-4").await;
    assert_eq!(edge.get(LIST).await.text(), "v1.0.0\nv1.1.0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_in_the_feed_is_closed_by_the_manifest() {
    let center = Center::start().await;
    center.reply_api("manifest", manifest(id(3)));
    center.reply_api("changes", String::new());
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "begins", |report| report["cursor"] == "7-3").await;
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    assert_eq!(edge.get(LIST).await.x_cache(), "MISS");
    center.reply(LIST, Reply::right("v2.0.0\n", Proof::Header));
    center.reply_api("manifest", manifest(id(9)));
    center.reply_api("changes", lines(&[list_changed(8)]));
    let report = until(&edge, "reconciles", |report| report["cursor"] == "7-9").await;
    assert!(report["last_reconcile"].is_u64(), "{report}");
    assert_eq!(edge.get(LIST).await.text(), "v2.0.0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_version_is_no_longer_served() {
    let center = Center::start().await;
    center.reply_api("manifest", manifest(id(3)));
    center.reply_api("changes", String::new());
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "begins", |report| report["cursor"] == "7-3").await;
    let zip = "example.com/a/@v/v1.0.0.zip";
    center.reply(zip, Reply::right(vec![b'z'; 100_000], Proof::Header));
    edge.get(zip).await;
    assert_eq!(edge.get(zip).await.x_cache(), "HIT");
    center.reply(zip, Reply::Refusal(410, "gone: removed by an administrator"));
    let mut removal = list_changed(4);
    (removal.event_type, removal.kind, removal.version) = (EventType::Delete, Kind::Version, Some("v1.0.0".into()));
    center.reply_api("changes", lines(&[removal]));
    until(&edge, "applies the removal", |report| report["cursor"] == "7-4").await;
    assert_eq!(edge.get(zip).await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_back_is_served_before_the_edge_hears_of_it() {
    let center = Center::start().await;
    center.reply_api("manifest", manifest(id(3)));
    let mut removal = list_changed(4);
    (removal.event_type, removal.kind, removal.version) = (EventType::Delete, Kind::Version, Some("v1.0.0".into()));
    center.reply_api("changes", lines(&[removal]));
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "applies the removal", |report| report["cursor"] == "7-4").await;
    let (zip, info) = ("example.com/a/@v/v1.0.0.zip", "example.com/a/@v/v1.0.0.info");
    center.reply(zip, Reply::right(vec![b'z'; 100_000], Proof::Header));
    center.reply(info, Reply::right("{}", Proof::Header));
    for path in [zip, info] {
        assert_eq!((edge.get(path).await.status, edge.get(path).await.x_cache()), (200, "HIT"), "{path}");
        // Only a center that knows of the removal may say so.
        assert_eq!(center.last_headers(path)["x-min-change-id"], "7-4", "{path}");
    }
    let other = "example.com/a/@v/v1.1.0.info";
    center.reply(other, Reply::right("{}", Proof::Header));
    assert_eq!(edge.get(other).await.status, 200);
    assert!(!center.last_headers(other).contains_key("x-min-change-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_that_cannot_be_asked_is_reported_and_never_unready() {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "is down", |report| report["channel"] == "down").await;
    assert_eq!(edge.get("readyz").await.status, 200);
}

/// A redis-server on a socket in a directory of its own.
struct Redis {
    process: Child,
    dir: TempDir,
}

impl Redis {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", "redis.sock"])
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed (make test does it)");
        let redis = Self { process, dir };
        let deadline = Instant::now() + Duration::from_secs(10);
        while redis.open().await.is_err() {
            assert!(Instant::now() < deadline, "redis-server did not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        redis
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", self.dir.path().join("redis.sock").display())
    }

    async fn open(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }

    async fn run(&self, words: &[&str]) {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.exec_async(&mut self.open().await.unwrap()).await.unwrap();
    }

    /// What the relay does for a change: its entry, then its sign of life.
    async fn relay(&self, change: &Change) {
        let mut command = redis::cmd("XADD");
        command.arg("meta:golang-virtual").arg(change.id.to_string());
        for (name, value) in change.to_fields() {
            command.arg(name).arg(value);
        }
        command.exec_async(&mut self.open().await.unwrap()).await.unwrap();
        self.alive_at(change.id).await;
    }

    async fn alive_at(&self, head: ChangeId) {
        self.run(&["SET", "relay:golang-virtual", &head.to_string(), "EX", "60"]).await;
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It has nothing worth keeping, and the test's end must not wait for it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_the_stream_is_applied_within_a_second() {
    let (center, redis) = (Center::start().await, Redis::start().await);
    center.reply_api("manifest", manifest(id(3)));
    center.reply_api("changes", String::new());
    redis.alive_at(id(3)).await;
    let edge = TestEdge::start(&center, |config: &mut Config| {
        config.redis.url = redis.url();
        config.region = "lab".into();
    });
    until(&edge, "follows the stream", |report| report["channel"] == "stream").await;
    for seq in 4..10 {
        let at = Instant::now();
        redis.relay(&list_changed(seq)).await;
        until(&edge, "applies", |report| report["cursor"] == id(seq).to_string()).await;
        assert!(at.elapsed() < Duration::from_secs(1), "{:?}", at.elapsed());
    }
    let mut connection = redis.open().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let pending: (u64,) = redis::cmd("XPENDING")
            .arg(&["meta:golang-virtual", "edge:test-edge", "-", "+", "10"])
            .query_async::<Vec<redis::Value>>(&mut connection)
            .await
            .map(|entries| (entries.len() as u64,))
            .unwrap();
        if pending.0 == 0 {
            break;
        }
        assert!(Instant::now() < deadline, "entries are confirmed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    loop {
        let beat: std::collections::HashMap<String, String> =
            redis::cmd("HGETALL").arg("edge:test-edge").query_async(&mut connection).await.unwrap();
        let told = ["repo", "region", "channel", "cursor"].map(|name| beat.get(name).map_or("", String::as_str));
        if told == ["golang-virtual", "lab", "stream", "7-9"] {
            break;
        }
        assert!(Instant::now() < deadline, "a heartbeat follows the change at once: {beat:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_modules_asked_for_most_add_up_in_redis_and_halve() {
    let (center, redis) = (Center::start().await, Redis::start().await);
    let edge = TestEdge::start(&center, |config: &mut Config| config.redis.url = redis.url());
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    let mut connection = redis.open().await.unwrap();
    let app = &edge.edge().app;
    let score = async |asked: u64| {
        let counted = || app.popularity.hot_modules(1).first().map_or(0, |hot| hot.requests);
        let before = counted();
        for _ in 0..asked {
            edge.get(LIST).await;
        }
        // A request is counted when its answer is out.
        while counted() < before + asked {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let settings = Settings::new(&app.config().redis).unwrap().unwrap();
        let mut open = settings.connect(Duration::from_secs(5)).await.unwrap();
        tell_hot(app, &settings, &mut open).await.unwrap();
        let mut connection = redis.open().await.unwrap();
        let command = redis::cmd("ZSCORE").arg(&["hot:golang-virtual", "example.com/a"]).to_owned();
        command.query_async::<String>(&mut connection).await.unwrap()
    };
    // Another edge has told of it before.
    redis.run(&["ZADD", "hot:golang-virtual", "20", "example.com/a", "1", "example.com/rare"]).await;
    redis.run(&["SET", "hot:golang-virtual:halved", "other"]).await;
    assert_eq!(score(4).await, "24");
    assert_eq!(score(0).await, "24", "each request is told once");
    redis.run(&["DEL", "hot:golang-virtual:halved"]).await;
    assert_eq!(score(2).await, "14", "the half of before, and the new ones");
    let rare: Option<String> = redis::cmd("ZSCORE")
        .arg(&["hot:golang-virtual", "example.com/rare"])
        .query_async(&mut connection)
        .await
        .unwrap();
    assert_eq!(rare, None, "what is hardly asked for any more goes");
    let expiry: i64 = redis::cmd("TTL").arg("hot:golang-virtual:halved").query_async(&mut connection).await.unwrap();
    assert!(expiry > 0, "nobody else halves for a while");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_applied_once_more_up_to_the_cursor() {
    let center = Center::start().await;
    center.reply_api("manifest", manifest(id(3)));
    center.reply_api("changes", String::new());
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "begins", |report| report["cursor"] == "7-3").await;
    center.reply_api("changes", lines(&[list_changed(2), list_changed(3), list_changed(4)]));
    let replay = async |from: &str| {
        let body = serde_json::json!({ "replay_from": from }).to_string();
        let answer = edge.client.post(edge.admin_url("api/v1/sync")).body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    until(&edge, "goes on", |report| report["cursor"] == "7-4").await;
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    edge.get(LIST).await;
    assert_eq!(edge.get(LIST).await.x_cache(), "HIT");
    let (status, answer) = replay("7-1").await;
    assert_eq!((status, &answer["records"], &answer["to"]), (200, &3.into(), &"7-4".into()), "{answer}");
    assert_ne!(edge.get(LIST).await.x_cache(), "HIT", "the list is stale again");
    for wrong in ["7-4", "7-9", "6-1"] {
        assert_eq!(replay(wrong).await.0, 400, "{wrong}");
    }
    assert_eq!(replay("x").await.0, 400);
    center.reply_api("changes", String::new());
    assert_eq!(replay("7-1").await.0, 410, "a feed that has nothing more after it");
    assert_eq!(until(&edge, "stays", |_| true).await["cursor"], "7-4");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_read_changes_everything_and_one_twice_changes_nothing_more() {
    let (center, redis) = (Center::start().await, Redis::start().await);
    center.reply_api("manifest", manifest(id(3)));
    center.reply_api("changes", String::new());
    redis.alive_at(id(3)).await;
    let edge = TestEdge::start(&center, |config: &mut Config| config.redis.url = redis.url());
    until(&edge, "follows the stream", |report| report["channel"] == "stream").await;
    // Fields of nobody's, bytes that are no text, a kind that a newer center knows.
    let newer = ["event_type", "EXPLODE", "kind", "cosmos", "schema", "9"].map(str::as_bytes);
    let entries: [&[&[u8]]; 3] = [&[b"a", b"b"], &[b"event_type", b"\xff\xfe", b"schema", b"1"], &newer];
    for (seq, fields) in (4..).zip(entries) {
        center.reply(LIST, Reply::right(format!("v1.0.{}\n", seq - 1), Proof::Header));
        edge.get(LIST).await;
        center.reply(LIST, Reply::right(format!("v1.0.{seq}\n"), Proof::Header));
        let mut command = redis::cmd("XADD");
        command.arg("meta:golang-virtual").arg(id(seq).to_string()).arg(fields);
        command.exec_async(&mut redis.open().await.unwrap()).await.unwrap();
        redis.alive_at(id(seq)).await;
        until(&edge, "applies", |report| report["cursor"] == id(seq).to_string()).await;
        assert_eq!(edge.get(LIST).await.text(), format!("v1.0.{seq}\n"));
    }
    // Delivered again from the beginning: known ids are confirmed and passed over.
    redis.run(&["XGROUP", "SETID", "meta:golang-virtual", "edge:test-edge", "0"]).await;
    redis.relay(&list_changed(7)).await;
    let report = until(&edge, "goes on", |report| report["cursor"] == "7-7").await;
    assert_eq!(report["channel"], "stream", "{report}");
    // What another center left there is a hole, and the feed knows better.
    center.reply_api("changes", lines(&[list_changed(8)]));
    redis.run(&["XADD", "meta:golang-virtual", "99-1", "a", "b"]).await;
    until(&edge, "follows the feed", |report| report["cursor"] == "7-8").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_in_the_stream_is_closed_from_the_feed() {
    let (center, redis) = (Center::start().await, Redis::start().await);
    center.reply_api("manifest", manifest(id(3)));
    center.reply_api("changes", String::new());
    redis.alive_at(id(3)).await;
    let edge = TestEdge::start(&center, |config: &mut Config| config.redis.url = redis.url());
    until(&edge, "follows the stream", |report| report["channel"] == "stream").await;
    center.reply_api("changes", lines(&[list_changed(4), list_changed(5), list_changed(6)]));
    redis.relay(&list_changed(6)).await;
    until(&edge, "closes the hole", |report| report["cursor"] == "7-6").await;
    until(&edge, "comes back to the stream", |report| report["channel"] == "stream").await;
    redis.relay(&list_changed(7)).await;
    until(&edge, "goes on", |report| report["cursor"] == "7-7").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_relay_that_is_alive_the_feed_is_followed() {
    let (center, redis) = (Center::start().await, Redis::start().await);
    center.reply_api("manifest", manifest(id(3)));
    center.reply_api("changes", String::new());
    redis.alive_at(id(3)).await;
    let edge = TestEdge::start(&center, |config: &mut Config| config.redis.url = redis.url());
    until(&edge, "follows the stream", |report| report["channel"] == "stream").await;
    redis.run(&["DEL", "relay:golang-virtual"]).await;
    center.reply_api("changes", lines(&[list_changed(4)]));
    until(&edge, "follows the feed", |report| report["channel"] == "feed" && report["cursor"] == "7-4").await;
    // A relay that says it is ahead, while nothing comes, is no better than none.
    redis.alive_at(id(4)).await;
    until(&edge, "follows the stream again", |report| report["channel"] == "stream").await;
    center.reply_api("changes", lines(&[list_changed(4), list_changed(5)]));
    redis.alive_at(id(5)).await;
    until(&edge, "follows the feed again", |report| report["cursor"] == "7-5").await;
    drop(redis);
    center.reply_api("changes", lines(&[list_changed(5), list_changed(6)]));
    until(&edge, "goes on without Redis", |report| report["cursor"] == "7-6").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_no_change_told_of_is_found_in_the_manifest() {
    let center = Center::start().await;
    center.reply_api("manifest", manifest(id(3)));
    center.reply_api("changes", String::new());
    let edge = TestEdge::start(&center, |config| config.sync.reconcile = shared::config::Period::secs(1));
    until(&edge, "begins", |report| report["cursor"] == "7-3").await;
    let zip = "example.com/a/@v/v1.0.0.zip";
    center.reply(zip, Reply::right(vec![b'z'; 100_000], Proof::Header));
    edge.get(zip).await;
    assert_eq!(edge.get(zip).await.x_cache(), "HIT");
    let line = format!("tombstone example.com/a v1.0.0 {}\n", "0".repeat(64));
    let bucket = Digest::of(b"example.com/a").as_bytes()[0];
    let mut buckets = vec![Digest::of(b""); 256];
    buckets[usize::from(bucket)] = Digest::of(line.as_bytes());
    center.reply(zip, Reply::Refusal(410, "gone: removed by an administrator"));
    center.reply_api(&format!("manifest/{bucket}"), line);
    let moved = serde_json::json!({ "head": id(3), "root": buckets[0], "buckets": buckets });
    center.reply_api("manifest", moved.to_string());
    let deadline = Instant::now() + Duration::from_secs(20);
    while edge.get(zip).await.status != 410 {
        assert!(Instant::now() < deadline, "the removal is found");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_no_change_told_of_is_found_and_what_stands_still_is_not_read_again() {
    let center = Center::start().await;
    center.reply_api("manifest", manifest(id(3)));
    center.reply_api("changes", String::new());
    let edge = TestEdge::start(&center, |config| config.sync.reconcile = shared::config::Period::secs(1));
    until(&edge, "begins", |report| report["cursor"] == "7-3").await;
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    edge.get(LIST).await;
    assert_eq!(edge.get(LIST).await.x_cache(), "HIT");
    center.reply(LIST, Reply::right("v1.0.0\nv1.1.0\n", Proof::Header));
    let line = format!("zip example.com/a v1.1.0 {}\n", "1".repeat(64));
    let bucket = Digest::of(b"example.com/a").as_bytes()[0];
    let mut buckets = vec![Digest::of(b""); 256];
    buckets[usize::from(bucket)] = Digest::of(line.as_bytes());
    center.reply_api(&format!("manifest/{bucket}"), line);
    center.reply_api(
        "manifest",
        serde_json::json!({ "head": id(3), "root": buckets[0], "buckets": buckets }).to_string(),
    );
    let deadline = Instant::now() + Duration::from_secs(20);
    while edge.get(LIST).await.text() != "v1.0.0\nv1.1.0\n" {
        assert!(Instant::now() < deadline, "the version is found");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let compared = center.api_gets("manifest");
    while center.api_gets("manifest") < compared + 3 {
        assert!(Instant::now() < deadline, "it is compared again and again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let read = |bucket: usize| center.api_gets(&format!("manifest/{bucket}"));
    assert_eq!((0..256).map(read).sum::<usize>(), 1, "one bucket moved, once");
}
