//! The ways to Redis: ACL users with what they need and no more over TLS, Sentinels and a fail-over, a Cluster.

use std::path::Path;
use std::time::Duration;

use modtier_tests::{Authority, ClusterBuilder, Process, ProcessSpec, RedisServer, free_port, until, workspace};

use super::scene::{RETURN, Scene};

/// The rules of docs/redis.md, word by word.
fn rules() -> Vec<(String, Vec<String>)> {
    let page = std::fs::read_to_string(workspace().join("docs/redis.md")).unwrap();
    let lines = page.lines().filter_map(|line| line.strip_prefix("user modtier-"));
    let rules = lines.map(|line| {
        let mut words = line.split_whitespace().map(ToOwned::to_owned);
        (words.next().unwrap(), words.collect())
    });
    rules.collect()
}

fn both(cluster: ClusterBuilder, name: &str, value: &str) -> ClusterBuilder {
    cluster
        .edge_env(&format!("MODTIER_EDGE_REDIS_{name}"), value)
        .syncer_env(&format!("MODTIER_SYNCER_REDIS_{name}"), value)
}

#[tokio::test(flavor = "multi_thread")]
async fn users_with_the_documented_rules_work_over_tls_with_certificates() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let (certificate, key) = authority.client_certificate();
    let tls = free_port();
    let files = [
        ("--tls-cert-file", authority.server_certificate()),
        ("--tls-key-file", authority.server_key()),
        ("--tls-ca-cert-file", authority.certificate()),
    ];
    let redis = RedisServer::start_with(folder.path(), |_| {
        let files = files.iter().flat_map(|(name, file)| [(*name).to_owned(), file.display().to_string()]);
        ["--tls-port".to_owned(), tls.to_string()].into_iter().chain(files).collect()
    })
    .await;
    let rules = rules();
    assert_eq!(rules.len(), 2, "docs/redis.md has a rule for the edge and one for the syncer");
    for (user, rule) in &rules {
        let mut words = vec!["ACL", "SETUSER", user.as_str()];
        words.extend(rule.iter().map(String::as_str).map(|word| if word.starts_with('>') { ">secret" } else { word }));
        let () = redis.run(&words).await;
    }
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let mut scene = Scene::start(|mut cluster| {
        cluster = both(cluster.with_syncer(), "URL", &format!("rediss://127.0.0.1:{tls}"));
        cluster = both(cluster, "PASSWORD_FILE", &password.display().to_string());
        cluster = both(cluster, "CA_FILE", &authority.certificate().display().to_string());
        cluster = both(cluster, "CERTIFICATE", &certificate.display().to_string());
        cluster = both(cluster, "KEY", &key.display().to_string());
        cluster
            .edge_env("MODTIER_EDGE_REDIS_USER", "edge")
            .syncer_env("MODTIER_SYNCER_REDIS_USER", "syncer")
            .syncer_env("MODTIER_SYNCER_TRIMMING_EVERY", "200ms")
    })
    .await;
    scene.visited();
    scene.returns("a start with users").await;
    // All that they do, also the trimming, is within what they may do.
    let denied: Vec<redis::Value> = redis.run(&["ACL", "LOG"]).await;
    assert!(denied.is_empty(), "{denied:?}");
    for log in [scene.cluster.edge.log(), scene.cluster.syncer.as_ref().unwrap().log()] {
        assert!(!log.contains("secret") && !log.contains("not trimmed"), "{log}");
    }

    // With a right less than what the page says, it is not the stream any more.
    let () = redis.run(&["ACL", "SETUSER", "edge", "-xreadgroup"]).await;
    scene.leaves("a right is missing").await;
    scene.publish_is_seen("a right is missing").await;
    let () = redis.run(&["ACL", "SETUSER", "edge", "+xreadgroup"]).await;
    scene.returns("a right is missing").await;
}

/// A server beside its log, on a port that was free a moment ago.
fn server(folder: &Path, name: &str, port: u16, words: &[&str]) -> Process {
    let dir = folder.join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let spec = ProcessSpec::new("redis", "redis-server".into(), &dir)
        .args(words)
        .args(&["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(&dir.display().to_string());
    Process::spawn(spec)
}

async fn ask<T: redis::FromRedisValue>(port: u16, words: &[&str]) -> Option<T> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.ok()?;
    redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fail_over_by_sentinels_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (free_port(), free_port());
    let mut master = server(folder.path(), "master", old, &[]);
    let _replica = server(folder.path(), "replica", new, &["--replicaof", "127.0.0.1", &old.to_string()]);
    until("the replica follows", RETURN, async || {
        let role: Option<Vec<redis::Value>> = ask(new, &["ROLE"]).await;
        role.is_some_and(|role| format!("{role:?}").contains("connected"))
    })
    .await;
    let mut sentinels = Vec::new();
    for name in ["one", "two", "three"] {
        let port = free_port();
        let config = folder.path().join(format!("{name}.conf"));
        let text = format!(
            "sentinel monitor modtier 127.0.0.1 {old} 2\nsentinel down-after-milliseconds modtier 1000\n\
             sentinel failover-timeout modtier 4000\n"
        );
        std::fs::write(&config, text).unwrap();
        sentinels.push((port, server(folder.path(), name, port, &[&config.display().to_string(), "--sentinel"])));
    }
    until("the Sentinels know each other and the replica", RETURN, async || {
        let mut known = true;
        for (port, _) in &sentinels {
            let told: Option<std::collections::HashMap<String, String>> =
                ask(*port, &["SENTINEL", "MASTER", "modtier"]).await;
            known &= told.is_some_and(|told| told["num-other-sentinels"] == "2" && told["num-slaves"] == "1");
        }
        known
    })
    .await;
    let urls: Vec<String> = sentinels.iter().map(|(port, _)| format!("redis://127.0.0.1:{port}")).collect();
    let mut scene = Scene::start(|cluster| {
        let cluster = both(cluster.with_syncer(), "SENTINELS", &urls.join(","));
        both(cluster, "MASTER", "modtier")
    })
    .await;
    scene.visited();
    master.kill9();
    scene.publish_is_seen("the master was killed").await;
    until("the replica becomes the master", RETURN, async || {
        let role: Option<Vec<redis::Value>> = ask(new, &["ROLE"]).await;
        role.is_some_and(|role| format!("{role:?}").contains("master"))
    })
    .await;
    scene.returns("the fail-over").await;

    // The old one comes back, and the Sentinels make it a replica: nobody takes it for the master.
    master.restart();
    until("the old master has become a replica", Duration::from_mins(2), async || {
        let role: Option<Vec<redis::Value>> = ask(old, &["ROLE"]).await;
        role.is_some_and(|role| format!("{role:?}").contains("slave"))
    })
    .await;
    scene.returns("the old master came back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_carries_changes_in_one_slot_for_each_repository() {
    let folder = tempfile::tempdir().unwrap();
    let ports: Vec<u16> = (0..3).map(|_| free_cluster_port()).collect();
    let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let _nodes: Vec<Process> =
        ports.iter().map(|port| server(folder.path(), &port.to_string(), *port, &cluster)).collect();
    for port in &ports {
        until("the node answers", RETURN, async || ask::<String>(*port, &["PING"]).await.is_some()).await;
    }
    for (at, port) in ports.iter().enumerate() {
        let (first, last) = (at * 5462, (at * 5462 + 5461).min(16383));
        let added: Option<String> =
            ask(*port, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
        assert_eq!(added.as_deref(), Some("OK"));
        if *port != ports[0] {
            let met: Option<String> = ask(ports[0], &["CLUSTER", "MEET", "127.0.0.1", &port.to_string()]).await;
            assert_eq!(met.as_deref(), Some("OK"));
        }
    }
    for port in &ports {
        until("the Cluster is whole", RETURN, async || {
            let info: Option<String> = ask(*port, &["CLUSTER", "INFO"]).await;
            info.is_some_and(|info| info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3"))
        })
        .await;
    }
    let urls = format!("redis://127.0.0.1:{},redis://127.0.0.1:{}", ports[0], ports[1]);
    let mut scene = Scene::start(|cluster| {
        both(cluster.with_syncer(), "CLUSTER", &urls).syncer_env("MODTIER_SYNCER_TRIMMING_EVERY", "200ms")
    })
    .await;
    scene.visited();
    scene.returns("a start in a Cluster").await;
    let log = scene.cluster.syncer.as_ref().unwrap().log();
    assert!(!log.contains("not trimmed"), "{log}");
}

/// A port whose neighbour by ten thousand, over which the nodes speak, is a port as well.
fn free_cluster_port() -> u16 {
    loop {
        let port = free_port();
        if port < 55_000 {
            return port;
        }
    }
}
