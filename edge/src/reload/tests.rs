//! Reloading a running edge.

use std::fs;

use serde_json::Value;

use super::*;
use crate::start::Origin;
use crate::testing::{Center, Proof, Reply, TestEdge};

fn edge_of(center: &Center, file: &std::path::Path) -> TestEdge {
    let origin = Origin { config_file: Some(file.to_owned()), ..Origin::default() };
    TestEdge::start_from(center, origin, |_| {})
}

/// A file with the settings that the edge runs with, and `more`.
fn write(edge: &TestEdge, file: &std::path::Path, more: impl FnOnce(&mut Value)) {
    let mut value = serde_json::to_value(&**edge.edge().app.config()).unwrap();
    more(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_period_counts_for_the_next_request() {
    let center = Center::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edge.yaml");
    let edge = edge_of(&center, &file);
    center.reply("example.com/a/@v/list", Reply::right("v1.0.0\n", Proof::Header));
    for _ in 0..3 {
        edge.get("example.com/a/@v/list").await;
    }
    assert_eq!(center.gets("example.com/a/@v/list"), 1);
    write(&edge, &file, |value| {
        value["freshness"]["other"] = "0s".into();
        value["freshness"]["hot"] = "0s".into();
        value["freshness"]["unhealthy"] = "0s".into();
        value["freshness"]["stale_while_revalidate"] = "0s".into();
    });
    let Outcome::Applied(changes) = reload(&edge.edge().app, "test").await else { panic!("it is applied") };
    assert_eq!(changes.len(), 4, "{changes:?}");
    assert_eq!(reload(&edge.edge().app, "test").await, Outcome::Unchanged);
    edge.get("example.com/a/@v/list").await;
    assert_eq!(center.gets("example.com/a/@v/list"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_restart_keeps_its_value_and_is_named() {
    let center = Center::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edge.yaml");
    let edge = edge_of(&center, &file);
    write(&edge, &file, |value| {
        value["tenant"] = "other".into();
        value["limits"]["shutdown_grace"] = "77s".into();
    });
    let Outcome::Applied(changes) = reload(&edge.edge().app, "test").await else { panic!("it is applied") };
    let told: Vec<_> = changes.iter().map(|one| (one.setting.as_str(), one.needs_restart)).collect();
    assert_eq!(told, [("limits.shutdown_grace", false), ("tenant", true)]);
    let config = edge.edge().app.config();
    assert_eq!((config.tenant.as_str(), config.limits.shutdown_grace.get().as_secs()), ("default", 77));
    let ready = edge.client.get(edge.admin_url("readyz?verbose")).send().await.unwrap().text().await.unwrap();
    assert!(ready.contains("\"setting\":\"tenant\"") && ready.contains("\"result\":\"applied\""), "{ready}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_changes_nothing_and_says_why() {
    let center = Center::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("edge.yaml");
    let edge = edge_of(&center, &file);
    let before = serde_json::to_value(&**edge.edge().app.config()).unwrap();
    for (text, reason) in [
        ("freshness: {hot: 1s", "edge.yaml"),
        ("freshness: {hott: 1s}", "freshness.hott"),
        ("freshness: {hot: 1s}\ncenters: []", "centers"),
        ("freshness: {hot: soon}", "freshness.hot"),
    ] {
        fs::write(&file, text).unwrap();
        let Outcome::Refused(said) = reload(&edge.edge().app, "test").await else { panic!("{text} is refused") };
        assert!(said.contains(reason) && said.lines().count() == 1, "{text}: {said}");
        assert_eq!(serde_json::to_value(&**edge.edge().app.config()).unwrap(), before);
    }
    fs::remove_file(&file).unwrap();
    assert!(matches!(reload(&edge.edge().app, "test").await, Outcome::Refused(_)));
    let ready = edge.client.get(edge.admin_url("readyz?verbose")).send().await.unwrap().text().await.unwrap();
    assert!(ready.contains("\"result\":\"refused\""), "{ready}");
}
