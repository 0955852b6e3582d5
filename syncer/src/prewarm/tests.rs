//! Warming through a small edge that can be told to fail.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use shared::go_sum::Entry;
use shared::module::h1::{hash1, hash1_gomod};

use super::wanted::{Cause, CauseKind, Key, Parts, Wanted};
use super::*;

/// What the edge holds, and how often each path is to fail first.
#[derive(Default)]
struct Edge {
    bodies: HashMap<String, Vec<u8>>,
    failures: HashMap<String, u32>,
    seen: HashMap<String, u32>,
}

type Shared = Arc<Mutex<Edge>>;

async fn serve(State(edge): State<Shared>, uri: Uri) -> Response {
    let mut edge = edge.lock();
    let path = uri.path().to_owned();
    let seen = *edge.seen.entry(path.clone()).and_modify(|count| *count += 1).or_insert(1);
    if let Some(left) = edge.failures.get_mut(&path).filter(|left| **left > 0) {
        *left -= 1;
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], "unavailable: later\n").into_response();
    }
    match edge.bodies.get(&path) {
        Some(body) => ([("x-cache", if seen == 1 { "MISS" } else { "HIT" })], body.clone()).into_response(),
        None => (StatusCode::NOT_FOUND, "not found: nothing here\n").into_response(),
    }
}

struct Fixture {
    edge: Shared,
    config: Config,
    folder: tempfile::TempDir,
    go_sum: PathBuf,
}

const GOMOD: &[u8] = b"module example.com/Capital\n";
const BASE: &str = "/example.com/!capital/@v/v1.0.0";

impl Fixture {
    async fn new() -> Self {
        let (zip, h1) = module_zip();
        let edge = Shared::default();
        edge.lock().bodies = HashMap::from([
            (format!("{BASE}.info"), br#"{"Version":"v1.0.0"}"#.to_vec()),
            (format!("{BASE}.mod"), GOMOD.to_vec()),
            (format!("{BASE}.zip"), zip),
        ]);
        let routes = Router::new().fallback(serve).with_state(Arc::clone(&edge));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let goproxy = vec![format!("http://{}", listener.local_addr().unwrap())];
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let folder = tempfile::tempdir().unwrap();
        let go_sum = folder.path().join("go.sum");
        let text =
            format!("example.com/Capital v1.0.0 {h1}\nexample.com/Capital v1.0.0/go.mod {}\n", hash1_gomod(GOMOD));
        std::fs::write(&go_sum, text).unwrap();
        Self { edge, config: Config { goproxy, ..Config::default() }, folder, go_sum }
    }

    async fn warm(&self) -> String {
        let text = std::fs::read_to_string(&self.go_sum).unwrap();
        let entries = shared::go_sum::parse(&text).unwrap();
        let keyed = |entry: Entry| (Key { module: entry.module.clone(), version: entry.version.clone() }, entry);
        let sums = Arc::new(entries.into_iter().map(keyed).collect::<std::collections::HashMap<_, _>>());
        let edge = goproxies(&self.config, &client().unwrap(), &sums).remove(0);
        let settings = PrewarmSettings { tries_max: 1, ..PrewarmSettings::default() };
        let queue = Queue::in_memory(std::slice::from_ref(&edge.name), &settings, PrewarmMetrics::new());
        let cause = Cause::new(CauseKind::Project, "go.sum");
        let want = |key: &Key| Wanted { key: key.clone(), parts: Parts::ALL, cause: cause.clone(), anew: false };
        queue.want(sums.keys().map(want).collect()).await;
        caller::serve(&queue, &edge, true).await;
        queue.summary().await.to_string()
    }
}

/// A zip of one go.mod, stored without compression, written by hand: its bytes and its `h1:`.
fn module_zip() -> (Vec<u8>, String) {
    use sha2::Digest as _;
    let name = "example.com/Capital@v1.0.0/go.mod";
    let crc = crc32(GOMOD);
    let size = u32::try_from(GOMOD.len()).unwrap();
    let common = |out: &mut Vec<u8>| {
        out.extend([20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
        out.extend(crc.to_le_bytes());
        out.extend(size.to_le_bytes());
        out.extend(size.to_le_bytes());
        out.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        out.extend([0, 0]);
    };
    let mut zip = b"PK\x03\x04".to_vec();
    common(&mut zip);
    zip.extend(name.as_bytes());
    zip.extend(GOMOD);
    let directory = u32::try_from(zip.len()).unwrap();
    zip.extend(b"PK\x01\x02\x14\x00");
    common(&mut zip);
    zip.extend([0; 14]);
    zip.extend(name.as_bytes());
    let len = u32::try_from(zip.len()).unwrap() - directory;
    zip.extend(b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00");
    zip.extend(len.to_le_bytes());
    zip.extend(directory.to_le_bytes());
    zip.extend([0, 0]);
    let h1 = hash1([(name, sha2::Sha256::digest(GOMOD).into())]);
    (zip, h1)
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

#[tokio::test]
async fn everything_is_fetched_proven_and_warm_the_second_time() {
    let fixture = Fixture::new().await;
    assert!(fixture.warm().await.starts_with("3 warmed, 0 already warm, 0 failed"));
    let again = fixture.warm().await;
    assert!(again.starts_with("0 warmed, 3 already warm, 0 failed"), "{again}");
    assert_eq!(run(&fixture.config, &fixture.go_sum).await.unwrap(), 0);
}

#[tokio::test]
async fn an_outage_is_tried_again_and_a_404_is_not() {
    let fixture = Fixture::new().await;
    fixture.edge.lock().failures.insert(format!("{BASE}.mod"), 2);
    fixture.edge.lock().bodies.remove(&format!("{BASE}.info"));
    let summary = fixture.warm().await;
    assert!(summary.contains(" 1 failed"), "{summary}");
    assert_eq!(fixture.edge.lock().seen[&format!("{BASE}.mod")], 3);
    assert_eq!(fixture.edge.lock().seen[&format!("{BASE}.info")], 1);
}

#[tokio::test]
async fn wrong_bytes_are_failures() {
    for (extension, body) in
        [("info", &br#"{"Version":"v1.0.1"}"#[..]), ("mod", b"module other\n"), ("zip", b"not a zip")]
    {
        let fixture = Fixture::new().await;
        fixture.edge.lock().bodies.insert(format!("{BASE}.{extension}"), body.to_vec());
        let summary = fixture.warm().await;
        assert!(summary.contains("2 warmed, 0 already warm, 1 failed"), "{extension}: {summary}");
    }
    // A well-formed zip with another hash than the go.sum's.
    let fixture = Fixture::new().await;
    let text = std::fs::read_to_string(&fixture.go_sum).unwrap();
    let other = text.replacen("v1.0.0 h1:", "v1.0.0 h1:AAAA", 1);
    let start = other.find("h1:AAAA").unwrap() + 7;
    let cut = format!("{}{}", &other[..start], &other[start + 4..]);
    std::fs::write(&fixture.go_sum, cut).unwrap();
    assert!(fixture.warm().await.contains("2 warmed, 0 already warm, 1 failed"));
}

#[tokio::test]
async fn an_edge_that_is_not_there_is_given_up() {
    let mut fixture = Fixture::new().await;
    // Port 1 on the loopback is closed everywhere.
    fixture.config.goproxy = vec!["http://127.0.0.1:1".into()];
    assert_eq!(run(&fixture.config, &fixture.go_sum).await.unwrap(), 2);
}

#[tokio::test]
async fn bad_input_is_refused_before_anything_is_asked() {
    let fixture = Fixture::new().await;
    let file = fixture.folder.path().join("other.sum");
    let missing = run(&fixture.config, &file).await.unwrap_err().to_string();
    assert!(missing.contains("other.sum"), "{missing}");
    std::fs::write(&file, "\n").unwrap();
    assert!(matches!(run(&fixture.config, &file).await, Err(PrewarmError::Empty(_))));
    std::fs::write(&file, "a b\n").unwrap();
    let broken = run(&fixture.config, &file).await.unwrap_err().to_string();
    assert!(broken.contains("other.sum:1: "), "{broken}");
    assert!(fixture.edge.lock().seen.is_empty());
}
