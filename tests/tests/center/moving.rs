//! A center moves from its own directory to PostgreSQL and an object store. Who followed it notices nothing.

use std::path::Path;
use std::time::Duration;

use modtier_tests::{Cluster, Module, ObjectServer, Origin, PostgresServer, until, until_some};
use serde_json::{Value, json};

use crate::desk::shell::center;

const SOON: Duration = Duration::from_secs(30);

async fn sync(cluster: &Cluster) -> Value {
    cluster.admin_web().get("api/v1/sync").await.json()
}

async fn gaps(cluster: &Cluster) -> String {
    let figures = cluster.admin_web().get("metrics").await.text();
    figures.lines().filter(|line| line.starts_with("modtier_gaps_total")).collect::<Vec<_>>().join("\n")
}

/// Writes a configuration; its path.
fn write(dir: &Path, name: &str, config: &Value) -> String {
    let path = dir.join(name);
    std::fs::write(&path, config.to_string()).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_followed_the_old_storage_goes_on_with_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let (database, objects) = (PostgresServer::start().await, ObjectServer::s3(&dir.path().join("objects")).await);
    let origin = Origin::start().await;
    let fetched = Module::new("example.com/fetched", "v1.0.0").package().ballast(200_000, 3).build();
    origin.publish(&fetched);
    let mut cluster = Cluster::of(&origin).start().await;
    let edge = cluster.edge_web();
    let version = |version: &str| Module::new("corp.example/a", version).package().ballast(100_000, 7).build();
    let (first, second) = (version("v1.0.0"), version("v1.1.0"));
    cluster.publish_new(&first).await;
    assert!(edge.get(&fetched.zip_path()).await.is_whole());
    let list = "corp.example/a/@v/list";
    assert_eq!(edge.get(list).await.text(), "v1.0.0\n");
    let head = |view: &Value| view["cursor"].as_str().unwrap_or_default().to_owned();
    let feed = "api/v1/repos/golang-virtual/changes?after=0-0";
    until("the edge has followed", SOON, async || {
        let (told, cursor) = (cluster.center_web().get(feed).await.text(), head(&sync(&cluster).await));
        told.lines().last().is_some_and(|last| last.contains(&format!("{cursor:?}")))
    })
    .await;
    let told = cluster.center_web().get(feed).await.text();
    let (before, holes) = (head(&sync(&cluster).await), gaps(&cluster).await);

    // Not while it runs.
    let options = dir.path().join("options");
    let lines = |(name, value): (&str, String)| format!("{name}={value}\n");
    std::fs::write(&options, objects.options().into_iter().map(lines).collect::<Vec<_>>().concat()).unwrap();
    let data = dir.path().join("data");
    let blobs = json!({ "url": objects.url(), "options_file": options });
    let old = write(dir.path(), "old.yaml", &json!({ "data_dir": cluster.data("center") }));
    let storage = json!({ "metadata": database.url(), "blobs": blobs });
    let new = write(dir.path(), "new.yaml", &json!({ "data_dir": data, "storage": storage }));
    let args = ["--config", &new, "move-storage", "--from", &old];
    let refused = center(&args, &[]);
    assert!(refused.code == 1 && refused.err.contains("another process"), "{refused:?}");

    cluster.center.stop().await;
    let moved = center(&args, &[]);
    assert_eq!(moved.code, 0, "{moved:?}");
    assert!(moved.out.contains("2 bodies (2 written now)") && moved.err.contains("2/2 bodies copied"), "{moved:?}");
    let again = center(&["--config", &old], &[("MODTIER_CENTER_LISTEN", "127.0.0.1:0")]);
    assert!(again.code == 1 && again.err.contains("it was moved"), "{again:?}");

    for (name, value) in [
        ("DATA_DIR", data.display().to_string()),
        ("STORAGE_METADATA", database.url()),
        ("STORAGE_BLOBS_URL", objects.url().to_owned()),
        ("STORAGE_BLOBS_OPTIONS_FILE", options.display().to_string()),
    ] {
        cluster.set_center_env(&format!("MODTIER_CENTER_{name}"), &value);
    }
    cluster.restart_center().await;
    let now = cluster.center_web().get(feed).await.text();
    assert!(now.starts_with(&told), "the log is the same, and goes on:\n{told}\n{now}");
    cluster.publish_new(&second).await;
    until("the edge has what was published after", SOON, async || edge.get(list).await.text() == "v1.0.0\nv1.1.0\n")
        .await;
    // The list may be new because it was asked for; the cursor shows that the change arrived.
    let moved_on = async || Some(head(&sync(&cluster).await)).filter(|cursor| *cursor != before);
    let after = until_some("the edge's cursor has moved on", SOON, moved_on).await;
    let parts =
        |id: &str| id.split_once('-').map(|(epoch, seq)| (epoch.to_owned(), seq.parse::<u64>().unwrap())).unwrap();
    let ((old_epoch, old_seq), (epoch, seq)) = (parts(&before), parts(&after));
    assert!(epoch == old_epoch && seq > old_seq, "{before} {after}");
    assert_eq!(gaps(&cluster).await, holes, "without a hole");
    // What the edge does not hold comes from the new place; what the world has is not asked for again.
    origin.forget();
    let zip = edge.get(&first.zip_path()).await;
    assert!(zip.is_whole() && zip.body == first.zip, "{}", zip.status);
    let kept = cluster.repository_web("golang-virtual").get(&fetched.zip_path()).await;
    assert!(kept.is_whole() && kept.body == fetched.zip, "{}", kept.status);
    assert_eq!(origin.asked("example.com/fetched"), Vec::<String>::new());
}
