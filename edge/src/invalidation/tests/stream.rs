//! The follower of a stream in a real Redis, and what an edge tells there.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use shared::redis::Redis as Settings;

use super::super::heartbeat::tell_hot;
use super::server::Redis;
use super::*;
use crate::testing::Pace;

/// An edge that is in step at 7-3 and follows the stream.
async fn streaming(change: impl FnOnce(&mut Config)) -> (Center, Redis, TestEdge) {
    let (center, redis) = (quiet_center().await, Redis::start().await);
    redis.alive_at(id(3)).await;
    let edge = TestEdge::start(&center, |config: &mut Config| {
        config.redis.url = redis.url();
        change(config);
    });
    until(&edge, "follows the stream", |report| report["channel"] == "stream").await;
    (center, redis, edge)
}

/// Waits until the edge's heartbeat says this.
async fn told(connection: &mut MultiplexedConnection, wanted: &[(&str, &str)]) {
    let deadline = Instant::now() + SOON;
    loop {
        let beat: HashMap<String, String> =
            redis::cmd("HGETALL").arg("edge:test-edge").query_async(connection).await.unwrap();
        if wanted.iter().all(|(name, value)| beat.get(*name).is_some_and(|said| said == value)) {
            return;
        }
        assert!(Instant::now() < deadline, "{wanted:?}: {beat:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_the_stream_is_applied_within_a_second() {
    let (_center, redis, edge) = streaming(|config| config.region = "lab".into()).await;
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
    // A heartbeat follows the change at once.
    let said = [("repo", "golang-virtual"), ("region", "lab"), ("channel", "stream"), ("cursor", "7-9")];
    told(&mut connection, &said).await;
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
        soon("the requests are counted", async || counted() >= before + asked).await;
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
async fn an_entry_that_cannot_be_read_changes_everything_and_one_twice_changes_nothing_more() {
    let (center, redis, edge) = streaming(|_| {}).await;
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
    let (center, redis, edge) = streaming(|_| {}).await;
    center.reply_api("changes", lines(&[list_changed(4), list_changed(5), list_changed(6)]));
    redis.relay(&list_changed(6)).await;
    until(&edge, "closes the hole", |report| report["cursor"] == "7-6").await;
    until(&edge, "comes back to the stream", |report| report["channel"] == "stream").await;
    redis.relay(&list_changed(7)).await;
    until(&edge, "goes on", |report| report["cursor"] == "7-7").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_relay_that_is_alive_the_feed_is_followed() {
    let (center, redis, edge) = streaming(|_| {}).await;
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
async fn heartbeats_go_on_while_changes_are_applied_once_more() {
    let (center, redis, _edge) = streaming(|_| {}).await;
    let ask = async |repo: &str, name: &str| {
        let action = serde_json::json!({ "id": name, "repo": repo, "replay_from": "7-1" }).to_string();
        redis.run(&["SET", &format!("control:edges:{repo}"), &action, "EX", "60"]).await;
    };
    // One of another repository stands beside this edge's, and is not its.
    ask("golang-virtual", "mine").await;
    ask("other", "theirs").await;
    center.pace(Pace::Never);
    redis.relay(&list_changed(4)).await;
    let mut connection = redis.open().await.unwrap();
    told(&mut connection, &[("obeyed", "mine begun")]).await;
    redis.relay(&list_changed(5)).await;
    told(&mut connection, &[("obeyed", "mine begun"), ("cursor", "7-5")]).await;
    center.reply_api("changes", lines(&(2..=6).map(list_changed).collect::<Vec<_>>()));
    center.pace(Pace::AtOnce);
    // The question that was not answered is given up; the same action is not begun again.
    told(&mut connection, &[("obeyed", "mine failed")]).await;
    redis.relay(&list_changed(6)).await;
    told(&mut connection, &[("cursor", "7-6")]).await;
    ask("golang-virtual", "another").await;
    told(&mut connection, &[("obeyed", "another 5")]).await;
}
