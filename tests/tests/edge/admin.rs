//! The administration of an edge: its subcommands, its tokens, and what it refuses.

use std::path::Path;
use std::time::Duration;

use modtier_tests::{Cluster, Module, Origin, Process, ProcessSpec, Web, binary};

/// Runs the edge's binary; its exit code and what it printed.
async fn run(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String) {
    let name = format!("cli-{}", rand::random::<u32>());
    let mut spec = ProcessSpec::new(&name, binary("edge"), dir).args(args);
    for (name, value) in env {
        spec = spec.env(name, value);
    }
    let mut process = Process::spawn(spec);
    let status = process.ended(Duration::from_mins(1)).await;
    (status.code(), process.log())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subcommands_do_what_they_say() {
    let origin = Origin::start().await;
    let module = Module::new("example.com/Upper", "v1.0.0").package().build();
    origin.publish(&module);
    let cluster = Cluster::of(&origin).start().await;
    let dir = tempfile::tempdir().unwrap();
    let ask = async |args: &[&str]| run(dir.path(), &[args, &["--admin", cluster.admin_url()]].concat(), &[]).await;
    let (code, said) = ask(&["prewarm", "example.com/Upper@v1.0.0", "example.com/!upper/@v/list"]).await;
    assert_eq!((code, said.as_str()), (Some(0), "0 held, 4 filled, 0 failed\n"));
    assert_eq!(cluster.edge_web().get_held(&module.zip_path()).await.body, module.zip);
    let (code, said) = ask(&["prewarm", "example.com/none@v1.0.0", "example.com/Upper@v1.0.0"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("3 held, 0 filled, 3 failed\nFAILED"), "{said}");
    let (code, said) = ask(&["purge", "example.com/Upper@v1.0.0"]).await;
    assert_eq!((code, said.as_str()), (Some(0), "3 entries purged\n"));
    assert_eq!(cluster.edge_web().get_held(&module.zip_path()).await.status, 404);
    assert_eq!(cluster.edge_web().get_held("example.com/!upper/@v/list").await.status, 200);
    let (code, said) = ask(&["purge", "--all"]).await;
    assert!(code == Some(0) && said.ends_with("entries purged\n"), "{said}");
    assert_eq!(cluster.edge_web().get_held("example.com/!upper/@v/list").await.status, 404);
    let (code, said) = ask(&["sync"]).await;
    assert!(code == Some(0) && said.starts_with("EDGE") && said.contains("golang-virtual"), "{said}");
    let (code, said) = ask(&["upstreams"]).await;
    assert!(code == Some(0) && said.contains(cluster.center_url()) && said.contains("closed"), "{said}");
    let name = cluster.center_url().trim_start_matches("http://");
    let (code, said) = ask(&["upstreams", "open", name, "--for", "1m"]).await;
    assert!(code == Some(0) && said.contains("open (forced"), "{said}");
    assert_eq!(cluster.edge_web().get("example.com/b/@v/list").await.status, 503);
    let (code, said) = ask(&["upstreams", "auto", name, "--json"]).await;
    let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &answer["upstreams"][0]["breaker"]["state"]), (Some(0), &"closed".into()), "{said}");
    assert_eq!(cluster.edge_web().get("example.com/b/@v/list").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_call_is_2_and_an_edge_that_is_not_there_1() {
    let cluster = Cluster::with_upstream("http://127.0.0.1:9").start().await;
    let dir = tempfile::tempdir().unwrap();
    let admin = cluster.admin_url();
    for (args, expected) in [
        (vec!["purge"], 2),
        (vec!["purge", "example.com/a", "--all"], 2),
        (vec!["purge", "a b", "--admin", admin], 2),
        (vec!["prewarm", "example.com/a@main", "--admin", admin], 2),
        (vec!["prewarm", "--file", "/nonexistent", "--admin", admin], 2),
        (vec!["upstreams", "open"], 2),
        (vec!["upstreams", "open", "nobody", "--admin", admin], 2),
        (vec!["sync", "--admin", "ftp://x"], 2),
        (vec!["sync", "--config", "/nonexistent"], 2),
        (vec!["sync", "--admin", "http://127.0.0.1:9"], 1),
    ] {
        let (code, said) = run(dir.path(), &args, &[]).await;
        assert_eq!(code, Some(expected), "{args:?}: {said}");
        assert!(!said.is_empty() && !said.contains("panicked"), "{args:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_a_token_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let open = [("MODTIER_EDGE_ADMIN", "0.0.0.0:0"), ("MODTIER_EDGE_LISTEN", "127.0.0.1:0")];
    let (code, said) = run(dir.path(), &[], &open).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("admin_access.tokens_file") && said.lines().count() == 1, "{said}");

    let token = hex::encode(rand::random::<[u8; 16]>());
    let hashed = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&token));
    let (tokens, plain) = (dir.path().join("tokens.yaml"), dir.path().join("token"));
    std::fs::write(&tokens, format!("tokens: [{{name: ops, sha256: {hashed}, grants: [admin]}}]\n")).unwrap();
    std::fs::write(&plain, format!("{token}\n")).unwrap();
    let cluster = Cluster::with_upstream("http://127.0.0.1:9")
        .edge_env("MODTIER_EDGE_ADMIN", "0.0.0.0:0")
        .edge_env("MODTIER_EDGE_ADMIN_ACCESS_TOKENS_FILE", &tokens.display().to_string())
        .start()
        .await;
    let admin = cluster.admin_url().replace("0.0.0.0", "127.0.0.1");
    let web = Web::new(&admin);
    assert_eq!(web.get("metrics").await.status, 200);
    let refused = web.get("api/v1/sync").await;
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Basic realm=\"modtier\""));
    let (code, said) = run(dir.path(), &["sync", "--admin", &admin], &[]).await;
    assert!(code == Some(1) && said.contains("MODTIER_EDGE_TOKEN"), "{said}");
    let file = plain.display().to_string();
    assert_eq!(run(dir.path(), &["sync", "--admin", &admin, "--token-file", &file], &[]).await.0, Some(0));
    // The variable is none of the configuration's, which is read for the address here.
    let env = [("MODTIER_EDGE_TOKEN", token.as_str()), ("MODTIER_EDGE_ADMIN", admin.trim_start_matches("http://"))];
    let (code, said) = run(dir.path(), &["sync"], &env).await;
    assert_eq!(code, Some(0), "{said}");
    let log = cluster.edge.log();
    assert!(!log.contains(&token), "a token is in the log");
}
