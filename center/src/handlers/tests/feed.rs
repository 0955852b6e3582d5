//! The change feed and the manifest.

use std::time::{Duration, Instant};

use http::StatusCode;
use shared::change::{Change, ChangeId};
use shared::digest::Digest;

use super::{Answer, Center};

const FEED: &str = "/api/v1/repos/golang-virtual/changes";

fn changes(answer: &Answer) -> Vec<Change> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn head(answer: &Answer) -> ChangeId {
    answer.header("x-change-head").parse().unwrap()
}

#[tokio::test]
async fn the_feed_has_every_change_in_order_and_in_pages() {
    let center = Center::new().await;
    for version in ["v1.0.0", "v1.1.0", "v1.2.0"] {
        center.publish("a.test/b", version).await;
    }
    let answer = center.get(FEED).await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let all = changes(&answer);
    assert!(all.len() >= 3, "{all:?}");
    assert_eq!(all.last().unwrap().id, head(&answer));
    for pair in all.windows(2) {
        assert!(pair[1].id.follows(pair[0].id));
    }
    assert!(all.iter().all(|change| change.repo == "golang-virtual"));

    let mut paged = Vec::new();
    loop {
        let after = paged.last().map_or(ChangeId::ZERO, |change: &Change| change.id);
        let page = changes(&center.get(&format!("{FEED}?after={after}&limit=2")).await);
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

#[tokio::test]
async fn a_long_poll_ends_with_the_next_change() {
    let center = Center::new().await;
    center.publish("a.test/b", "v1.0.0").await;
    let at = head(&center.get(FEED).await);
    let started = Instant::now();
    let path = format!("{FEED}?after={at}&wait=30s");
    // The poll is begun first and waits; the publish wakes it.
    let (answer, _) = tokio::join!(center.get(&path), center.publish("a.test/b", "v1.1.0"));
    let next = changes(&answer);
    assert_eq!(next[0].id, at.next());
    assert_eq!(next[0].version.as_deref(), Some("v1.1.0"));
    assert!(started.elapsed() < Duration::from_secs(10));
    // Nothing happens: it ends empty after its time, with the head.
    let at = head(&center.get(FEED).await);
    let quiet = center.get(&format!("{FEED}?after={at}&wait=40ms")).await;
    assert_eq!((changes(&quiet).len(), head(&quiet)), (0, at));
}

#[tokio::test]
async fn a_stop_ends_long_polls_and_readiness() {
    let center = Center::new().await;
    let at = head(&center.get(FEED).await);
    assert_eq!(center.get("/readyz").await.status, StatusCode::OK);
    let path = format!("{FEED}?after={at}&wait=60s");
    let (answer, ()) = tokio::join!(center.get(&path), async {
        tokio::task::yield_now().await;
        center.app.stopping.send_replace(true);
    });
    assert_eq!(changes(&answer).len(), 0);
    assert_eq!(center.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(center.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_id_that_the_log_does_not_have_is_410() {
    let center = Center::new().await;
    let empty = center.get(&format!("{FEED}?after=0-0")).await;
    assert_eq!(changes(&empty).len(), 0);
    center.publish("a.test/b", "v1.0.0").await;
    let at = head(&center.get(FEED).await);
    let beyond = ChangeId { seq: at.seq + 1, ..at };
    let (earlier, later) = (ChangeId { epoch: at.epoch - 1, ..at }, ChangeId { epoch: at.epoch + 1, seq: 0 });
    for id in [beyond, earlier, later, ChangeId { epoch: 5, seq: 0 }] {
        let answer = center.get(&format!("{FEED}?after={id}&wait=30s")).await;
        assert_eq!(answer.status, StatusCode::GONE, "{id}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["status"], 410);
        assert!(problem["detail"].as_str().unwrap().contains("manifest"));
    }
    assert_eq!(changes(&center.get(&format!("{FEED}?after={at}")).await).len(), 0);
}

#[tokio::test]
async fn malformed_parameters_are_400_and_unknown_repositories_404() {
    let center = Center::new().await;
    for query in ["after=x", "after=1", "wait=soon", "limit=0", "limit=10001", "limit=x", "afer=0-0"] {
        let answer = center.get(&format!("{FEED}?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{query}");
    }
    for path in ["/api/v1/repos/nobody/changes", "/api/v1/repos/nobody/manifest", "/api/v1/nothing"] {
        assert_eq!(center.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn the_manifest_adds_up() {
    let center = Center::new().await;
    let published = center.publish("a.test/b", "v1.0.0").await;
    let sha256 = published.header("x-checksum-sha256").to_owned();
    let base = "/api/v1/repos/golang-virtual/manifest";
    let manifest: serde_json::Value = serde_json::from_slice(&center.get(base).await.body).unwrap();
    assert_eq!(manifest["buckets"].as_array().unwrap().len(), 256);
    assert_eq!(manifest["head"], center.get(FEED).await.header("x-change-head"));
    let number = usize::from(Digest::of(b"a.test/b").as_bytes()[0]);
    let bucket = center.get(&format!("{base}/{number}")).await;
    assert_eq!(manifest["buckets"][number], Digest::of(&bucket.body).hex());
    assert!(bucket.text().contains(&format!("zip a.test/b v1.0.0 {sha256}\n")), "{}", bucket.text());
    for bad in ["256", "-1", "x"] {
        assert_eq!(center.get(&format!("{base}/{bad}")).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn the_center_says_what_it_is() {
    let center = Center::new().await;
    let repos: serde_json::Value = serde_json::from_slice(&center.get("/api/v1/repos").await.body).unwrap();
    let names: Vec<&str> =
        repos["repos"].as_array().unwrap().iter().map(|repo| repo["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["golang-local", "golang-remote", "golang-virtual"]);
    let version: serde_json::Value = serde_json::from_slice(&center.get("/version").await.body).unwrap();
    assert_eq!(version["name"], "modtier-center");
    let page = center.get("/").await;
    assert!(page.text().contains("GOPROXY=") && page.text().contains("golang-virtual"));
    assert_eq!(page.header("x-frame-options"), "DENY");
    center.publish("a.test/b", "v1.0.0").await;
    center.get("/api/go/golang-virtual/a.test/b/@v/v1.0.0.mod").await;
    let metrics = center.get("/metrics").await;
    let counted = r#"modtier_cache_requests_total{artefact="mod",repo="golang-virtual",result="hit",tier="center"}"#;
    assert!(metrics.text().contains(counted), "{}", metrics.text());
    assert!(metrics.text().contains("modtier_http_requests_total{"), "{}", metrics.text());
}
