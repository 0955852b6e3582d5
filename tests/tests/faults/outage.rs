//! The center and Redis killed: what is held is served, what is not known is never said to be absent, and all returns by itself.

use std::time::Duration;

use modtier_tests::{BuiltModule, Cluster, ClusterBuilder, GoClient, Module, Origin, Reply, until};

/// How long the return may take: a breaker that opened during the outage waits its time first.
const RETURN_LIMIT: Duration = Duration::from_mins(2);

/// An edge for which everything that may change is old after a second.
fn quickly_stale(origin: &Origin) -> ClusterBuilder {
    let periods = ["MEMORY", "HOT", "STABLE", "OTHER", "UNHEALTHY", "NEGATIVE"];
    periods.iter().fold(Cluster::of(origin).with_redis(), |cluster, period| {
        cluster.edge_env(&format!("MODTIER_EDGE_FRESHNESS_{period}"), "1s")
    })
}

/// A project that needs both modules.
fn project(goproxy: &str) -> GoClient {
    let go = GoClient::new(goproxy);
    go.write(
        "go.mod",
        "module modtier.example/main\n\ngo 1.21\n\nrequire (\n\texample.com/lib v1.0.0\n\tcorp.example/own v1.0.0\n)\n",
    );
    go.write(
        "main.go",
        // No program: linking one would first compile the runtime, for each of these clients anew.
        "package project\n\nimport (\n\t_ \"corp.example/own\"\n\t_ \"example.com/lib\"\n)\n",
    );
    go
}

fn assert_unavailable(reply: &Reply, path: &str) {
    assert_eq!(reply.status, 503, "{path}: {}", reply.text());
    let patience: Result<u32, _> = reply.header("retry-after").parse();
    assert!(patience.is_ok(), "{path}: Retry-After is {:?}", reply.header("retry-after"));
    assert!(reply.text().starts_with("unavailable: "), "{path}: {}", reply.text());
}

struct Scene {
    origin: Origin,
    cluster: Cluster,
    lib: BuiltModule,
}

const MUTABLES: [&str; 4] =
    ["example.com/lib/@v/list", "example.com/lib/@latest", "example.com/lib/@v/main.info", "corp.example/own/@v/list"];
const UNKNOWN: [&str; 6] = [
    "example.com/other/@v/list",
    "example.com/other/@latest",
    "example.com/other/@v/main.info",
    "example.com/other/@v/v1.0.0.info",
    "example.com/lib/@v/v1.9.0.mod",
    "example.com/lib/@v/v1.9.0.zip",
];
/// Asked, and answered 404, before the outage.
const ABSENT: [&str; 2] = ["example.com/absent/@v/list", "example.com/absent/@v/v1.0.0.zip"];

impl Scene {
    async fn warm() -> Self {
        let origin = Origin::start().await;
        let lib = Module::new("example.com/lib", "v1.0.0").package().ballast(300_000, 1).build();
        origin.publish(&lib);
        origin.set_latest(&lib);
        origin.point("main", &lib);
        let cluster = quickly_stale(&origin).start().await;
        cluster.publish_new(&Module::new("corp.example/own", "v1.0.0").package().build()).await;
        project(&cluster.goproxy()).ok(&["build", "./..."]).await;
        let edge = cluster.edge_web();
        for path in MUTABLES {
            assert!(edge.get(path).await.is_whole(), "{path} before the outage");
        }
        for path in ABSENT {
            assert_eq!(edge.get(path).await.status, 404, "{path} before the outage");
        }
        Self { origin, cluster, lib }
    }

    async fn check_outage(&self) {
        let edge = self.cluster.edge_web();
        for (extension, body) in [("info", &self.lib.info), ("mod", &self.lib.go_mod), ("zip", &self.lib.zip)] {
            let reply = edge.get(&self.lib.at(extension)).await;
            assert!(reply.is_whole() && reply.body == *body, "{extension}: {}", reply.status);
            assert_eq!(reply.header("x-cache"), "HIT", "{extension}");
        }
        for path in MUTABLES {
            until(&format!("{path} is answered stale"), Duration::from_secs(20), async || {
                let reply = edge.get(path).await;
                assert!(reply.is_whole(), "{path}: {} {}", reply.status, reply.text());
                reply.header("x-cache") == "STALE"
            })
            .await;
        }
        for path in UNKNOWN {
            assert_unavailable(&edge.get(path).await, path);
        }
        // What was absent a while ago may be there by now: nobody knows.
        for path in ABSENT {
            until(&format!("{path} is no longer known to be absent"), Duration::from_secs(20), async || {
                edge.get(path).await.status != 404
            })
            .await;
            assert_unavailable(&edge.get(path).await, path);
        }
    }

    /// From an empty module cache, with the origin as the next proxy: nothing may fall through to it.
    async fn check_go(&self) {
        self.origin.forget();
        let proxies = format!("{},{}", self.cluster.goproxy(), self.origin.url());
        let go = project(&proxies);
        go.ok(&["build", "./..."]).await;
        go.ok(&["get", "example.com/lib@latest", "corp.example/own@latest"]).await;
        let output = go.run(&["get", "example.com/other@latest"]).await;
        assert!(!output.ok && output.stderr.contains("503"), "{}", output.stderr);
        assert_eq!(self.origin.seen(), [], "go fell through to the next proxy");
    }

    async fn check_return(&self) {
        let edge = self.cluster.edge_web();
        for path in MUTABLES {
            until(&format!("{path} is fresh again"), RETURN_LIMIT, async || {
                let reply = edge.get(path).await;
                assert!(reply.is_whole(), "{path}: {} {}", reply.status, reply.text());
                reply.header("x-cache") != "STALE"
            })
            .await;
        }
        for path in UNKNOWN.iter().chain(&ABSENT) {
            until(&format!("{path} is known again"), RETURN_LIMIT, async || edge.get(path).await.status == 404).await;
        }
        // Through center, syncer and Redis: every link of the chain is back.
        let newer = Module::new("corp.example/own", "v1.1.0").package().build();
        self.cluster.publish_new(&newer).await;
        until("a new version is in the edge's list", RETURN_LIMIT, async || {
            edge.get("corp.example/own/@v/list").await.text().contains("v1.1.0")
        })
        .await;
        until("changes come from Redis again", RETURN_LIMIT, async || {
            self.cluster.admin_web().get("api/v1/sync").await.text().contains("stream")
        })
        .await;
        let go = project(&self.cluster.goproxy());
        go.ok(&["get", "corp.example/own@latest"]).await;
        assert!(go.read("go.mod").contains("corp.example/own v1.1.0"), "{}", go.read("go.mod"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_go_on_without_center_and_redis_and_all_returns_unaided() {
    let mut scene = Scene::warm().await;
    scene.cluster.center.kill9();
    scene.cluster.redis.as_mut().unwrap().kill9();
    scene.check_outage().await;
    scene.check_go().await;
    scene.cluster.redis.as_mut().unwrap().restart().await;
    scene.cluster.restart_center().await;
    scene.check_return().await;
    assert!(!scene.cluster.edge.log().contains("panicked at"), "{}", scene.cluster.edge.log());
}
