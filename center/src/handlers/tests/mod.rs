//! The router as clients see it, on real repositories over a real (scripted) upstream.

mod deploying;
mod feed;
mod finding;
mod publishing;
mod reading;
mod sumdb;
mod tokens;
mod upkeep;
mod wire;

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use shared::access::{AccessConfig, Grant, TokenEntry, TokenFile, generate};
use tokio::sync::watch;

use crate::app::App;
use crate::config::Config;
use crate::router::Routes;

/// A center without a listener.
pub(super) struct Center {
    pub(super) app: Arc<App>,
    routes: Routes,
    config: Config,
    /// `Bearer …` with write and delete.
    pub(super) token: String,
    /// `Bearer …` with read alone.
    pub(super) reader: String,
    /// `Bearer …` with annotate and admin.
    pub(super) admin: String,
    _directory: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// Whether the body ended with an error.
    pub(super) broken: bool,
    pub(super) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Center {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn over(upstream: &str) -> Self {
        Self::with(|config| set_upstream(config, upstream)).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let tokens = directory.path().join("tokens.yaml");
        let add = |name: &str, grants: &[Grant]| {
            let token = generate().unwrap();
            let (grants, repositories) = (grants.to_vec(), vec![]);
            let entry = TokenEntry { name: name.into(), sha256: token.hashed, grants, repositories };
            TokenFile::append(&tokens, entry).unwrap();
            format!("Bearer {}", token.plain)
        };
        let (token, reader) = (add("ci", &[Grant::Write, Grant::Delete]), add("reader", &[Grant::Read]));
        let admin = add("admin", &[Grant::Annotate, Grant::Admin]);
        let mut config = Config {
            data_dir: directory.path().join("data"),
            access: AccessConfig { tokens_file: Some(tokens), ..AccessConfig::default() },
            ..Config::default()
        };
        config.sumdb.names.clear();
        change(&mut config);
        config.check().unwrap();
        let app = App::build(&config, false).await.unwrap();
        Self { routes: Routes::new(&app), app, config, token, reader, admin, _directory: directory }
    }

    /// The same center under other settings.
    pub(super) async fn again(self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.config.clone();
        change(&mut config);
        let app = self.app.rebuild(&config).await.unwrap();
        Self { routes: Routes::new(&app), app, config, ..self }
    }

    pub(super) async fn respond(&self, request: Request<Body>) -> Response {
        self.routes.answer(request).await
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let (head, mut body) = self.respond(request).await.into_parts();
        let mut answer =
            Answer { status: head.status, headers: head.headers, body: Bytes::new(), broken: false, trailers: None };
        let mut collected = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => collected.extend_from_slice(&data),
                Ok(Err(frame)) => answer.trailers = frame.into_trailers().ok(),
                Err(_) => {
                    answer.broken = true;
                    break;
                }
            }
        }
        answer.body = collected.into();
        answer
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub(super) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request(Method::GET, path, headers, Body::empty())).await
    }

    /// PUT as the writer.
    pub(super) async fn put(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(request(Method::PUT, path, &[("authorization", &self.token)], body.into())).await
    }

    /// Publishes a small module.
    pub(super) async fn publish(&self, module: &str, version: &str) -> Answer {
        let zip = module_zip(module, version, b"package a\n");
        self.put(&format!("/api/go/golang-local/{module}/@v/{version}.zip"), zip).await
    }
}

pub(super) fn set_upstream(config: &mut Config, upstream: &str) {
    config.repositories.get_mut("golang-remote").unwrap().upstream = Some(upstream.to_owned());
}

pub(super) fn request(method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// A module zip with a go.mod and one file of these bytes.
pub(super) fn module_zip(module: &str, version: &str, content: &[u8]) -> Bytes {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in [("go.mod", format!("module {module}\n").as_bytes()), ("a.go", content)] {
        zip.start_file(format!("{module}@{version}/{name}"), options).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner().into()
}

/// Bytes that do not compress and differ everywhere.
pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}

/// An upstream that answers from a table.
pub(super) struct Upstream {
    pub(super) url: String,
    state: Arc<UpstreamState>,
}

#[derive(Default)]
struct UpstreamState {
    answers: Mutex<HashMap<String, (StatusCode, Bytes)>>,
    asked: Mutex<Vec<(String, HeaderMap)>>,
    /// Bodies are sent up to this many bytes; the rest follows when the gate opens.
    gate: Mutex<Option<(usize, watch::Receiver<bool>)>>,
}

impl Upstream {
    pub(super) async fn new() -> Self {
        let state = Arc::new(UpstreamState::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, state }
    }

    pub(super) fn set(&self, path: &str, status: StatusCode, body: impl Into<Bytes>) {
        self.state.answers.lock().insert(path.to_owned(), (status, body.into()));
    }

    /// Serves one version of a module.
    pub(super) fn module(&self, module: &str, version: &str, zip: &Bytes) {
        let ok = StatusCode::OK;
        self.set(&format!("{module}/@v/list"), ok, format!("{version}\n"));
        let info = format!("{{\"Version\":\"{version}\",\"Time\":\"2024-01-01T00:00:00Z\"}}");
        self.set(&format!("{module}/@v/{version}.info"), ok, info);
        self.set(&format!("{module}/@v/{version}.mod"), ok, format!("module {module}\n"));
        self.set(&format!("{module}/@v/{version}.zip"), ok, zip.clone());
    }

    /// Holds bodies back after `bytes` until the sender says true.
    pub(super) fn hold_after(&self, bytes: usize) -> watch::Sender<bool> {
        let (open, gate) = watch::channel(false);
        *self.state.gate.lock() = Some((bytes, gate));
        open
    }

    pub(super) fn asked(&self, path: &str) -> usize {
        self.state.asked.lock().iter().filter(|(asked, _)| asked == path).count()
    }

    pub(super) fn asked_at_all(&self) -> Vec<String> {
        self.state.asked.lock().iter().map(|(path, _)| path.clone()).collect()
    }

    /// The headers of the last request.
    pub(super) fn last_headers(&self) -> HeaderMap {
        self.state.asked.lock().last().map(|(_, headers)| headers.clone()).unwrap_or_default()
    }
}

async fn answer(State(state): State<Arc<UpstreamState>>, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/').to_owned();
    state.asked.lock().push((path.clone(), headers));
    let found = state.answers.lock().get(&path).cloned();
    let Some((status, body)) = found else { return (StatusCode::NOT_FOUND, "not found\n").into_response() };
    let gate = state.gate.lock().clone();
    match gate {
        Some((bytes, mut gate)) if body.len() > bytes => {
            let (first, rest) = (body.slice(..bytes), body.slice(bytes..));
            let rest = async move {
                let _ = gate.wait_for(|open| *open).await;
                Ok::<_, std::io::Error>(rest)
            };
            let parts = futures_util::stream::once(async { Ok(first) });
            let stream = futures_util::StreamExt::chain(parts, futures_util::stream::once(rest));
            (status, [("content-length", body.len().to_string())], Body::from_stream(stream)).into_response()
        }
        Some(_) | None => (status, body).into_response(),
    }
}
