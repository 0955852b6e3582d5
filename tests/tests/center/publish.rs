//! Publishing to `golang-local`: what is taken, what is refused, and how soon the edge knows.

use std::time::{Duration, Instant};

use bytes::Bytes;
use modtier_tests::{BuiltModule, Cluster, ClusterBuilder, GoClient, Module, Origin, until};
use reqwest::Method;

fn module(path: &str, version: &str) -> BuiltModule {
    Module::new(path, version).package().build()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_module_is_downloadable_through_the_edge() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).start().await;
    let module = Module::new("corp.example/Team/lib", "v1.0.0").package().ballast(200_000, 3).build();
    let reply = cluster.publish(&module).await.unwrap();
    assert_eq!(reply.status, 201, "{}", reply.text());
    let said = reply.json();
    assert_eq!((said["module"].as_str(), said["version"].as_str()), (Some("corp.example/Team/lib"), Some("v1.0.0")));
    assert_eq!(said["h1"].as_str(), Some(module.h1.as_str()));
    assert!(said["sha256"].is_string() && said["time"].is_string(), "{said}");
    let go = GoClient::new(&cluster.goproxy());
    let output = go.ok(&["mod", "download", "-json", &module.query()]).await;
    assert!(output.stdout.contains(&module.h1), "{}", output.stdout);
    go.ok(&["get", "corp.example/Team/lib@latest"]).await;
    let (held, info) =
        (cluster.edge_web().get(&module.at("zip")).await, cluster.edge_web().get(&module.at("info")).await);
    assert_eq!(held.body, module.zip);
    assert_eq!(info.json()["Version"], "v1.0.0");
    assert_eq!(cluster.edge_web().get(&module.at("mod")).await.body, module.go_mod);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_listed_within_a_second_through_the_feed() {
    let origin = Origin::start().await;
    listed_within_a_second(Cluster::of(&origin), "feed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_listed_within_a_second_through_redis_streams() {
    let origin = Origin::start().await;
    let mut cluster = listed_within_a_second(Cluster::of(&origin).with_redis(), "stream").await;
    let mut redis = cluster.redis.as_ref().unwrap().connect().await;
    let records: usize = redis::cmd("XLEN").arg("meta:golang-virtual").query_async(&mut redis).await.unwrap();
    assert!(records >= 2, "the stream holds {records} records");
    // The stream alone: a center that has gone can feed nobody.
    cluster.center.kill9();
    assert!(cluster.edge_web().get("corp.example/lib/@v/list").await.text().contains("v1.1.0"));
}

/// How changes reach the edge: `feed` or `stream`.
async fn channel(cluster: &Cluster) -> String {
    cluster.admin_web().get("api/v1/sync").await.json()["channel"].as_str().unwrap_or_default().to_owned()
}

async fn listed_within_a_second(builder: ClusterBuilder, way: &str) -> Cluster {
    let cluster = builder.start().await;
    until("changes come the way that is tested", Duration::from_secs(20), async || channel(&cluster).await == way)
        .await;
    cluster.publish_new(&module("corp.example/lib", "v1.0.0")).await;
    let (edge, list) = (cluster.edge_web(), "corp.example/lib/@v/list");
    until("the first version is listed", Duration::from_secs(10), async || edge.get(list).await.text() == "v1.0.0\n")
        .await;
    assert_eq!(edge.get(list).await.header("x-cache"), "HIT", "the edge holds the list");
    // The edge also holds that there is no v1.1.0.
    assert_eq!(edge.get("corp.example/lib/@v/v1.1.0.info").await.status, 404);
    let next = module("corp.example/lib", "v1.1.0");
    cluster.publish_new(&next).await;
    let published = Instant::now();
    until("the new version is listed", Duration::from_secs(1), async || {
        edge.get(list).await.text() == "v1.0.0\nv1.1.0\n"
    })
    .await;
    println!("listed after {:?}", published.elapsed());
    assert_eq!(channel(&cluster).await, way);
    until("the new version is served", Duration::from_secs(1), async || edge.get(&next.at("info")).await.status == 200)
        .await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_or_syncer_the_edge_follows_the_feed_until_they_are_back() {
    let origin = Origin::start().await;
    let mut cluster = Cluster::of(&origin).with_redis().start().await;
    let (edge, list) = (cluster.edge_web(), "corp.example/lib/@v/list");
    let limit = Duration::from_secs(30);
    until("the stream is followed", limit, async || channel(&cluster).await == "stream").await;
    cluster.publish_new(&module("corp.example/lib", "v1.0.0")).await;
    until("it is listed", limit, async || edge.get(list).await.text() == "v1.0.0\n").await;

    cluster.redis.as_mut().unwrap().kill9();
    until("the feed is followed", limit, async || channel(&cluster).await == "feed").await;
    cluster.publish_new(&module("corp.example/lib", "v1.1.0")).await;
    until("it is listed by the feed", Duration::from_secs(1), async || edge.get(list).await.text().contains("v1.1.0"))
        .await;

    cluster.redis.as_mut().unwrap().restart().await;
    until("the stream is followed again", limit, async || channel(&cluster).await == "stream").await;
    cluster.publish_new(&module("corp.example/lib", "v1.2.0")).await;
    until("it is listed by the stream", Duration::from_secs(1), async || {
        edge.get(list).await.text().contains("v1.2.0")
    })
    .await;

    // A relay that has died looks like a quiet one, but for its heartbeat.
    cluster.syncer.as_mut().unwrap().kill9();
    cluster.publish_new(&module("corp.example/lib", "v1.3.0")).await;
    until("it is listed though nobody relays", limit, async || edge.get(list).await.text().contains("v1.3.0")).await;
    assert_eq!(channel(&cluster).await, "feed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_while_the_edge_was_down_is_known_after_its_start() {
    let origin = Origin::start().await;
    let mut cluster = Cluster::of(&origin).start().await;
    let list = "corp.example/lib/@v/list";
    cluster.publish_new(&module("corp.example/lib", "v1.0.0")).await;
    let edge = cluster.edge_web();
    until("it is listed", Duration::from_secs(10), async || edge.get(list).await.text() == "v1.0.0\n").await;
    assert_eq!(edge.get(&module("corp.example/lib", "v1.1.0").at("info")).await.status, 404);
    cluster.edge.kill9();
    cluster.publish_new(&module("corp.example/lib", "v1.1.0")).await;
    cluster.restart_edge().await;
    let edge = cluster.edge_web();
    until("the missed version is listed", Duration::from_secs(2), async || {
        edge.get(list).await.text().contains("v1.1.0")
    })
    .await;
    assert_eq!(edge.get(&module("corp.example/lib", "v1.1.0").at("info")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_published_once() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).start().await;
    let first = module("corp.example/lib", "v1.0.0");
    cluster.publish_new(&first).await;
    assert_eq!(cluster.publish(&first).await.unwrap().status, 200, "the same bytes again");
    let other = Module::new("corp.example/lib", "v1.0.0").package().file("more.go", "package lib\n").build();
    let reply = cluster.publish(&other).await.unwrap();
    assert_eq!(reply.status, 409, "{}", reply.text());
    assert_eq!(cluster.edge_web().get(&first.zip_path()).await.body, first.zip);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_zips_are_refused_with_the_reason_and_leave_nothing() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).start().await;
    let good = module("corp.example/lib", "v1.0.0");
    let foreign = Module::new("corp.example/other", "v1.0.0").package().build();
    let renamed = Module::new("corp.example/lib", "v1.0.0").go_mod("module corp.example/other\n").build();
    let doubled =
        Module::new("corp.example/lib", "v1.0.0").file("A.go", "package a\n").file("a.go", "package a\n").build();
    let escaping = Module::new("corp.example/lib", "v1.0.0").file("../evil.go", "package a\n").build();
    let mut flipped = good.zip.to_vec();
    flipped[60] ^= 0xff;
    let wrong: [(&str, Bytes); 8] = [
        ("no zip at all", Bytes::from_static(b"this is no zip")),
        ("empty", Bytes::new()),
        ("cut", good.zip.slice(..good.zip.len() - 30)),
        ("a flipped byte", flipped.into()),
        ("another module's files", foreign.zip),
        ("a go.mod that names another module", renamed.zip),
        ("names that differ in case only", doubled.zip),
        ("a name that leaves the module", escaping.zip),
    ];
    let local = cluster.repository_web("golang-local");
    for (what, zip) in wrong {
        let reply = local.put(&good.zip_path(), Some(cluster.token()), zip).await.unwrap();
        assert_eq!(reply.status, 400, "{what}: {}", reply.text());
        assert!(reply.text().len() > 10, "{what}: no reason is given");
        assert_eq!(cluster.edge_web().get(&good.zip_path()).await.status, 404, "{what}");
    }
    // A version that is not canonical for its path is no version.
    for path in ["corp.example/lib/@v/v1.zip", "corp.example/lib/@v/v2.0.0.zip", "corp.example/lib/@v/latest.zip"] {
        let reply = local.put(path, Some(cluster.token()), good.zip.clone()).await.unwrap();
        assert_eq!(reply.status, 400, "{path}: {}", reply.text());
    }
    cluster.publish_new(&good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_needs_a_token_that_is_right() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).start().await;
    let (local, module) = (cluster.repository_web("golang-local"), module("corp.example/lib", "v1.0.0"));
    for token in [None, Some("wrong")] {
        let reply = local.put(&module.zip_path(), token, module.zip.clone()).await.unwrap();
        assert_eq!(reply.status, 401, "{}", reply.text());
        assert_eq!(reply.header("www-authenticate"), "Basic realm=\"modtier\"");
    }
    assert_eq!(cluster.edge_web().get(&module.zip_path()).await.status, 404);
    let request = local.request(Method::PUT, &module.zip_path()).basic_auth("anybody", Some(cluster.token()));
    let reply = modtier_tests::Web::send(request.body(module.zip.clone())).await.unwrap();
    assert_eq!(reply.status, 201, "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstoned_version_is_gone_from_the_edge() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).start().await;
    let (one, two) = (module("corp.example/lib", "v1.0.0"), module("corp.example/lib", "v1.1.0"));
    cluster.publish_new(&one).await;
    cluster.publish_new(&two).await;
    let edge = cluster.edge_web();
    assert_eq!(edge.get(&two.zip_path()).await.body, two.zip);
    assert_eq!(edge.get("corp.example/lib/@v/list").await.text(), "v1.0.0\nv1.1.0\n");
    let local = cluster.repository_web("golang-local");
    let request =
        |token: &str| local.request(Method::DELETE, "corp.example/lib/@v/v1.1.0").bearer_auth(token.to_owned());
    assert_eq!(request("wrong").send().await.unwrap().status(), 401);
    let status = request(cluster.token()).send().await.unwrap().status();
    assert!(status.is_success(), "DELETE: {status}");
    until("the edge knows of the tombstone", Duration::from_secs(2), async || {
        edge.get(&two.zip_path()).await.status == 410
    })
    .await;
    for extension in ["info", "mod"] {
        assert_eq!(edge.get(&two.at(extension)).await.status, 410, "{extension}");
    }
    until("the list is shorter", Duration::from_secs(2), async || {
        edge.get("corp.example/lib/@v/list").await.text() == "v1.0.0\n"
    })
    .await;
    let reply = cluster.publish(&two).await.unwrap();
    assert_eq!(reply.status, 409, "publishing over a tombstone: {}", reply.text());
    let output = GoClient::new(&cluster.goproxy()).run(&["mod", "download", &two.query()]).await;
    assert!(!output.ok && output.stderr.contains("gone: "), "{}", output.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_owned_by_configuration_is_private_before_anything_is_published() {
    let origin = Origin::start().await;
    for path in ["corp.example/team/lib", "corp.example/other"] {
        origin.publish(&module(path, "v1.0.0"));
    }
    let cluster = Cluster::of(&origin)
        .center_env("MODTIER_CENTER_OWNS", "corp.example/team,*.private.example")
        .sumdb_names("sum.golang.org")
        .start()
        .await;
    let edge = cluster.edge_web();
    for (path, status) in [
        ("corp.example/team/lib/@v/list", 404),
        ("corp.example/team/lib/@latest", 404),
        ("corp.example/team/lib/@v/v1.0.0.zip", 404),
        ("git.private.example/any/@v/list", 404),
        ("sumdb/sum.golang.org/lookup/corp.example/team/lib@v1.0.0", 403),
        ("corp.example/other/@v/list", 200),
    ] {
        let reply = edge.get(path).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
    }
    for part in ["corp.example/team", "private.example"] {
        assert!(origin.asked(part).is_empty(), "the public origin was asked for {:?}", origin.asked(part));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_origin_never_hears_of_an_owned_path() {
    let origin = Origin::start().await;
    // The origin would answer: someone has registered our names in public.
    for version in ["v1.0.0", "v9.9.9"] {
        origin.publish(&Module::new("corp.example/lib", version).package().file("evil.go", "package lib\n").build());
        origin.publish(&Module::new("corp.example/lib/inner", version).package().build());
    }
    origin.publish(&module("corp.example/library", "v1.0.0"));
    let cluster = Cluster::of(&origin).sumdb_names("sum.golang.org").start().await;
    cluster.publish_new(&module("corp.example/lib", "v1.0.0")).await;
    let edge = cluster.edge_web();
    let asked = [
        ("corp.example/lib/@v/list", 200),
        ("corp.example/lib/@latest", 200),
        ("corp.example/lib/@v/main.info", 404),
        ("corp.example/lib/@v/v1.0.0.zip", 200),
        ("corp.example/lib/@v/v9.9.9.info", 404),
        ("corp.example/lib/@v/v9.9.9.zip", 404),
        ("corp.example/lib/inner/@v/list", 404),
        ("corp.example/lib/inner/@v/v1.0.0.zip", 404),
        ("corp.example/lib/v2/@v/list", 404),
        ("sumdb/sum.golang.org/lookup/corp.example/lib@v1.0.0", 403),
        ("sumdb/sum.golang.org/lookup/corp.example/lib/inner@v1.0.0", 403),
    ];
    for (path, status) in asked {
        for (tier, web) in [("edge", edge.clone()), ("center", cluster.repository_web("golang-virtual"))] {
            let reply = web.get(path).await;
            assert_eq!(reply.status, status, "{tier} {path}: {}", reply.text());
        }
    }
    assert_eq!(edge.get("corp.example/lib/@v/list").await.text(), "v1.0.0\n");
    let direct = cluster.repository_web("golang-remote").get("corp.example/lib/@v/v9.9.9.info").await;
    assert_ne!(direct.status, 200, "the remote repository answers for an owned path: {}", direct.text());
    let go = GoClient::new(&cluster.goproxy());
    let versions = go.ok(&["list", "-m", "-versions", "corp.example/lib"]).await.stdout;
    assert_eq!(versions.trim(), "corp.example/lib v1.0.0");
    assert_eq!(edge.get("corp.example/library/@v/list").await.status, 200, "a neighbour's name is not owned");
    let heard: Vec<_> =
        origin.asked("corp.example/lib").into_iter().filter(|path| !path.contains("/library/")).collect();
    assert!(heard.is_empty(), "the public origin was asked for {heard:?}");
}
