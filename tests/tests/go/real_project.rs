//! A real project of more than a hundred modules through edge and center, with the real checksum database; then again from
//! the edge alone. This is the one test that needs the network: the machine's own public mirror.

use std::collections::BTreeMap;

use modtier_tests::{Cluster, GoClient, public_mirror, workspace};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_real_project_downloads_and_then_the_edge_alone_serves_it() {
    let mut cluster =
        Cluster::with_upstream(&public_mirror().await).verify(true).sumdb_names("sum.golang.org").start().await;
    let fixture = std::fs::read_to_string(workspace().join("tests/fixtures/project/go.mod")).unwrap();

    // First without a go.sum: every hash is asked of the checksum database, through the proxy.
    let first = GoClient::new(&cluster.goproxy()).with_public_sumdb();
    first.write("go.mod", &fixture);
    first.ok(&["mod", "download"]).await;
    // Only with the argument does `go` write the hashes of all zips into go.sum.
    first.ok(&["mod", "download", "all"]).await;
    let through = downloads(&first).await;
    assert!(through.len() >= 100, "the fixture has only {} modules", through.len());
    let go_sum = first.read("go.sum");
    for (module, sums) in &through {
        assert!(go_sum.contains(&sums.zip), "{module}: {} is not in go.sum", sums.zip);
    }
    let log = cluster.edge.log();
    let lookups = log.lines().filter(|line| line.contains("sumdb/sum.golang.org/lookup/")).count();
    assert!(lookups >= through.len(), "the edge's log shows {lookups} lookups for {} modules:\n{log}", through.len());

    // Then with that go.sum, from an empty module cache, and nobody behind the edge.
    assert!(cluster.center.stop().await.success(), "{}", cluster.center.log());
    let second = GoClient::new(&cluster.goproxy()).with_public_sumdb();
    second.write("go.mod", &first.read("go.mod"));
    second.write("go.sum", &go_sum);
    second.ok(&["mod", "download"]).await;
    assert_eq!(downloads(&second).await, through);
    assert_eq!(second.read("go.sum"), go_sum);
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Sums {
    zip: String,
    go_mod: String,
}

/// What `go mod download -json` says of every module.
async fn downloads(go: &GoClient) -> BTreeMap<String, Sums> {
    let output = go.ok(&["mod", "download", "-json"]).await;
    let text =
        |entry: &Value, key: &str| entry[key].as_str().unwrap_or_else(|| panic!("no {key} in {entry}")).to_owned();
    serde_json::Deserializer::from_str(&output.stdout)
        .into_iter::<Value>()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let sums = Sums { zip: text(&entry, "Sum"), go_mod: text(&entry, "GoModSum") };
            (format!("{}@{}", text(&entry, "Path"), text(&entry, "Version")), sums)
        })
        .collect()
}
