//! Everything that may be wrong with Redis, one after another, on a real redis-server. Each time: a publish is seen within
//! seconds, no request fails meanwhile, and changes come through the stream again afterwards.

use std::time::Duration;

use modtier_tests::{ClusterBuilder, RedisServer, SlowLine, until};

use super::scene::{RETURN, Scene};

const STREAM: &str = "meta:golang-virtual";

/// A cluster whose Redis was started by the test.
async fn beside(redis: &RedisServer, port: u16) -> Scene {
    assert!(redis.port() > 0);
    let url = format!("redis://127.0.0.1:{port}");
    Scene::start(|cluster| {
        cluster.with_syncer().edge_env("MODTIER_EDGE_REDIS_URL", &url).syncer_env("MODTIER_SYNCER_REDIS_URL", &url)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_loses_is_found_elsewhere() {
    let mut scene = Scene::start(ClusterBuilder::with_redis).await;
    scene.visited();
    let run = async |scene: &Scene, words: &[&str]| {
        scene.cluster.redis.as_ref().unwrap().run::<redis::Value>(words).await;
    };

    run(&scene, &["FLUSHALL"]).await;
    scene.publish_is_seen("FLUSHALL").await;
    scene.returns("FLUSHALL").await;

    run(&scene, &["DEL", STREAM]).await;
    scene.publish_is_seen("DEL of the stream").await;
    scene.returns("DEL of the stream").await;

    let groups: Vec<std::collections::HashMap<String, redis::Value>> =
        scene.cluster.redis.as_ref().unwrap().run(&["XINFO", "GROUPS", STREAM]).await;
    assert_eq!(groups.len(), 1);
    let group: String = redis::from_redis_value_ref(&groups[0]["name"]).unwrap();
    run(&scene, &["XGROUP", "DESTROY", STREAM, &group]).await;
    scene.publish_is_seen("XGROUP DESTROY").await;
    scene.returns("XGROUP DESTROY").await;

    // An edge that has slept finds one entry of four.
    scene.unvisited();
    scene.cluster.edge.signal("STOP");
    for _ in 0..4 {
        scene.publish().await;
    }
    let newest = scene.cluster.redis.as_ref().unwrap();
    until("the relay has carried them", RETURN, async || {
        let held: usize = newest.run(&["XLEN", STREAM]).await;
        held >= 8
    })
    .await;
    run(&scene, &["XTRIM", STREAM, "MAXLEN", "=", "1"]).await;
    scene.cluster.edge.signal("CONT");
    scene.visited();
    scene.is_right("trimmed to one entry").await;
    scene.returns("trimmed to one entry").await;
    assert!(!scene.cluster.edge.log().contains("panicked"), "{}", scene.cluster.edge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_goes_and_comes_back_is_outlived() {
    let folder = tempfile::tempdir().unwrap();
    // It keeps nothing but what SAVE writes.
    let words = ["--appendonly", "no"].map(ToOwned::to_owned);
    let mut redis = RedisServer::start_with(folder.path(), |_| words.to_vec()).await;
    let mut scene = beside(&redis, redis.port()).await;
    scene.visited();

    let () = redis.run(&["SAVE"]).await;
    let (dump, old) = (folder.path().join("dump.rdb"), folder.path().join("old.rdb"));
    std::fs::rename(&dump, &old).unwrap();
    scene.publish_is_seen("before it goes").await;

    redis.kill9();
    scene.leaves("down").await;
    for _ in 0..3 {
        scene.publish_is_seen("down for a while").await;
    }
    redis.restart().await;
    scene.publish_is_seen("restarted empty").await;
    scene.returns("restarted empty").await;

    redis.kill9();
    std::fs::rename(&old, &dump).unwrap();
    redis.restart().await;
    scene.publish_is_seen("restored from an old dump").await;
    scene.returns("restored from an old dump").await;

    // Down at boot: edge and syncer start while there is none.
    scene.unvisited();
    redis.kill9();
    scene.cluster.restart_edge().await;
    scene.cluster.syncer.as_mut().unwrap().restart();
    scene.visited();
    scene.publish_is_seen("down at boot").await;
    redis.restart().await;
    scene.returns("down at boot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_there_and_no_good_is_left_and_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start(folder.path()).await;
    let line = SlowLine::to(redis.port()).await;
    let mut scene = beside(&redis, line.port()).await;
    scene.visited();
    let run = async |words: &[&str]| {
        redis.run::<redis::Value>(words).await;
    };

    // Of a master that is not there: its own data is served, and not written.
    run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    scene.publish_is_seen("a read-only replica").await;
    scene.leaves("a read-only replica").await;
    run(&["REPLICAOF", "NO", "ONE"]).await;
    scene.returns("a read-only replica").await;

    run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    scene.publish_is_seen("out of memory").await;
    scene.leaves("out of memory").await;
    run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    scene.returns("out of memory").await;

    line.set_delay(Duration::from_secs(2));
    scene.publish_is_seen("slow").await;
    scene.leaves("slow").await;
    scene.publish_is_seen("still slow").await;
    line.set_delay(Duration::ZERO);
    scene.returns("slow").await;

    run(&["CONFIG", "SET", "requirepass", "another"]).await;
    run_as(&redis, "another", &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    scene.publish_is_seen("a wrong password").await;
    scene.leaves("a wrong password").await;
    run_as(&redis, "another", &["CONFIG", "SET", "requirepass", ""]).await;
    scene.returns("a wrong password").await;
    assert!(!scene.cluster.edge.log().contains("panicked"), "{}", scene.cluster.edge.log());
}

async fn run_as(redis: &RedisServer, password: &str, words: &[&str]) {
    let client = redis::Client::open(format!("redis://:{password}@127.0.0.1:{}", redis.port())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd(words[0]).arg(&words[1..]).exec_async(&mut connection).await.unwrap();
}
