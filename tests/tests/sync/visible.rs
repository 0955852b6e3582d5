//! `modtier-center publish --wait-edges`: whoever publishes is told when every edge has it.

use std::path::Path;

use modtier_tests::{Cluster, Origin};

use crate::shell::{Daemon, Said, env_of, run};

async fn publish(cluster: &Cluster, dir: &Path, version: &str, syncer: &str, wait: &str) -> Said {
    let (dir, to) = (dir.display().to_string(), format!("{}/api/go/golang-local", cluster.center_url()));
    let args = ["publish", &dir, version, "--to", &to, "--wait-edges", wait, "--syncer", syncer];
    run("center", &args, &[("MODTIER_TOKEN", cluster.token())]).await
}

fn module() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("go.mod"), "module corp.example/lib\n\ngo 1.21\n").unwrap();
    std::fs::write(dir.path().join("lib.go"), "package lib\n").unwrap();
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_waits_until_every_edge_has_it() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).with_redis().edge_env("MODTIER_EDGE_EDGE_ID", "e1").start().await;
    let dir = module();
    // By the edges' administration, without Redis.
    let asking = Daemon::start(&env_of(&cluster)).await;
    let said = publish(&cluster, dir.path(), "v1.0.0", &asking.url, "50s").await;
    assert!(said.code == 0 && said.err.contains("visible on 1 of 1 edges after"), "{said:?}");
    assert_eq!(said.out.lines().count(), 2, "the lines of a go.sum, as ever: {said:?}");
    let list = cluster.edge_web().get("corp.example/lib/@v/list").await;
    assert_eq!(list.text(), "v1.0.0\n");
    // By their heartbeats in Redis.
    let mut env = env_of(&cluster);
    env.retain(|(name, _)| *name != "MODTIER_SYNCER_EDGES");
    env.extend([
        ("MODTIER_SYNCER_EDGES", String::new()),
        ("MODTIER_SYNCER_REDIS_URL", cluster.redis.as_ref().unwrap().url()),
    ]);
    let hearing = Daemon::start(&env).await;
    let said = publish(&cluster, dir.path(), "v1.1.0", &hearing.url, "50s").await;
    assert!(said.code == 0 && said.err.contains("visible on 1 of 1 edges after"), "{said:?}");
    assert_eq!(cluster.edge_web().get("corp.example/lib/@v/list").await.text(), "v1.0.0\nv1.1.0\n");

    cluster.edge.signal("STOP");
    let said = publish(&cluster, dir.path(), "v1.2.0", &asking.url, "1s").await;
    assert!(said.code == 3 && said.err.contains("visible on 0 of 1 edges"), "{said:?}");
    assert!(said.err.contains("not on: e1") && said.out.contains("v1.2.0"), "it is published: {said:?}");
    cluster.edge.signal("CONT");
    let said = publish(&cluster, dir.path(), "v1.3.0", "http://127.0.0.1:1", "1s").await;
    assert!(said.code == 3 && said.err.contains("it is not known on which edges"), "{said:?}");
}
