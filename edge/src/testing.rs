//! For tests: an edge on free ports, and a center that answers by script and remembers what it was asked.

mod reply;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::StreamBody;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::Notify;

use self::reply::frames;
pub(crate) use self::reply::{Ending, Proof, Reply};
use crate::config::Config;
use crate::server::Entrance;
use crate::start::{Edge, Origin};

/// Waits until something holds, and says what if it does not come to hold.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[derive(Debug, Default)]
struct Script {
    /// By path; the first is for the next GET, and the last one stays.
    replies: Mutex<HashMap<String, VecDeque<Reply>>>,
    asked: Mutex<Vec<(Method, String, HeaderMap)>>,
    /// While set, bodies wait for it before their last byte.
    gate: Mutex<Option<Arc<Notify>>>,
    pace: Mutex<Pace>,
}

/// How fast a center answers, `/healthz` too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At once.
    #[default]
    AtOnce,
    /// After this time.
    After(Duration),
    /// Never: it takes the request, and that is all.
    Never,
    /// Not at all: it breaks the connection.
    Breaking,
}

/// The scripted center.
pub(crate) struct Center {
    script: Arc<Script>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Center {
    /// Starts one on a free port of the current runtime.
    pub(crate) async fn start() -> Self {
        Self::with(Arc::default()).await
    }

    /// Another one with the same script: which of the two is asked first makes no difference.
    pub(crate) async fn twin(&self) -> Self {
        Self::with(Arc::clone(&self.script)).await
    }

    async fn with(script: Arc<Script>) -> Self {
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { script, address }
    }

    /// One that is not there: nobody listens at its address.
    pub(crate) fn absent() -> Self {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self { script: Arc::default(), address: unused.local_addr().unwrap() }
    }

    /// What it answers to `path` (below the repository) from now on.
    pub(crate) fn reply(&self, path: &str, reply: Reply) {
        self.reply_in_turn(path, [reply]);
    }

    /// What it answers to the next GETs of `path`, one after the other; the last one from then on.
    pub(crate) fn reply_in_turn(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let path = format!("/api/go/golang-virtual/{path}");
        self.script.replies.lock().insert(path, replies.into_iter().collect());
    }

    /// What it answers to `path` of its administration, with any query or with the one that it has.
    pub(crate) fn reply_api(&self, path: &str, bytes: String) {
        self.script_api(path, Reply::right(bytes, Proof::Header));
    }

    /// It refuses `path` of its administration.
    pub(crate) fn refuse_api(&self, path: &str, status: u16, line: &'static str) {
        self.script_api(path, Reply::Refusal(status, line));
    }

    fn script_api(&self, path: &str, reply: Reply) {
        self.script.replies.lock().insert(format!("/api/v1/repos/golang-virtual/{path}"), [reply].into());
    }

    /// How fast it answers from now on.
    pub(crate) fn pace(&self, pace: Pace) {
        *self.script.pace.lock() = pace;
    }

    /// How often it was asked for anything of a module, by any method.
    pub(crate) fn asked(&self) -> usize {
        self.script.asked.lock().iter().filter(|(_, path, _)| path.starts_with("/api/go/")).count()
    }

    /// How often it was probed.
    pub(crate) fn probes(&self) -> usize {
        self.script.asked.lock().iter().filter(|(_, path, _)| path == "/healthz").count()
    }

    /// How often artefacts below `path` were asked for by GET.
    pub(crate) fn gets(&self, path: &str) -> usize {
        let whole = format!("/api/go/golang-virtual/{path}");
        self.script.asked.lock().iter().filter(|(method, asked, _)| *method == Method::GET && *asked == whole).count()
    }

    /// The headers of the last request for `path`.
    pub(crate) fn last_headers(&self, path: &str) -> HeaderMap {
        let whole = format!("/api/go/golang-virtual/{path}");
        let asked = self.script.asked.lock();
        asked.iter().rev().find(|(_, asked, _)| *asked == whole).unwrap().2.clone()
    }

    /// The headers of the last request for `path` of its administration, if there was one.
    pub(crate) fn last_api_headers(&self, path: &str) -> Option<HeaderMap> {
        let whole = format!("/api/v1/repos/golang-virtual/{path}");
        let asked = self.script.asked.lock();
        asked.iter().rev().find(|(_, asked, _)| *asked == whole).map(|(_, _, headers)| headers.clone())
    }

    /// How often `path` of its administration was asked for.
    pub(crate) fn api_gets(&self, path: &str) -> usize {
        let whole = format!("/api/v1/repos/golang-virtual/{path}");
        self.script.asked.lock().iter().filter(|(_, asked, _)| *asked == whole).count()
    }

    /// Bodies wait from now on before their last byte, until the answer is notified.
    pub(crate) fn hold(&self) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        *self.script.gate.lock() = Some(Arc::clone(&gate));
        gate
    }

    /// Bodies no longer wait.
    pub(crate) fn release(&self, gate: &Notify) {
        *self.script.gate.lock() = None;
        gate.notify_waiters();
        gate.notify_one();
    }
}

impl Script {
    /// What is next for a path. HEAD takes nothing away.
    fn next(&self, path: &str, method: &Method) -> Option<Reply> {
        let mut replies = self.replies.lock();
        let replies = replies.get_mut(path)?;
        if replies.len() > 1 && method == Method::GET { replies.pop_front() } else { replies.front().cloned() }
    }
}

async fn answer(State(script): State<Arc<Script>>, request: Request) -> Response {
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let with_query = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let headers = request.headers().clone();
    let asked = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    script.asked.lock().push((method.clone(), path.clone(), headers.clone()));
    let pace = *script.pace.lock();
    match pace {
        Pace::AtOnce => {}
        Pace::After(delay) => tokio::time::sleep(delay).await,
        Pace::Never => std::future::pending().await,
        Pace::Breaking => std::panic::resume_unwind(Box::new("the script breaks the connection")),
    }
    let (bytes, digest, proof, ending, ranges) =
        match script.next(&with_query, &method).or_else(|| script.next(&path, &method)) {
            None if path.contains("/changes") => return plain(503, "unavailable: no feed in this test"),
            None => return plain(404, "not found: no such artefact (request 0123456789abcdef)"),
            Some(Reply::Refusal(status, line)) => return plain(status, line),
            Some(Reply::Beyond(status, said)) => {
                let mut response = plain(status, "unavailable: the upstream has trouble");
                response.headers_mut().insert("proxy-status", header::HeaderValue::from_static(said));
                return response;
            }
            Some(Reply::Busy(seconds)) => {
                let mut response = plain(429, "unavailable: too much to do");
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
                return response;
            }
            Some(Reply::Body { bytes, digest, proof, ending, ranges }) => (bytes, digest, proof, ending, ranges),
        };
    let mut response = Response::builder().header("x-change-id", "7-7");
    if asked(header::IF_NONE_MATCH).is_some_and(|tag| tag == digest.etag()) {
        return response.status(304).body(Body::empty()).unwrap();
    }
    let range = asked(header::RANGE).filter(|_| ranges);
    if range.is_some() && asked(header::IF_MATCH).is_some_and(|tag| tag != digest.etag()) {
        return plain(412, "precondition failed: other bytes");
    }
    // HEAD and parts are answered from what is complete, so its digest is known up front.
    let is_head = method == Method::HEAD;
    let is_known = proof == Proof::Header || (proof == Proof::Trailer && (range.is_some() || is_head));
    if is_known || (proof == Proof::Head && is_head) {
        response = response.header("repr-digest", digest.repr_digest());
    }
    if is_head {
        return response.body(Body::empty()).unwrap();
    }
    let mut from = 0;
    if let Some(range) = range {
        from = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
        let last = bytes.len() - 1;
        response = response.status(206).header(header::CONTENT_RANGE, format!("bytes {from}-{last}/{}", bytes.len()));
    }
    match proof {
        Proof::Header => response = response.header(header::CONTENT_LENGTH, bytes.len() - from),
        Proof::Trailer => response = response.header(header::TRAILER, "repr-digest"),
        Proof::Head | Proof::Nowhere => {}
    }
    let trailer = (proof == Proof::Trailer).then_some(digest);
    let gate = script.gate.lock().clone();
    response.body(Body::new(StreamBody::new(frames(&bytes, from, ending, trailer, gate)))).unwrap()
}

fn plain(status: u16, line: &'static str) -> Response {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .body(Body::from(line))
        .unwrap()
}

/// An edge in a directory of its own.
pub(crate) struct TestEdge {
    edge: Option<Edge>,
    /// The client that talks to it.
    pub(crate) client: reqwest::Client,
    _dir: Option<TempDir>,
}

impl TestEdge {
    /// Starts one that fetches from `center`.
    pub(crate) fn start(center: &Center, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_from(center, Origin::default(), change)
    }

    /// As [`TestEdge::start`], with where its settings came from and whose place it takes.
    pub(crate) fn start_from(center: &Center, origin: Origin, change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config {
            listen: "127.0.0.1:0".into(),
            admin: "127.0.0.1:0".into(),
            data_dir: dir.path().to_owned(),
            centers: vec![format!("http://{}", center.address)],
            edge_id: "test-edge".into(),
            ..Config::default()
        };
        change(&mut config);
        let client = shared::client::http_client(shared::client::ClientOptions::default()).unwrap();
        Self { edge: Some(Edge::start_from(config, origin).unwrap()), client, _dir: Some(dir) }
    }

    /// Begins to stop it, as SIGTERM does.
    pub(crate) fn stop_in_background(&mut self) -> std::thread::JoinHandle<()> {
        let edge = self.edge.take().unwrap();
        std::thread::spawn(move || edge.stop())
    }

    /// The running edge.
    pub(crate) fn edge(&self) -> &Edge {
        self.edge.as_ref().unwrap()
    }

    /// Where the service listens without TLS.
    pub(crate) fn service(&self) -> SocketAddr {
        self.edge().address(Entrance::Plain).unwrap()
    }

    /// A URL of the service.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.service())
    }

    /// A URL of the administration.
    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.edge().admin)
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Answered {
        Answered::of(self.client.get(self.url(path)).send().await.unwrap()).await
    }

    /// GET with a header.
    pub(crate) async fn get_with(&self, path: &str, name: &str, value: &str) -> Answered {
        Answered::of(self.client.get(self.url(path)).header(name, value).send().await.unwrap()).await
    }
}

impl Drop for TestEdge {
    fn drop(&mut self) {
        // Stopping joins threads and ends a runtime, which must not be done on a runtime's own thread.
        if let Some(edge) = self.edge.take() {
            let stopped = std::thread::spawn(move || edge.stop()).join();
            assert!(stopped.is_ok() || std::thread::panicking(), "stopping the edge panicked");
        }
    }
}

/// A response that was read to its end, or broke off.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body, if it ended cleanly.
    pub(crate) body: Result<Bytes, String>,
}

impl Answered {
    /// Reads the response.
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.map_err(|error| error.to_string()) }
    }

    /// A header's text; empty when it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// `X-Cache`.
    pub(crate) fn x_cache(&self) -> &str {
        self.header("x-cache")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.as_ref().unwrap().to_vec()).unwrap()
    }
}
