//! Other settings for a center that runs: by the file and by a signal, all at once or not at all.

use std::fs;
use std::path::Path;
use std::time::Duration;

use modtier_tests::{Cluster, Fault, Module, Origin, until};

/// A file with two remote repositories of which the virtual one has the named.
fn write(file: &Path, one: &Origin, two: &Origin, members: &str, more: &str) {
    let text = format!(
        "repositories:\n  golang-local: {{type: local{more}}}\n  golang-remote: {{type: remote}}\n  one: {{type: remote, upstream: '{}'}}\n  \
         two: {{type: remote, upstream: 'http://bob:hidden@{}'}}\n  \
         golang-virtual: {{type: virtual, members: [{members}], default_deployment: golang-local}}\n",
        one.url(),
        two.url().trim_start_matches("http://"),
    );
    fs::write(file, text).unwrap();
}

async fn cluster_of(origin: &Origin, file: &Path) -> Cluster {
    Cluster::of(origin).center_arg("--config").center_arg(&file.display().to_string()).start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_rebuilt_edges_hear_of_it_and_running_fills_go_on() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("center.yaml");
    write(&file, &one, &two, "golang-local, one", "");
    let cluster = cluster_of(&one, &file).await;
    one.publish(&Module::new("example.com/a", "v1.0.0").package().build());
    two.publish(&Module::new("example.com/a", "v1.1.0").package().build());
    let large = Module::new("example.com/large", "v1.0.0").package().ballast(3_000_000, 1).build();
    one.publish(&large);
    let (center, edge) = (cluster.repository_web("golang-virtual"), cluster.edge_web());
    let list = "example.com/a/@v/list";
    assert_eq!(edge.get(list).await.text(), "v1.0.0\n");
    one.fault(&large.zip_path(), Fault::Slow(1_000_000));
    let filling = tokio::spawn({
        let (web, path) = (cluster.repository_web("golang-virtual"), large.zip_path());
        async move { web.get(&path).await }
    });
    until("the fill runs", Duration::from_secs(10), async || one.count(&large.zip_path()) == 1).await;
    // By the file alone.
    write(&file, &one, &two, "golang-local, one, two", "");
    until("both are merged", Duration::from_secs(15), async || center.get(list).await.text() == "v1.0.0\nv1.1.0\n")
        .await;
    until("the edge has heard of it", Duration::from_secs(15), async || {
        edge.get(list).await.text() == "v1.0.0\nv1.1.0\n"
    })
    .await;
    let filled = filling.await.unwrap();
    assert!(filled.is_whole() && filled.body == large.zip, "{} {} bytes", filled.status, filled.body.len());
    // What was published under the old settings belongs to its owner under the new ones.
    cluster.publish_new(&Module::new("example.com/a", "v1.2.0").package().build()).await;
    write(&file, &one, &two, "two, golang-local", ", owns: ['corp.test']");
    cluster.center.signal("HUP");
    two.forget();
    until("new owners count", Duration::from_secs(15), async || {
        center.get("sumdb/x.test/lookup/corp.test/a@v1.0.0").await.status == 403
    })
    .await;
    assert_eq!(center.get(list).await.text(), "v1.2.0\n");
    assert!(two.asked("example.com/a").is_empty(), "{:?}", two.asked("example.com/a"));
    until("the difference is told", Duration::from_secs(15), async || {
        let log = cluster.center.log();
        log.contains("setting changed") && log.contains("repositories.golang-virtual.members")
    })
    .await;
    let log = cluster.center.log();
    assert!(!log.contains("hidden"), "a credential is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_changes_nothing_and_what_must_wait_is_named() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("center.yaml");
    write(&file, &one, &two, "golang-local, one", "");
    let cluster = cluster_of(&one, &file).await;
    one.publish(&Module::new("example.com/a", "v1.0.0").package().build());
    let center = cluster.repository_web("golang-virtual");
    let refused = async || {
        let text = cluster.center_web().get("metrics").await.text();
        let line = text.lines().find(|line| line.starts_with("modtier_config_reloads_total{result=\"refused\"}"));
        line.map_or(0, |line| line.rsplit_once(' ').unwrap().1.parse::<u32>().unwrap())
    };
    for (bad, reason) in [
        ("repositories: {", "center.yaml"),
        ("repositories: {v: {type: virtual, members: [nobody]}}\n", "nobody"),
        ("repositories: {r: {type: remote, members: [r]}}\n", "members"),
        ("repositories: {r: {type: remote, uptream: x}}\n", "upstream"),
        ("outbound: {hosts: {a.test: {ca_file: /nonexistent}}}\n", "ca_file"),
    ] {
        let before = refused().await;
        fs::write(&file, bad).unwrap();
        cluster.center.signal("HUP");
        until("it is refused", Duration::from_secs(15), async || refused().await > before).await;
        // The log is written by a thread of its own.
        until("the reason is told", Duration::from_secs(15), async || {
            let log = cluster.center.log();
            log.lines().any(|line| line.contains("the new ones are refused") && line.contains(reason))
        })
        .await;
        assert_eq!(center.get("example.com/a/@v/list").await.text(), "v1.0.0\n", "{bad}");
    }
    write(&file, &one, &two, "golang-local, one", "");
    let text = fs::read_to_string(&file).unwrap() + "limits: {drain_timeout: 3s}\n";
    fs::write(&file, text).unwrap();
    cluster.center.signal("HUP");
    until("what must wait is named", Duration::from_secs(15), async || {
        let log = cluster.center.log();
        log.lines().any(|line| line.contains("needs a restart") && line.contains("limits.drain_timeout"))
    })
    .await;
}
