//! Other settings for an edge that runs, by the file, by a signal and by the subcommand.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use modtier_tests::{Cluster, Module, Origin, Process, ProcessSpec, binary, until};

const LIST: &str = "example.com/a/@v/list";
const NEVER_FRESH: &str =
    "freshness: {memory: 0s, hot: 0s, stable: 0s, other: 0s, unhealthy: 0s, stale_while_revalidate: 0s}\n";

/// A cluster whose edge reads this file.
async fn cluster_of(origin: &Origin, file: &Path) -> Cluster {
    Cluster::of(origin).edge_arg("--config").edge_arg(&file.display().to_string()).start().await
}

async fn metric(cluster: &Cluster, name: &str) -> f64 {
    let text = cluster.admin_web().get("metrics").await.text();
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(metric, _)| metric == name));
    line.map_or(0.0, |line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

fn refused() -> &'static str {
    "modtier_config_reloads_total{result=\"refused\"}"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_link_changes_freshness_while_requests_run() {
    let origin = Origin::start().await;
    origin.publish(&Module::new("example.com/a", "v1.0.0").package().build());
    let dir = tempfile::tempdir().unwrap();
    // As Kubernetes mounts a ConfigMap: the file is a link into a directory that is a link itself.
    for (generation, text) in [("one", "# nothing\n"), ("two", NEVER_FRESH)] {
        fs::create_dir(dir.path().join(generation)).unwrap();
        fs::write(dir.path().join(generation).join("edge.yaml"), text).unwrap();
    }
    symlink("one", dir.path().join("data")).unwrap();
    symlink("data/edge.yaml", dir.path().join("edge.yaml")).unwrap();
    let cluster = cluster_of(&origin, &dir.path().join("edge.yaml")).await;
    let web = cluster.edge_web();
    web.get(LIST).await;
    assert_eq!(web.get(LIST).await.header("x-cache"), "HIT");
    symlink("two", dir.path().join("new")).unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("data")).unwrap();
    until("what changes is asked for every time", Duration::from_secs(15), async || {
        let reply = web.get(LIST).await;
        assert!(reply.is_whole(), "{} {}", reply.status, reply.text());
        reply.header("x-cache") == "REVALIDATED"
    })
    .await;
    let report = cluster.admin_web().get("readyz?verbose").await.json();
    assert_eq!(report["config"]["result"], "applied", "{report}");
    let log = cluster.edge.log();
    assert!(log.contains("setting changed") && log.contains("freshness.hot") && log.contains("15m"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_changes_nothing_and_is_one_line() {
    let origin = Origin::start().await;
    origin.publish(&Module::new("example.com/a", "v1.0.0").package().build());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edge.yaml");
    fs::write(&file, "limits: {shutdown_grace: 3s}\n").unwrap();
    let cluster = cluster_of(&origin, &file).await;
    cluster.edge_web().get(LIST).await;
    for (bad, reason) in
        [("freshness: {hot: 0s", "edge.yaml"), ("freshness: {hott: 0s}\n", "did you mean"), ("tenant: a.b\n", "tenant")]
    {
        let before = metric(&cluster, refused()).await;
        fs::write(&file, bad).unwrap();
        cluster.edge.signal("HUP");
        until("it is refused", Duration::from_secs(15), async || metric(&cluster, refused()).await > before).await;
        assert!((metric(&cluster, "modtier_config_last_reload_successful").await - 0.0).abs() < 0.1);
        let report = cluster.admin_web().get("readyz?verbose").await.json();
        assert!(report["config"]["error"].as_str().unwrap().contains(reason), "{report}");
        assert_eq!(report["ready"], true);
        assert_eq!(cluster.edge_web().get(LIST).await.header("x-cache"), "HIT", "{bad}");
        let log = cluster.edge.log();
        let told = log.lines().filter(|line| line.contains("the new ones are refused") && line.contains(reason));
        assert!(told.count() >= 1, "{bad}: {log}");
    }
    fs::write(&file, NEVER_FRESH).unwrap();
    cluster.edge.signal("HUP");
    let web = cluster.edge_web();
    until("the right one counts", Duration::from_secs(15), async || {
        web.get(LIST).await.header("x-cache") == "REVALIDATED"
    })
    .await;
    assert!((metric(&cluster, "modtier_config_last_reload_successful").await - 1.0).abs() < 0.1);
}

async fn run(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let name = format!("cli-{}", rand::random::<u32>());
    let mut process = Process::spawn(ProcessSpec::new(&name, binary("edge"), dir).args(args));
    let status = process.ended(Duration::from_secs(30)).await;
    (status.code(), process.log())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subcommand_says_what_changed_and_what_must_wait() {
    let origin = Origin::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edge.yaml");
    fs::write(&file, "limits: {shutdown_grace: 3s}\n").unwrap();
    let cluster = cluster_of(&origin, &file).await;
    let reload = ["reload", "--admin", cluster.admin_url()];
    assert_eq!(run(dir.path(), &reload).await, (Some(0), "nothing has changed\n".to_owned()));
    fs::write(&file, "limits: {shutdown_grace: 9s}\nredis: {url: \"redis://u:hidden@127.0.0.1:9\"}\n").unwrap();
    let (code, said) = run(dir.path(), &reload).await;
    // The file's own watcher may have been first.
    assert_eq!(code, Some(0), "{said}");
    let until_told = async || cluster.edge.log().contains("needs a restart");
    until("what must wait is named", Duration::from_secs(10), until_told).await;
    let log = cluster.edge.log();
    assert!(log.contains("redis.url") && !log.contains("hidden"), "{log}");
    fs::write(&file, "limit: {}\n").unwrap();
    let (code, said) = run(dir.path(), &reload).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("unknown key \"limit\"") && said.lines().count() == 1, "{said}");
}
