//! Starting and stopping, with neighbours that are in the way or not there. (config.rs tests what each binary refuses alone.)

use std::time::Duration;

use modtier_tests::{Cluster, Module, Process, ProcessSpec, binary};

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_data_directory_are_refused_and_the_first_lives_on() {
    let mut cluster = Cluster::with_upstream("http://127.0.0.1:9").start().await;
    let folder = tempfile::tempdir().unwrap();
    for name in ["edge", "center"] {
        let (data, upper) = (cluster.data(name).display().to_string(), name.to_uppercase());
        let spec = ProcessSpec::new(name, binary(name), folder.path())
            .env(&format!("MODTIER_{upper}_LISTEN"), "127.0.0.1:0")
            .env(&format!("MODTIER_{upper}_DATA_DIR"), &data);
        let spec = if name == "edge" { spec.env("MODTIER_EDGE_ADMIN", "127.0.0.1:0") } else { spec };
        let mut second = Process::spawn(spec);
        let status = second.ended(Duration::from_secs(30)).await;
        let said = second.log();
        assert_eq!(status.code(), Some(1), "{name}:\n{said}");
        assert!(said.lines().last().unwrap_or_default().contains(&data), "{name} names the directory:\n{said}");
        assert!(!said.contains("panicked") && !said.contains("backtrace"), "{name}:\n{said}");
    }
    assert!(cluster.edge.exited().is_none() && cluster.center.exited().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_there_keeps_nobody_from_starting() {
    // `start` waits for readiness: it must not depend on an upstream.
    let cluster = Cluster::with_upstream("http://127.0.0.1:9").start().await;
    let reply = cluster.edge_web().get("example.com/a/@v/list").await;
    assert!([502, 503, 504].contains(&reply.status), "{} {}", reply.status, reply.text());
    assert!(reply.text().starts_with("unavailable: "), "{}", reply.text());
    assert!(!reply.text().contains("127.0.0.1"), "an address is told: {}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_stops_cleanly_on_sigterm_and_starts_again_with_its_data() {
    let mut cluster = Cluster::with_upstream("http://127.0.0.1:9").with_redis().start().await;
    let module = Module::new("corp.example/lib", "v1.0.0").package().build();
    cluster.publish_new(&module).await;
    assert_eq!(cluster.edge_web().get(&module.zip_path()).await.body, module.zip);
    let mut syncer = cluster.syncer.take().unwrap();
    assert!(syncer.stop().await.success(), "syncer:\n{}", syncer.log());
    assert!(cluster.edge.stop().await.success(), "edge:\n{}", cluster.edge.log());
    assert!(cluster.center.stop().await.success(), "center:\n{}", cluster.center.log());
    cluster.restart_center().await;
    cluster.restart_edge().await;
    assert_eq!(cluster.edge_web().get_held(&module.zip_path()).await.body, module.zip);
    assert_eq!(cluster.repository_web("golang-local").get(&module.zip_path()).await.body, module.zip);
}
