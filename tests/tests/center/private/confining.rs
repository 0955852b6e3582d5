//! Commands are kept to the egress proxy by the kernel; where it cannot do that, nothing is fetched unless the operator says so.

use std::path::PathBuf;
use std::time::Duration;

use modtier_tests::forge::command;
use modtier_tests::{Process, ProcessSpec, binary};
use serde_json::json;

use super::place::{Place, Settings, VANITY, WITHOUT_LANDLOCK, confines};

/// Settings with a program in the place of `go` that takes no notice of its proxy variables and connects to the public origin.
fn settings(place: &Place) -> Settings {
    let origin = place.origin.url();
    let (_, port) = origin.rsplit_once(':').unwrap();
    let script: PathBuf = place.forge.root().join("go");
    let answer = r#"{"Version":"v1.0.0","Versions":["v1.0.0"]}"#;
    let text = format!("#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/{port} || exit 1\necho '{answer}'\n");
    std::fs::write(&script, text).unwrap();
    command("chmod", &["+x", "go"], place.forge.root());
    let mut settings = place.settings();
    settings.repository["fetcher"]["program"] = json!(script);
    settings
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_goes_past_the_proxy() {
    let place = Place::new().await;
    let cluster = place.builder(&settings(&place)).start().await;
    let reply = cluster.repository_web("golang-virtual").get(&format!("{VANITY}/lib/@v/list")).await;
    if confines() {
        assert_eq!(reply.status, 502, "{}", reply.text());
    } else {
        assert_eq!((reply.status, reply.text().as_str()), (200, "v1.0.0\n"), "an older kernel hinders nobody");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kernel_that_cannot_confine_is_refused_at_start() {
    let place = Place::new().await;
    let dir = tempfile::tempdir().unwrap();
    let repositories = json!({ "golang-private": place.settings().repository });
    let spec = ProcessSpec::new("center", binary("center"), dir.path())
        .under(&WITHOUT_LANDLOCK)
        .env("MODTIER_CENTER_LISTEN", "127.0.0.1:0")
        .env("MODTIER_CENTER_SUMDB_NAMES", "off")
        .env("MODTIER_CENTER_REPOSITORIES", &repositories.to_string())
        .env("FORGE_PASSWORD", "x")
        .env("FORGE_SECRET", "x");
    let mut center = Process::spawn(spec);
    assert_eq!(center.ended(Duration::from_secs(30)).await.code(), Some(1));
    let said = center.log();
    for word in ["golang-private", "Linux 6.7", "egress.confinement: best-effort"] {
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_operator_says_so_an_unconfined_command_is_run() {
    let place = Place::new().await;
    let mut settings = settings(&place);
    settings.egress["confinement"] = json!("best-effort");
    let cluster = place.builder(&settings).center_under(&WITHOUT_LANDLOCK).start().await;
    let reply = cluster.repository_web("golang-virtual").get(&format!("{VANITY}/lib/@v/list")).await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "v1.0.0\n"));
    assert!(cluster.center.log().contains("the host's firewall must"), "{}", cluster.center.log());
}
