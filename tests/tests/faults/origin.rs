//! A broken origin: no complete wrong body at any client, nothing wrong stored, and the next request heals.

use std::time::Duration;

use modtier_tests::{BuiltModule, Cluster, ClusterBuilder, Fault, GoClient, Module, Origin, objects, until};

/// Small enough to be proven before the first byte is sent on; large enough to be streamed.
const SIZES: [usize; 2] = [20_000, 3_000_000];

/// The faults at a place in the middle of a body of `len` bytes.
async fn broken_then_healed(fault_at: impl Fn(usize) -> Fault) {
    let origin = Origin::start().await;
    let cluster = trusting(&origin).start().await;
    for (index, size) in SIZES.into_iter().enumerate() {
        let module =
            Module::new(&format!("example.com/m{index}"), "v1.0.0").package().ballast(size, index as u64).build();
        origin.publish(&module);
        let fault = fault_at(module.zip.len());
        origin.fault(&module.zip_path(), fault.clone());
        check_broken(&cluster, &module, &format!("{fault:?}, {size} bytes")).await;
        let output = GoClient::new(&cluster.goproxy()).run(&["mod", "download", &module.query()]).await;
        assert!(!output.ok, "go is content with {fault:?}");
        origin.heal();
        if matches!(fault, Fault::TooMany(_)) {
            // It asked for a pause, and gets it.
            let center = cluster.repository_web("golang-virtual");
            let answers = async || center.get(&module.zip_path()).await.status == 200;
            until("the pause is over", Duration::from_secs(20), answers).await;
        }
        check_healed(&cluster, &module).await;
    }
}

/// A center that goes on asking a server that fails: each fault is to be met, and what heals is to be seen at once.
fn trusting(origin: &Origin) -> ClusterBuilder {
    Cluster::of(origin).center_env("MODTIER_CENTER_OUTBOUND_BREAKER_FAILURES", "1000000")
}

async fn check_broken(cluster: &Cluster, module: &BuiltModule, what: &str) {
    for _ in 0..2 {
        if let Ok(reply) = cluster.edge_web().try_get(&module.zip_path()).await {
            let failed = !reply.complete || (500..600).contains(&reply.status);
            assert!(
                failed,
                "{what}: {} complete, {} bytes, right: {}",
                reply.status,
                reply.body.len(),
                reply.body == module.zip
            );
        }
    }
    for (tier, web) in [("edge", cluster.edge_web()), ("center", cluster.repository_web("golang-virtual"))] {
        let held = web.get_held(&module.zip_path()).await;
        assert_eq!(held.status, 404, "{what}: the {tier} holds {} bytes", held.body.len());
        objects::verify(&cluster.data(tier));
    }
}

async fn check_healed(cluster: &Cluster, module: &BuiltModule) {
    let reply = cluster.edge_web().get(&module.zip_path()).await;
    assert!(reply.is_whole(), "after healing: {} {}", reply.status, reply.text());
    assert_eq!(reply.body, module.zip);
    let output = GoClient::new(&cluster.goproxy()).ok(&["mod", "download", "-json", &module.query()]).await;
    assert!(output.stdout.contains(&module.h1));
    for tier in ["edge", "center"] {
        objects::verify(&cluster.data(tier));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_zip() {
    broken_then_healed(|len| Fault::Truncate(len / 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_that_lacks_only_its_last_byte() {
    broken_then_healed(|len| Fault::Truncate(len - 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_in_chunks_without_the_last_chunk() {
    broken_then_healed(|len| Fault::TruncateChunked(len / 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_zip_in_chunks_without_the_last_chunk() {
    broken_then_healed(Fault::TruncateChunked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_in_the_middle() {
    broken_then_healed(|len| Fault::Reset(len / 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_before_any_answer() {
    broken_then_healed(|_| Fault::ResetAtOnce).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_byte_in_the_middle() {
    broken_then_healed(|len| Fault::Flip(len / 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_byte_in_the_directory() {
    broken_then_healed(|len| Fault::Flip(len - 40)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_altogether() {
    broken_then_healed(|_| Fault::Replace(bytes::Bytes::from_static(b"<html>log in to the hotel's network</html>")))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_error() {
    broken_then_healed(|_| Fault::Status(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_has_had_enough() {
    broken_then_healed(|_| Fault::TooMany(1)).await;
}

/// A center that waits one second, and not half a minute, for a byte.
fn impatient(origin: &Origin) -> ClusterBuilder {
    let repositories = "{golang-local: {type: local}, golang-remote: {type: remote, stall_timeout: 1s, first_byte_timeout: 1s}, \
                        golang-virtual: {type: virtual, members: [golang-local, golang-remote], default_deployment: golang-local}}";
    trusting(origin).center_env("MODTIER_CENTER_REPOSITORIES", repositories)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_in_the_middle_ends_in_an_error_and_heals() {
    let origin = Origin::start().await;
    let cluster = impatient(&origin).start().await;
    let module = Module::new("example.com/a", "v1.0.0").package().ballast(3_000_000, 1).build();
    origin.publish(&module);
    for stalled_at in [0, 1_500_000] {
        origin.fault(&module.zip_path(), Fault::Stall(stalled_at));
        let (edge, path) = (cluster.edge_web(), module.zip_path());
        let answer = tokio::time::timeout(Duration::from_secs(20), edge.try_get(&path)).await;
        let answer = answer.expect("a stalled origin must not stall its clients");
        if let Ok(reply) = answer {
            assert!(!reply.complete || [502, 503, 504].contains(&reply.status), "{} after {stalled_at}", reply.status);
        }
        assert_eq!(edge.get_held(&path).await.status, 404);
    }
    origin.heal();
    check_healed(&cluster, &module).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn small_artefacts_are_not_believed_when_cut() {
    let origin = Origin::start().await;
    let cluster = trusting(&origin).start().await;
    let module = Module::new("example.com/a", "v1.0.0").package().build();
    origin.publish(&module);
    for (path, body) in [
        (module.at("mod"), module.go_mod.clone()),
        (module.at("info"), module.info.clone()),
        ("example.com/a/@v/list".to_owned(), "v1.0.0\n".into()),
    ] {
        for fault in [Fault::Truncate(5), Fault::TruncateChunked(5), Fault::Reset(5), Fault::Status(503)] {
            origin.fault(&path, fault.clone());
            if let Ok(reply) = cluster.edge_web().try_get(&path).await {
                assert!(!reply.complete || reply.status >= 500, "{path}, {fault:?}: {} {}", reply.status, reply.text());
            }
            assert_eq!(cluster.edge_web().get_held(&path).await.status, 404, "{path}, {fault:?}");
            origin.heal();
        }
        let reply = cluster.edge_web().get(&path).await;
        assert!(reply.is_whole(), "{path}: {} {}", reply.status, reply.text());
        assert_eq!(reply.body, body, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_info_that_is_no_info_is_not_believed() {
    let origin = Origin::start().await;
    let cluster = trusting(&origin).start().await;
    let module = Module::new("example.com/a", "v1.0.0").package().build();
    origin.publish(&module);
    origin.fault(&module.at("info"), Fault::Replace(bytes::Bytes::from_static(b"<html>log in</html>")));
    assert_eq!(cluster.edge_web().get(&module.at("info")).await.status, 502);
    origin.heal();
    assert_eq!(cluster.edge_web().get(&module.at("info")).await.body, module.info);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_never_404() {
    let mut origin = Origin::start().await;
    let mut cluster = trusting(&origin).start().await;
    let module = Module::new("example.com/a", "v1.0.0").package().build();
    origin.publish(&module);
    let edge = cluster.edge_web();
    assert_eq!(edge.get(&module.zip_path()).await.body, module.zip);
    assert_eq!(edge.get("example.com/a/@v/list").await.text(), "v1.0.0\n");

    let unknown = [
        "example.com/b/@v/list",
        "example.com/b/@latest",
        "example.com/b/@v/v1.0.0.info",
        "example.com/b/@v/v1.0.0.zip",
    ];
    origin.go_down().await;
    for path in unknown {
        let reply = edge.get(path).await;
        assert!([502, 503, 504].contains(&reply.status), "origin down, {path}: {} {}", reply.status, reply.text());
        assert!(!reply.text().contains("127.0.0.1"), "an address is told: {}", reply.text());
    }
    assert_eq!(edge.get(&module.zip_path()).await.body, module.zip, "what is held is served");
    origin.come_back();
    assert_eq!(edge.get("example.com/b/@v/list").await.status, 404, "now it is known");

    cluster.center.kill9();
    for path in
        ["example.com/c/@v/list", "example.com/c/@latest", "example.com/c/@v/v1.0.0.mod", "sumdb/sum.golang.org/latest"]
    {
        let reply = edge.get(path).await;
        assert!([502, 503, 504].contains(&reply.status), "center down, {path}: {} {}", reply.status, reply.text());
    }
    assert_eq!(edge.get(&module.zip_path()).await.body, module.zip, "what is held is served");
    assert_eq!(edge.get("example.com/a/@v/list").await.text(), "v1.0.0\n");
    let output = GoClient::new(&format!("{},{}", cluster.goproxy(), origin.url()))
        .run(&["list", "-m", "example.com/c@latest"])
        .await;
    assert!(!output.ok);
    assert!(
        origin.asked("example.com/c").is_empty(),
        "go fell through to the next proxy: {:?}",
        origin.asked("example.com/c")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_fails_costs_nothing_that_the_center_has() {
    let origin = Origin::start().await;
    let cluster = Cluster::of(&origin).start().await;
    let own = Module::new("corp.example/own", "v1.0.0").package().build();
    cluster.publish_new(&own).await;
    origin.fault("example.com/m", Fault::Status(500));
    for index in 0..10 {
        let foreign = Module::new(&format!("example.com/m{index}"), "v1.0.0").build();
        let reply = cluster.edge_web().get(&foreign.zip_path()).await;
        assert!([502, 503].contains(&reply.status), "{index}: {} {}", reply.status, reply.text());
    }
    let reply = cluster.edge_web().get(&own.zip_path()).await;
    assert!(reply.is_whole(), "{} {}", reply.status, reply.text());
    assert_eq!(reply.body, own.zip);
}
