//! The follower of a scripted center's feed.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_begins_at_the_head_and_follows_the_feed() {
    let center = quiet_center().await;
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "begins at the head", |report| report["cursor"] == "7-3" && report["channel"] == "feed").await;
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    assert_eq!(edge.get(LIST).await.x_cache(), "MISS");
    assert_eq!(center.last_headers(LIST)["x-min-change-id"], "7-3");
    assert_eq!(edge.get(LIST).await.x_cache(), "HIT");
    center.reply(LIST, Reply::right("v1.0.0\nv1.1.0\n", Proof::Header));
    center.reply_api("changes", lines(&[list_changed(4)]));
    until(&edge, "applies the change", |report| report["cursor"] == "7-4").await;
    assert_eq!(edge.get(LIST).await.text(), "v1.0.0\nv1.1.0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_in_the_feed_is_closed_by_the_manifest() {
    let center = quiet_center().await;
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "begins", |report| report["cursor"] == "7-3").await;
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    assert_eq!(edge.get(LIST).await.x_cache(), "MISS");
    center.reply(LIST, Reply::right("v2.0.0\n", Proof::Header));
    center.reply_api("manifest", manifest(id(9)));
    center.reply_api("changes", lines(&[list_changed(8)]));
    let report = until(&edge, "reconciles", |report| report["cursor"] == "7-9").await;
    assert!(report["last_reconcile"].is_u64(), "{report}");
    assert_eq!(edge.get(LIST).await.text(), "v2.0.0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_was_away_for_longer_than_the_log_goes_back_begins_at_the_manifest() {
    let center = quiet_center().await;
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "begins", |report| report["cursor"] == "7-3").await;
    let (zip, line) = ("example.com/a/@v/v1.0.0.zip", format!("tombstone example.com/a v1.0.0 {}\n", "0".repeat(64)));
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    center.reply(zip, Reply::right(vec![b'z'; 100_000], Proof::Header));
    for path in [LIST, zip] {
        edge.get(path).await;
        assert_eq!(edge.get(path).await.x_cache(), "HIT", "{path}");
    }
    center.reply(LIST, Reply::right("v2.0.0\n", Proof::Header));
    center.reply(zip, Reply::Refusal(410, "gone: removed by an administrator"));
    let bucket = shared::manifest::place_of("example.com/a").0;
    center.reply_api("manifest", manifest_with(id(9), bucket, &line));
    center.reply_api(&format!("manifest/{bucket}"), line);
    center.refuse_api("changes", 410, "gone: the log begins later");
    until(&edge, "begins anew", |report| report["cursor"] == "7-9").await;
    assert_eq!(edge.get(LIST).await.text(), "v2.0.0\n");
    assert_eq!(edge.get(zip).await.status, 410);
    let figures = edge.client.get(edge.admin_url("metrics")).send().await.unwrap().text().await.unwrap();
    assert!(figures.contains("modtier_resyncs_total{reason=\"gone\"}"), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_version_is_no_longer_served() {
    let center = quiet_center().await;
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "begins", |report| report["cursor"] == "7-3").await;
    let zip = "example.com/a/@v/v1.0.0.zip";
    center.reply(zip, Reply::right(vec![b'z'; 100_000], Proof::Header));
    edge.get(zip).await;
    assert_eq!(edge.get(zip).await.x_cache(), "HIT");
    center.reply(zip, Reply::Refusal(410, "gone: removed by an administrator"));
    let mut removal = list_changed(4);
    (removal.event_type, removal.kind, removal.version) = (EventType::Delete, Kind::Version, Some("v1.0.0".into()));
    center.reply_api("changes", lines(&[removal]));
    until(&edge, "applies the removal", |report| report["cursor"] == "7-4").await;
    assert_eq!(edge.get(zip).await.status, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_back_is_served_before_the_edge_hears_of_it() {
    let center = Center::start().await;
    center.reply_api("manifest", manifest(id(3)));
    let mut removal = list_changed(4);
    (removal.event_type, removal.kind, removal.version) = (EventType::Delete, Kind::Version, Some("v1.0.0".into()));
    center.reply_api("changes", lines(&[removal]));
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "applies the removal", |report| report["cursor"] == "7-4").await;
    let (zip, info) = ("example.com/a/@v/v1.0.0.zip", "example.com/a/@v/v1.0.0.info");
    center.reply(zip, Reply::right(vec![b'z'; 100_000], Proof::Header));
    center.reply(info, Reply::right("{}", Proof::Header));
    for path in [zip, info] {
        assert_eq!((edge.get(path).await.status, edge.get(path).await.x_cache()), (200, "HIT"), "{path}");
        // Only a center that knows of the removal may say so.
        assert_eq!(center.last_headers(path)["x-min-change-id"], "7-4", "{path}");
    }
    let other = "example.com/a/@v/v1.1.0.info";
    center.reply(other, Reply::right("{}", Proof::Header));
    assert_eq!(edge.get(other).await.status, 200);
    assert!(!center.last_headers(other).contains_key("x-min-change-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_that_cannot_be_asked_is_reported_and_never_unready() {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "is down", |report| report["channel"] == "down").await;
    assert_eq!(edge.get("readyz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_applied_once_more_up_to_the_cursor() {
    let center = quiet_center().await;
    let edge = TestEdge::start(&center, |_| {});
    until(&edge, "begins", |report| report["cursor"] == "7-3").await;
    center.reply_api("changes", lines(&[list_changed(2), list_changed(3), list_changed(4)]));
    let replay = async |from: &str| {
        let body = serde_json::json!({ "replay_from": from }).to_string();
        let answer = edge.client.post(edge.admin_url("api/v1/sync")).body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    until(&edge, "goes on", |report| report["cursor"] == "7-4").await;
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    edge.get(LIST).await;
    assert_eq!(edge.get(LIST).await.x_cache(), "HIT");
    let (status, answer) = replay("7-1").await;
    assert_eq!((status, &answer["records"], &answer["to"]), (200, &3.into(), &"7-4".into()), "{answer}");
    assert_ne!(edge.get(LIST).await.x_cache(), "HIT", "the list is stale again");
    for wrong in ["7-4", "7-9", "6-1"] {
        assert_eq!(replay(wrong).await.0, 400, "{wrong}");
    }
    assert_eq!(replay("x").await.0, 400);
    center.reply_api("changes", String::new());
    assert_eq!(replay("7-1").await.0, 410, "a feed that has nothing more after it");
    assert_eq!(until(&edge, "stays", |_| true).await["cursor"], "7-4");
}
