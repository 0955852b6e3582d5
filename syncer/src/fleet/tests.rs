//! Edges and a center that say what the test wants.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Query, State as Shown};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use parking_lot::Mutex as Lock;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::change::{Change, EventType, Kind};
use shared::client::{ClientOptions, http_client};

use super::*;

/// What edge and center say.
struct Scene {
    edge: Value,
    /// Unix milliseconds at which each record of epoch 1000 was made, from the first that is kept.
    made_ms: Vec<u64>,
    first: u64,
}

#[derive(Deserialize)]
struct Ask {
    after: ChangeId,
    limit: usize,
}

fn record(seq: u64, made_ms: u64) -> Change {
    Change {
        id: ChangeId { epoch: 1000, seq },
        repo: "golang-virtual".into(),
        event_type: EventType::Update,
        module_id: "example.com/a".into(),
        version: None,
        kind: Kind::List,
        timestamp: made_ms / 1000,
        timestamp_ms: Some(made_ms),
        sha256: None,
        h1: None,
        origin: None,
        reason: "refresh".into(),
        schema: 1,
        traceparent: None,
    }
}

async fn changes(Shown(scene): Shown<Arc<Lock<Scene>>>, Query(ask): Query<Ask>) -> Response {
    let scene = scene.lock();
    let head = ChangeId { epoch: 1000, seq: scene.first + scene.made_ms.len() as u64 - 1 };
    let is_zero = ask.after == ChangeId::ZERO;
    if !is_zero && (ask.after.epoch != 1000 || ask.after.seq + 1 < scene.first || ask.after > head) {
        return StatusCode::GONE.into_response();
    }
    let records = (scene.first..).zip(&scene.made_ms).map(|(seq, made_ms)| record(seq, *made_ms));
    let lines: Vec<String> = records
        .filter(|change| change.id > ask.after)
        .take(ask.limit)
        .map(|change| serde_json::to_string(&change).unwrap() + "\n")
        .collect();
    ([("x-change-head", head.to_string())], lines.concat()).into_response()
}

async fn fleet(scene: &Arc<Lock<Scene>>) -> Fleet {
    let sync = async |Shown(scene): Shown<Arc<Lock<Scene>>>| Json(scene.lock().edge.clone());
    let routes = Router::new()
        .route("/api/v1/sync", get(sync))
        .route("/api/v1/repos/golang-virtual/changes", get(changes))
        .with_state(Arc::clone(scene));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let client = http_client(ClientOptions::default()).unwrap();
    // Port 1 of the loopback is closed everywhere.
    let edges = vec![base.clone(), "http://127.0.0.1:1".to_owned()];
    let config = Config { center: base.clone(), edges, ..Config::default() };
    Fleet::new(client.clone(), Feed::new(TierClient::open(client), &base, "golang-virtual"), &config, None).unwrap()
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn scene(cursor: &str, first: u64, ages: &[Duration]) -> Arc<Lock<Scene>> {
    let made_ms = ages.iter().map(|age| now_ms() - u64::try_from(age.as_millis()).unwrap()).collect();
    let edge = json!({ "edge": "e1", "region": "eu", "cursor": cursor, "channel": "feed", "hit_rate": 0.5 });
    Arc::new(Lock::new(Scene { edge, made_ms, first }))
}

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn the_lag_is_the_age_of_the_oldest_record_that_an_edge_has_not_applied() {
    let scene = scene("1000-1", 1, &[MINUTE * 3, MINUTE * 2, MINUTE]);
    let fleet = fleet(&scene).await;
    let view = fleet.look().await;
    assert_eq!(view.head, Some(ChangeId { epoch: 1000, seq: 3 }));
    let names: Vec<_> = view.edges.iter().map(|edge| (edge.name.as_str(), edge.up)).collect();
    assert_eq!(names, [("127.0.0.1:1", false), ("e1", true)]);
    let lag = |view: &View| view.edges[1].lag_seconds.unwrap();
    assert!((120.0..150.0).contains(&lag(&view)), "{view:?}");
    scene.lock().edge["cursor"] = json!("1000-2");
    assert!((60.0..90.0).contains(&lag(&*fleet.look().await)));
    scene.lock().edge["cursor"] = json!("1000-3");
    let view = fleet.look().await;
    assert!(lag(&view) == 0.0, "{view:?}");
    assert_eq!((view.edges[1].region.as_str(), view.edges[1].hit_rate), ("eu", Some(0.5)));
}

#[tokio::test]
async fn an_edge_of_another_epoch_misses_all_that_is_kept() {
    for cursor in ["900-7", "1000-2"] {
        let scene = scene(cursor, 5, &[MINUTE * 3, MINUTE]);
        let view = fleet(&scene).await.look().await;
        let lag = view.edges[1].lag_seconds.unwrap();
        assert!((180.0..210.0).contains(&lag), "{cursor}: {view:?}");
    }
}

#[tokio::test]
async fn an_edge_that_falls_silent_is_down_and_its_lag_goes_on() {
    let scene = scene("1000-1", 1, &[MINUTE * 3, MINUTE * 2]);
    let fleet = fleet(&scene).await;
    assert!(fleet.look().await.edges[1].up);
    scene.lock().edge = json!("nonsense");
    let view = fleet.look().await;
    assert!(!view.edges[1].up && view.edges[1].lag_seconds.unwrap() >= 120.0, "{view:?}");
}

#[test]
fn a_heartbeat_of_before_says_nothing_against_a_later_word() {
    let beat = |time, seq| {
        let cursor = ChangeId { epoch: 1, seq };
        Report { edge: "e1".into(), cursor, time: Some(time), ..Report::default() }
    };
    let mut known = BTreeMap::new();
    let mut after = |beat, up_before: Option<bool>| {
        if let Some((edge, _)) = known.get_mut("e1") {
            let edge: &mut Edge = edge;
            edge.up = up_before.unwrap_or(false);
        }
        take_beat(&mut known, beat, Instant::now());
        known["e1"].0.cursor.unwrap().seq
    };
    assert_eq!(after(beat(7, 6), None), 6);
    assert_eq!(after(beat(7, 8), None), 8, "another heartbeat of the same second");
    assert_eq!(after(beat(7, 9), Some(true)), 8, "the administration has spoken in this look");
    assert_eq!(after(beat(7, 9), None), 8, "and its word is newer than what lay there then");
    assert_eq!(after(beat(8, 5), None), 5, "a new one counts, also where the cursor went back");
}
