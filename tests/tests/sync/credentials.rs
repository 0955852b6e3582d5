//! A center that nobody reads without a token: edge and syncer show theirs, for all that they ask.

use std::path::Path;

use modtier_tests::{Cluster, Module, Origin, until};
use sha2::{Digest as _, Sha256};

use crate::shell::{LIMIT, env_of, syncer};

const LIST: &str = "corp.example/lib/@v/list";
const PUBLISHER: &str = "token-of-the-publisher";

/// The center's file: who publishes, and those who may read.
fn allow(file: &Path, readers: &[&str]) {
    let entry = |name: &str, token: &str, grant: &str| {
        let hashed = hex::encode(Sha256::digest(token));
        format!("  - name: {name}\n    sha256: {hashed}\n    grants: [{grant}]\n")
    };
    let readers = readers.iter().map(|token| entry(&format!("holder-{token}"), token, "read"));
    let text = format!("tokens:\n{}{}", entry("publisher", PUBLISHER, "write"), readers.collect::<String>());
    // Replaced whole, so that no half of it is read.
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

async fn publish(cluster: &Cluster, version: &str) {
    let module = Module::new("corp.example/lib", version).package().build();
    let local = cluster.repository_web("golang-local");
    let reply = local.put(&module.zip_path(), Some(PUBLISHER), module.zip.clone()).await.unwrap();
    assert_eq!(reply.status, 201, "{}", reply.text());
}

async fn lists(cluster: &Cluster, version: &str) -> bool {
    cluster.edge_web().get(LIST).await.text().lines().any(|line| line == version)
}

#[tokio::test(flavor = "multi_thread")]
async fn edge_and_syncer_show_a_token_and_take_up_another_one() {
    let (origin, folder) = (Origin::start().await, tempfile::tempdir().unwrap());
    origin.publish(&Module::new("example.com/a", "v1.0.0").package().build());
    let (tokens, token) = (folder.path().join("tokens.yaml"), folder.path().join("token"));
    allow(&tokens, &["token-one"]);
    std::fs::write(&token, "token-one\n").unwrap();
    let token_file = token.display().to_string();
    let cluster = Cluster::of(&origin)
        .with_redis()
        .center_env("MODTIER_CENTER_ACCESS_TOKENS_FILE", &tokens.display().to_string())
        .center_env("MODTIER_CENTER_ACCESS_ANONYMOUS", "")
        .edge_env("MODTIER_EDGE_CENTERS_TOKEN_FILE", &token_file)
        .edge_env("MODTIER_EDGE_SYNC_RECONCILE", "1s")
        .syncer_env("MODTIER_SYNCER_CENTER_TOKEN_FILE", &token_file)
        .start()
        .await;
    for path in ["api/go/golang-virtual/corp.example/lib/@v/list", "changes", "manifest"] {
        let path = if path.contains('/') { path.to_owned() } else { format!("api/v1/repos/golang-virtual/{path}") };
        assert_eq!(cluster.center_web().get(&path).await.status, 401, "{path}");
    }
    publish(&cluster, "v1.0.0").await;
    until("the edge lists it", LIMIT, async || lists(&cluster, "v1.0.0").await).await;
    assert_eq!(cluster.edge_web().get("corp.example/lib/@v/v1.0.0.zip").await.status, 200);
    until("changes come through the stream", LIMIT, async || cluster.channel().await == "stream").await;
    let compared = async || cluster.admin_web().get("api/v1/sync").await.json()["last_reconcile"].as_u64();
    let first = compared().await;
    until("it is compared with the manifest", LIMIT, async || compared().await > first).await;

    // By a variable; looking upstream asks the center for more than its changes.
    assert_eq!(cluster.edge_web().get("example.com/a/@v/list").await.status, 200);
    let mut env = env_of(&cluster);
    env.push(("MODTIER_SYNCER_WATCH_REQUESTS_MIN", "1".to_owned()));
    let refused = syncer(&["once"], &env).await;
    assert_ne!(refused.code, 0, "{refused:?}");
    env.push(("MODTIER_SYNCER_CENTER_TOKEN", "token-one".to_owned()));
    let said = syncer(&["once"], &env).await;
    assert!(said.code == 0 && said.out.contains(" 0 failed"), "{said:?}");

    // Another token takes its place while everything runs.
    std::fs::write(&token, "token-two\n").unwrap();
    allow(&tokens, &["token-two"]);
    publish(&cluster, "v1.1.0").await;
    until("the edge lists it", LIMIT, async || lists(&cluster, "v1.1.0").await).await;
    until("the relay goes on", LIMIT, async || cluster.channel().await == "stream").await;
    assert_eq!(cluster.edge_web().get("corp.example/lib/@v/v1.1.0.zip").await.status, 200);
    for log in [cluster.edge.log(), cluster.syncer.as_ref().unwrap().log()] {
        assert!(!log.contains("token-one") && !log.contains("token-two"), "{log}");
    }
}
