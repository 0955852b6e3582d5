//! A center that is played: a log of as many changes as are wanted, a manifest of as many versions, and one answer for
//! every artefact. For what no real one could be filled with in the time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use shared::change::{Change, ChangeId, EventType, Kind, anything_changed};
use shared::digest::Digest;
use shared::manifest::{only, parts, place_of};
use tokio::sync::watch;

/// What every artefact consists of.
const ARTEFACT: &[u8] = br#"{"Version":"v1.0.0","Time":"2024-05-06T07:08:09Z"}"#;

/// Buckets of a manifest.
const BUCKETS: usize = 256;

/// Versions of one module.
const VERSIONS_EACH: usize = 10;

const EPOCH: u64 = 1_700_000_000_000;

/// A played center.
pub struct PlayedCenter {
    inner: Arc<Inner>,
    url: String,
}

struct Inner {
    /// How many records the log has.
    head: watch::Sender<u64>,
    buckets: Mutex<Vec<(Bytes, Digest)>>,
    bytes: AtomicU64,
    last: Mutex<Option<(Instant, Instant)>>,
}

/// What a comparison took.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// Bytes of bodies that were sent.
    pub bytes: u64,
    /// From the question for the manifest to the last answer.
    pub time: Duration,
}

#[derive(Deserialize)]
struct Ask {
    after: ChangeId,
    wait: String,
    limit: u64,
}

fn id(seq: u64) -> ChangeId {
    ChangeId { epoch: EPOCH, seq }
}

fn module(number: usize) -> String {
    format!("bench.example/group{}/module{number}", number % 97)
}

fn record(seq: u64) -> Change {
    Change {
        event_type: EventType::Create,
        kind: Kind::Version,
        module_id: module(usize::try_from(seq % 20_000).unwrap_or_default()),
        version: Some(format!("v1.{seq}.0")),
        reason: "publish".to_owned(),
        ..anything_changed(id(seq), "golang-virtual")
    }
}

async fn changes(State(inner): State<Arc<Inner>>, Query(ask): Query<Ask>) -> Response {
    let wait = Duration::from_secs(ask.wait.trim_end_matches('s').parse().unwrap_or_default());
    let mut head = inner.head.subscribe();
    if ask.after != ChangeId::ZERO && (ask.after.epoch != EPOCH || ask.after.seq > *head.borrow()) {
        return StatusCode::GONE.into_response();
    }
    let _ = tokio::time::timeout(wait, head.wait_for(|head| *head > ask.after.seq)).await;
    let now = *head.borrow();
    let lines = (ask.after.seq + 1..=now).take(usize::try_from(ask.limit).unwrap_or(1000));
    let lines: String =
        lines.map(|seq| serde_json::to_string(&record(seq)).expect("a record is JSON") + "\n").collect();
    ([("x-change-head", id(now).to_string())], lines).into_response()
}

async fn manifest(State(inner): State<Arc<Inner>>) -> Response {
    let buckets: Vec<Digest> = inner.buckets().iter().map(|(_, digest)| *digest).collect();
    let head = id(*inner.head.borrow());
    let document = serde_json::json!({ "head": head, "root": Digest::of(b""), "buckets": buckets }).to_string();
    let now = Instant::now();
    *inner.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, now));
    inner.bytes.store(document.len() as u64, Relaxed);
    document.into_response()
}

async fn bucket(
    State(inner): State<Arc<Inner>>,
    Path(number): Path<usize>,
    Query(given): Query<HashMap<String, String>>,
) -> Response {
    let lines = inner.buckets()[number].0.clone();
    let text = || std::str::from_utf8(&lines).expect("lines are text");
    let lines = match given.get("sub").map(String::as_str) {
        None => lines,
        Some("") => {
            let (digests, empty) = (parts(text()), Digest::of(b""));
            let all: Vec<&Digest> = (0..=u8::MAX).map(|part| digests.get(&part).unwrap_or(&empty)).collect();
            serde_json::json!({ "head": id(*inner.head.borrow()), "parts": all }).to_string().into()
        }
        Some(wanted) => only(text(), &wanted.split(',').filter_map(|part| part.parse().ok()).collect()).into(),
    };
    inner.bytes.fetch_add(lines.len() as u64, Relaxed);
    if let Some((_, last)) = inner.last.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        *last = Instant::now();
    }
    lines.into_response()
}

async fn artefact() -> Response {
    let digest = STANDARD.encode(Sha256::digest(ARTEFACT));
    Response::builder()
        .header("content-type", "application/json")
        .header("repr-digest", format!("sha-256=:{digest}:"))
        .body(Body::from(ARTEFACT))
        .expect("the headers are well formed")
}

impl Inner {
    fn buckets(&self) -> std::sync::MutexGuard<'_, Vec<(Bytes, Digest)>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlayedCenter {
    /// One whose log has one record and whose manifest has nothing.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        let buckets = vec![(Bytes::new(), Digest::of(b"")); BUCKETS];
        let inner = Arc::new(Inner {
            head: watch::Sender::new(1),
            buckets: Mutex::new(buckets),
            bytes: AtomicU64::new(0),
            last: Mutex::default(),
        });
        let api = "/api/v1/repos/golang-virtual";
        let routes = Router::new()
            .route(&format!("{api}/changes"), get(changes))
            .route(&format!("{api}/manifest"), get(manifest))
            .route(&format!("{api}/manifest/{{number}}"), get(bucket))
            .route("/api/go/golang-virtual/{*path}", get(artefact))
            .route("/healthz", get(|| async { "ok\n" }))
            .with_state(Arc::clone(&inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { inner, url }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// So many more records at once; the answer is the newest one's id.
    pub fn record(&self, count: u64) -> ChangeId {
        self.inner.head.send_modify(|head| *head += count);
        id(*self.inner.head.borrow())
    }

    /// A manifest of so many versions, of which the first `changed` of different modules are not as before.
    pub fn hold(&self, versions: usize, changed: usize) {
        let mut lines = vec![String::new(); BUCKETS];
        for number in 0..versions.div_ceil(VERSIONS_EACH) {
            let module = module(number);
            let bucket = &mut lines[usize::from(place_of(&module).0)];
            for version in 0..VERSIONS_EACH.min(versions - number * VERSIONS_EACH) {
                let other = if version == 0 && number < changed { "changed" } else { "" };
                let digest = Digest::of(format!("{module}@{version}{other}").as_bytes()).hex();
                bucket.extend(["zip ", &module, " v1.", &version.to_string(), ".0 ", &digest, "\n"]);
            }
        }
        let sealed = lines.into_iter().map(|lines| {
            let digest = Digest::of(lines.as_bytes());
            (Bytes::from(lines), digest)
        });
        *self.inner.buckets() = sealed.collect();
    }

    /// What was asked for since the last question for the manifest.
    pub fn compared(&self) -> Compared {
        let last = *self.inner.last.lock().unwrap_or_else(PoisonError::into_inner);
        let time = last.map_or(Duration::ZERO, |(first, last)| last - first);
        Compared { bytes: self.inner.bytes.load(Relaxed), time }
    }
}
