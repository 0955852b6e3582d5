//! The feed's client against a small center.

use axum::Router;
use axum::extract::Query;
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Deserialize;
use shared::change::{Change, EventType, Kind};
use shared::client::{ClientOptions, http_client};

use super::*;

#[derive(Deserialize)]
struct Ask {
    after: ChangeId,
    limit: usize,
}

/// Records 3 to 7 of epoch 9 are kept.
async fn changes(Query(ask): Query<Ask>) -> axum::response::Response {
    let head = id(7);
    if ask.after != ChangeId::ZERO && (ask.after.epoch != 9 || ask.after.seq < 2 || ask.after > head) {
        return StatusCode::GONE.into_response();
    }
    let lines: Vec<String> = (3..=7)
        .map(id)
        .filter(|id| *id > ask.after)
        .take(ask.limit)
        .map(|id| serde_json::to_string(&record(id)).unwrap() + "\n")
        .collect();
    ([("x-change-head", head.to_string())], lines.concat()).into_response()
}

fn id(seq: u64) -> ChangeId {
    ChangeId { epoch: 9, seq }
}

fn record(id: ChangeId) -> Change {
    Change {
        id,
        repo: "golang-virtual".into(),
        event_type: EventType::Create,
        module_id: "example.com/a".into(),
        version: Some(format!("v1.0.{}", id.seq)),
        kind: Kind::Version,
        timestamp: 1,
        timestamp_ms: None,
        sha256: None,
        h1: None,
        origin: None,
        reason: "publish".into(),
        schema: 1,
        traceparent: None,
    }
}

async fn feed() -> Feed {
    let routes = Router::new().route("/api/v1/repos/golang-virtual/changes", get(changes));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Feed::new(TierClient::open(http_client(ClientOptions::default()).unwrap()), &base, "golang-virtual")
}

#[tokio::test]
async fn a_page_has_the_records_after_an_id_and_the_head() {
    let feed = feed().await;
    let page = feed.page(id(5), Duration::ZERO, 10).await.unwrap();
    assert_eq!(page, Page { changes: vec![record(id(6)), record(id(7))], head: id(7) });
    assert_eq!(feed.page(ChangeId::ZERO, Duration::ZERO, 2).await.unwrap().changes[0].id, id(3));
    assert!(feed.page(id(7), Duration::ZERO, 2).await.unwrap().changes.is_empty());
}

#[tokio::test]
async fn a_place_that_is_not_in_the_log_is_gone_and_the_head_is_found_all_the_same() {
    let feed = feed().await;
    for place in [id(1), id(8), ChangeId { epoch: 8, seq: 5 }] {
        assert!(matches!(feed.page(place, Duration::ZERO, 1).await, Err(LogError::Gone(_))), "{place}");
        assert_eq!(feed.head(place).await.unwrap(), id(7));
    }
}

#[tokio::test]
async fn other_answers_are_an_outage() {
    let feed = feed().await;
    let other = Feed { repository: "unknown".to_owned(), ..feed };
    assert!(matches!(other.page(ChangeId::ZERO, Duration::ZERO, 1).await, Err(LogError::Unavailable(_))));
}
