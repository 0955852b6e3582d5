//! `status`, `watch`, `hot`, `replay`, `once` and the notification of systemd.

use std::time::Duration;

use modtier_tests::{Cluster, Module, Origin, Process, ProcessSpec, RedisServer, binary, until, until_some};

use crate::shell::{Daemon, LIMIT, env_of, syncer};

const A: &str = "example.com/a";
const LIST: &str = "example.com/a/@v/list";

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.publish(&Module::new(A, "v1.0.0").package().build());
    origin
}

/// Publishes a version and returns the head of the log.
async fn publish(cluster: &Cluster, version: &str) -> String {
    cluster.publish_new(&Module::new("corp.example/lib", version).package().build()).await;
    let feed = cluster.center_web().get("api/v1/repos/golang-virtual/changes?limit=1").await;
    feed.header("x-change-head").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_hot_and_replay_speak_of_every_edge() {
    let origin = origin().await;
    let builder = Cluster::of(&origin).edge_env("MODTIER_EDGE_REGION", "eu-1").edge_env("MODTIER_EDGE_EDGE_ID", "e1");
    let mut cluster = builder.start().await;
    let env = env_of(&cluster);
    for _ in 0..12 {
        cluster.edge_web().get(LIST).await;
    }
    let head = publish(&cluster, "v1.0.0").await;
    let status = until_some("the edge is in step", LIMIT, async || {
        let said = syncer(&["status", "--json"], &env).await;
        (said.json()["edges"][0]["cursor"] == head.as_str()).then_some(said)
    })
    .await;
    assert_eq!(status.code, 0, "{status:?}");
    let edge = &status.json()["edges"][0];
    assert_eq!((&edge["edge"], &edge["region"], &edge["channel"]), (&"e1".into(), &"eu-1".into(), &"feed".into()));
    assert!(edge["lag_seconds"] == 0.0 && edge["hit_rate"].as_f64().unwrap() > 0.5, "{edge}");
    assert!(edge["last_reconcile"].is_u64(), "{edge}");
    let table = syncer(&["status"], &env).await.out;
    assert!(table.starts_with("EDGE  REGION  STATE") && table.contains("1 edges, 0 behind, 0 down"), "{table}");

    let hot = until_some("every request is counted", LIMIT, async || {
        let hot = syncer(&["hot", "--json"], &env).await.json();
        (hot["modules"][0]["regions"]["eu-1"] == 12).then_some(hot)
    })
    .await;
    assert_eq!(hot["modules"][0]["module"], A, "{hot}");

    assert_eq!(cluster.edge_web().get(LIST).await.header("x-cache"), "HIT");
    let epoch = head.split('-').next().unwrap();
    let replayed = syncer(&["replay", "--from", &format!("{epoch}-0")], &env).await;
    assert_eq!(replayed.code, 0, "{replayed:?}");
    let records: u64 = head.rsplit('-').next().unwrap().parse().unwrap();
    assert_eq!(replayed.out, format!("e1: {records} records applied once more\n"));
    assert_eq!(cluster.admin_web().get("api/v1/sync").await.json()["cursor"], head.as_str(), "the cursor stays");
    for (from, why) in [(format!("{epoch}-999"), "keeps no record after"), (head, "is not before")] {
        let said = syncer(&["replay", "--from", &from], &env).await;
        assert!(said.code == 2 && (said.out + &said.err).contains(why), "{from}");
    }

    cluster.edge.kill9();
    let down = syncer(&["status"], &env).await;
    assert!(down.code == 1 && down.out.contains("1 edges, 0 behind, 1 down"), "{down:?}");
    cluster.center.kill9();
    assert_eq!(syncer(&["status"], &env).await.code, 2);
    assert_eq!(syncer(&["hot"], &env).await.code, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_only_redis_knows_is_seen_and_reached() {
    let origin = origin().await;
    let cluster = Cluster::of(&origin).with_redis().edge_env("MODTIER_EDGE_EDGE_ID", "e1").start().await;
    let mut env = env_of(&cluster);
    env.retain(|(name, _)| *name != "MODTIER_SYNCER_EDGES");
    env.extend([
        ("MODTIER_SYNCER_EDGES", String::new()),
        ("MODTIER_SYNCER_REDIS_URL", cluster.redis.as_ref().unwrap().url()),
    ]);
    let daemon = Daemon::start(&env).await;
    let head = publish(&cluster, "v1.0.0").await;
    let edge_at = async |head: &str| {
        let view = daemon.admin.get("api/v1/edges").await.json();
        view["edges"].as_array().unwrap().iter().any(|edge| edge["edge"] == "e1" && edge["cursor"] == head)
    };
    until("the heartbeat comes soon after the change", Duration::from_secs(8), async || edge_at(&head).await).await;
    let lag = "modtier_sync_lag_seconds{edge=\"e1\",repo=\"golang-virtual\"}";
    until("the figure shows it", LIMIT, async || daemon.figure(lag).await == Some(0.0)).await;

    // An edge that stands still falls behind by the age of what it has not applied, not by that of its heartbeat.
    cluster.edge.signal("STOP");
    publish(&cluster, "v1.1.0").await;
    until("the lag grows", LIMIT, async || daemon.figure(lag).await.is_some_and(|lag| lag > 1.0)).await;
    let status = syncer(&["status"], &env).await;
    assert!(status.code == 1 && status.out.contains("1 behind"), "{status:?}");
    cluster.edge.signal("CONT");
    until("the lag is gone", LIMIT, async || daemon.figure(lag).await == Some(0.0)).await;

    // Asked through Redis; the next heartbeat sees it, and a change hastens that.
    let epoch = head.split('-').next().unwrap();
    let from = format!("{epoch}-0");
    let args = ["replay", "--from", &from, "--edge", "e1"];
    let (replayed, _) = tokio::join!(syncer(&args, &env), async {
        let mut redis = cluster.redis.as_ref().unwrap().connect().await;
        until("it is asked", LIMIT, async || {
            redis::cmd("EXISTS").arg("control:edges:golang-virtual").query_async(&mut redis).await.unwrap_or(false)
        })
        .await;
        publish(&cluster, "v1.2.0").await
    });
    assert!(replayed.code == 0 && replayed.out.contains("records applied once more"), "{replayed:?}");
    let unknown = syncer(&["replay", "--from", &from, "--edge", "e9"], &env).await;
    assert!(unknown.code == 2 && unknown.out.contains("e9: failed: it does not answer"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_prints_a_line_for_each_change() {
    let origin = origin().await;
    let cluster = Cluster::of(&origin).edge_env("MODTIER_EDGE_EDGE_ID", "e1").start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut spec = ProcessSpec::new("watch", binary("syncer"), folder.path()).args(&["watch", "--every", "100ms"]);
    for (name, value) in env_of(&cluster) {
        spec = spec.env(name, &value);
    }
    let mut watch = Process::spawn(spec);
    until("the edge is shown", LIMIT, async || watch.log().contains("edge e1 ok cursor")).await;
    let head = publish(&cluster, "v1.0.0").await;
    let line = format!("edge e1 ok cursor {head} channel feed lag 0.00 s");
    until("the change is shown", LIMIT, async || watch.log().contains(&line)).await;
    assert!(!watch.log().contains('\u{1b}'), "no table without a terminal: {}", watch.log());
    watch.signal("TERM");
    assert_eq!(watch.ended(LIMIT).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn once_does_a_pass_and_its_exit_code_says_how_far_it_came() {
    let mut origin = origin().await;
    let mut cluster = Cluster::of(&origin).start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut redis = RedisServer::start(folder.path()).await;
    let mut env = env_of(&cluster);
    env.extend([("MODTIER_SYNCER_REDIS_URL", redis.url()), ("MODTIER_SYNCER_WATCH_REQUESTS_MIN", "1".to_owned())]);
    cluster.edge_web().get(LIST).await;
    publish(&cluster, "v1.0.0").await;
    let said = syncer(&["once"], &env).await;
    assert!(said.code == 0 && said.out.contains("watch: 1 modules asked, 0 failed, 0 new versions"), "{said:?}");
    let length: u64 =
        redis::cmd("XLEN").arg("meta:golang-virtual").query_async(&mut redis.connect().await).await.unwrap();
    assert!(length > 0 && said.out.contains(&format!("relay: {length} records published\n")), "{length}: {said:?}");

    origin.publish(&Module::new(A, "v1.1.0").package().build());
    // The center asks for a list once a second at most.
    let said = until_some("the new version is found", LIMIT, async || {
        let said = syncer(&["once"], &env).await;
        said.out.contains("1 new versions").then_some(said)
    })
    .await;
    assert!(said.code == 0 && said.out.contains("watch: new: example.com/a@v1.1.0\n"), "{said:?}");
    assert_eq!(cluster.edge_web().get_held("example.com/a/@v/v1.1.0.zip").await.status, 200);

    redis.kill9();
    let said = syncer(&["once"], &env).await;
    assert!(said.code == 1 && said.err.contains("relay: failed"), "one part failed: {said:?}");
    origin.go_down().await;
    cluster.center.kill9();
    assert_eq!(syncer(&["once"], &env).await.code, 2, "nothing could be done");
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_of_start_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let manager = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let told = async || {
        let mut text = vec![0; 4096];
        let len = tokio::time::timeout(LIMIT, manager.recv(&mut text)).await.expect("it says something").unwrap();
        String::from_utf8_lossy(&text[..len]).into_owned()
    };
    let env = [
        ("MODTIER_SYNCER_ADMIN", "127.0.0.1:0".to_owned()),
        ("MODTIER_SYNCER_EDGES", String::new()),
        ("NOTIFY_SOCKET", socket.display().to_string()),
    ];
    let mut daemon = Daemon::start(&env).await;
    assert!(told().await.starts_with("READY=1\n"));
    daemon.process.signal("TERM");
    assert!(told().await.starts_with("STOPPING=1"));
    assert!(daemon.process.ended(LIMIT).await.success());
}
