//! Upstream watching: a new version of what is asked for often is on the edge before anybody asks for it.

use modtier_tests::{Cluster, Module, Origin, until};

use crate::shell::{Daemon, LIMIT, env_of, syncer};

const LIST: &str = "example.com/a/@v/list";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_of_a_hot_module_is_warm_before_anybody_asks() {
    let origin = Origin::start().await;
    for name in ["example.com/a", "example.com/cold"] {
        origin.publish(&Module::new(name, "v1.0.0").package().build());
    }
    let cluster = Cluster::of(&origin).start().await;
    for _ in 0..5 {
        cluster.edge_web().get(LIST).await;
    }
    cluster.edge_web().get("example.com/cold/@v/list").await;
    let daemon = Daemon::start(&eager(&cluster)).await;
    upstream_is_asked(&daemon).await;
    for name in ["example.com/a", "example.com/cold"] {
        origin.publish(&Module::new(name, "v1.1.0").package().build());
    }
    let edge = cluster.edge_web();
    until("the zip is on the edge", LIMIT, async || edge.get_held("example.com/a/@v/v1.1.0.zip").await.status == 200)
        .await;
    assert_eq!(edge.get(LIST).await.text(), "v1.0.0\nv1.1.0\n");
    assert_eq!(edge.get_held("example.com/a/@v/v1.1.0.mod").await.status, 200);
    assert_eq!(edge.get_held("example.com/cold/@v/v1.1.0.zip").await.status, 404, "nobody asks for it");
    assert_eq!(origin.count("example.com/cold/@v/list"), 1, "what is not hot is left alone");
    assert!(daemon.figure("modtier_watch_new_versions_total").await.is_some_and(|count| count >= 1.0));
}

/// The variables of a syncer that looks upstream several times a second.
fn eager(cluster: &Cluster) -> Vec<(&'static str, String)> {
    let mut env = env_of(cluster);
    env.extend([
        ("MODTIER_SYNCER_WATCH_REQUESTS_MIN", "5".to_owned()),
        ("MODTIER_SYNCER_WATCH_INTERVAL_MIN", "300ms".to_owned()),
        ("MODTIER_SYNCER_WATCH_INTERVAL_MAX", "1s".to_owned()),
        ("MODTIER_SYNCER_WATCH_RATE_PER_MINUTE", "300".to_owned()),
    ]);
    env
}

async fn upstream_is_asked(daemon: &Daemon) {
    let asked = "modtier_watch_requests_total{outcome=\"unchanged\"}";
    until("upstream is asked", LIMIT, async || daemon.figure(asked).await.is_some_and(|count| count > 0.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_goes_through_the_queue_of_pre_warming_where_there_is_one() {
    let origin = Origin::start().await;
    for (name, version) in [("example.com/a", "v1.0.0"), ("example.com/listed", "v1.0.0")] {
        origin.publish(&Module::new(name, version).package().build());
    }
    let cluster = Cluster::of(&origin).start().await;
    for _ in 0..5 {
        cluster.edge_web().get(LIST).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut env = eager(&cluster);
    env.extend([
        ("MODTIER_SYNCER_PREWARM_STATE_DIR", folder.path().join("state").display().to_string()),
        ("MODTIER_SYNCER_PREWARM_MODULES", "example.com/listed@v1.0.0".to_owned()),
    ]);
    let daemon = Daemon::start(&env).await;
    upstream_is_asked(&daemon).await;
    origin.publish(&Module::new("example.com/a", "v1.1.0").package().build());
    until("the zip is on the edge", LIMIT, async || {
        cluster.edge_web().get_held("example.com/a/@v/v1.1.0.zip").await.status == 200
    })
    .await;
    until("the queue's log says why", LIMIT, async || {
        let log = syncer(&["prewarm", "log", "--cause", "new-version"], &env).await;
        log.out.contains("example.com/a@v1.1.0")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_center_asks_its_upstream_anew_and_says_what_came() {
    let origin = Origin::start().await;
    origin.publish(&Module::new("example.com/a", "v1.0.0").package().build());
    let cluster = Cluster::of(&origin).start().await;
    let web = cluster.center_web();
    let refresh = async |body: &str| {
        let request = web.request(reqwest::Method::POST, "api/v1/repos/golang-virtual/refresh").body(body.to_owned());
        modtier_tests::Web::send(request).await.unwrap()
    };
    let both = r#"{"modules":["example.com/a","example.com/none","no dot"]}"#;
    let first = refresh(both).await.json();
    assert_eq!(first["modules"][0]["versions"], serde_json::json!(["v1.0.0"]), "{first}");
    assert_eq!(first["modules"][0]["sources"], serde_json::json!(["golang-remote"]), "{first}");
    assert!(first["modules"][1]["error"].as_str().unwrap().contains("not found"), "{first}");
    assert!(first["modules"][2]["error"].is_string(), "{first}");
    origin.publish(&Module::new("example.com/a", "v1.1.0").package().build());
    until("the new version is told", LIMIT, async || {
        let answer = refresh(r#"{"modules":["example.com/a"]}"#).await.json();
        answer["modules"][0]["new"] == serde_json::json!(["v1.1.0"])
    })
    .await;
    let feed = web.get("api/v1/repos/golang-virtual/changes").await.text();
    assert!(feed.contains(r#""kind":"list""#) && feed.contains("timestamp_ms"), "the change record tells it: {feed}");
    assert_eq!(refresh("{}").await.status, 400);
    assert_eq!(web.get("api/v1/repos/golang-virtual/refresh").await.status, 405);
}
