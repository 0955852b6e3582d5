//! What the tests of this room need: repositories over a temporary store, and an upstream that does as it is told.

use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Write as _};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body as HttpBody;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use shared::artefact::Artefact;
use shared::change::Change;
use shared::config::Period;
use shared::digest::Digest;
use shared::module::{ModulePath, Version};
use shared::request::{ModuleRequest, Request as Asked};
use tempfile::TempDir;

use super::*;
use crate::store::StoreConfig;
use crate::upstream::outbound::{Outbound, OutboundSettings};

/// What the upstream says to one path.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Break the connection after so many bytes of the body.
    pub(super) cut_at: Option<usize>,
    /// Say nothing for so long before the head.
    pub(super) delay: Duration,
}

impl Reply {
    pub(super) fn ok(body: impl Into<Bytes>) -> Self {
        Self { status: 200, body: body.into(), headers: Vec::new(), cut_at: None, delay: Duration::ZERO }
    }

    pub(super) fn status(status: u16, body: &str) -> Self {
        Self { status, ..Self::ok(body.to_owned()) }
    }
}

#[derive(Default)]
struct OriginState {
    replies: HashMap<String, Reply>,
    asked: Vec<String>,
    heads: Vec<(String, http::HeaderMap)>,
}

/// An upstream on a free port. What it was not told about it answers with 404.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) url: String,
    state: Arc<Mutex<OriginState>>,
}

impl Origin {
    pub(super) async fn start() -> Self {
        let state = Arc::new(Mutex::new(OriginState::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::clone(&state);
        let service = axum::Router::new().fallback(move |request: Request| answer(Arc::clone(&shared), request));
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { url, state }
    }

    pub(super) fn set(&self, path: &str, reply: Reply) {
        self.state.lock().replies.insert(format!("/{path}"), reply);
    }

    /// Serves a version with all three artefacts; returns its zip.
    pub(super) fn serve(&self, module: &str, version: &str, gomod: &str) -> Bytes {
        let zip = module_zip(module, version, gomod, b"package x\n");
        self.set(&format!("{module}/@v/{version}.info"), Reply::ok(info(version)));
        self.set(&format!("{module}/@v/{version}.mod"), Reply::ok(gomod.to_owned()));
        self.set(&format!("{module}/@v/{version}.zip"), Reply::ok(zip.clone()));
        zip
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.state.lock().asked.clone()
    }

    /// The headers of the requests for a path.
    pub(super) fn heads(&self, path: &str) -> Vec<http::HeaderMap> {
        let state = self.state.lock();
        let of_it = state.heads.iter().filter(|(asked, _)| asked.trim_start_matches('/') == path);
        of_it.map(|(_, head)| head.clone()).collect()
    }

    pub(super) fn count(&self, path: &str) -> usize {
        self.asked().iter().filter(|asked| asked.trim_start_matches('/') == path).count()
    }
}

async fn answer(state: Arc<Mutex<OriginState>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let reply = {
        let mut state = state.lock();
        state.asked.push(path.clone());
        state.heads.push((path.clone(), request.headers().clone()));
        state.replies.get(&path).cloned()
    };
    let reply = reply.unwrap_or_else(|| Reply::status(404, "not found: no such thing"));
    tokio::time::sleep(reply.delay).await;
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
        let condition = request.headers().get("if-none-match").and_then(|value| value.to_str().ok());
        if *name == "etag" && condition == Some(value) {
            return Response::builder().status(StatusCode::NOT_MODIFIED).body(HttpBody::empty()).unwrap();
        }
    }
    let Some(cut_at) = reply.cut_at else {
        return response.body(HttpBody::from(reply.body)).unwrap();
    };
    let head = reply.body.slice(..cut_at);
    let parts = vec![Ok(head), Err(std::io::Error::other("cut"))];
    let body = HttpBody::from_stream(futures_util::stream::iter(parts));
    response.header("content-length", reply.body.len()).body(body).unwrap()
}

/// A checksum database that says what it is told.
#[derive(Default)]
pub(super) struct ToldVerifier(pub(super) Mutex<Option<VerifyError>>);

#[async_trait]
impl Verifier for ToldVerifier {
    async fn check(&self, _: &ModulePath, _: &Version, _: Proof<'_>) -> Result<Verdict, VerifyError> {
        self.0.lock().clone().map_or(Ok(Verdict::Verified), Err)
    }

    async fn is_away(&self, _: &ModulePath, _: &Version) -> bool {
        false
    }
}

/// Repositories `local`, `remote` (and `second`), merged as `virtual`.
pub(super) struct Setup {
    pub(super) repositories: Repositories,
    pub(super) store: Store,
    pub(super) verifier: Arc<ToldVerifier>,
    pub(super) directory: TempDir,
}

pub(super) type Settings = BTreeMap<String, RepositorySettings>;

/// The settings with each remote repository's upstream; metadata counts for `period`.
pub(super) fn settings(upstreams: &[(&str, &str)], period: Period) -> Settings {
    let mut settings = Settings::new();
    let mut members = vec!["local".to_owned()];
    settings.insert("local".to_owned(), RepositorySettings::default());
    for (name, upstream) in upstreams {
        let remote = RepositorySettings {
            kind: RepositoryKind::Remote,
            upstream: Some((*upstream).to_owned()),
            metadata_period: period,
            connect_timeout: Period::secs(5),
            first_byte_timeout: Period::secs(5),
            ..RepositorySettings::default()
        };
        settings.insert((*name).to_owned(), remote);
        members.push((*name).to_owned());
    }
    let merged = RepositorySettings {
        kind: RepositoryKind::Virtual,
        members,
        default_deployment: Some("local".to_owned()),
        ..RepositorySettings::default()
    };
    settings.insert("virtual".to_owned(), merged);
    settings
}

impl Setup {
    pub(super) async fn new(settings: &Settings) -> Self {
        Self::with(settings, &OutboundSettings::default()).await
    }

    pub(super) async fn with(settings: &Settings, outbound: &OutboundSettings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::new(directory.path().join("data"))).unwrap();
        let verifier = Arc::new(ToldVerifier::default());
        let via = HeaderValue::from_static("1.1 test");
        let outbound = Arc::new(Outbound::read(outbound).unwrap());
        let repositories = Repositories::build(
            settings,
            &store,
            verifier.clone(),
            &via,
            &outbound,
            &crate::egress::EgressSettings::default(),
            None,
        )
        .await
        .unwrap();
        Self { repositories, store, verifier, directory }
    }

    /// The same store under other settings.
    pub(super) async fn again(self, settings: &Settings) -> Self {
        let via = HeaderValue::from_static("1.1 test");
        let (verifier, before) = (self.verifier.clone(), Some(&self.repositories));
        let built = Repositories::build(
            settings,
            &self.store,
            verifier,
            &via,
            &Arc::default(),
            &crate::egress::EgressSettings::default(),
            before,
        )
        .await;
        let repositories = built.unwrap();
        Self { repositories, ..self }
    }

    /// With one remote repository that asks again after a minute.
    pub(super) async fn over(origin: &Origin) -> Self {
        Self::new(&settings(&[("remote", &origin.url)], Period::secs(60))).await
    }

    pub(super) fn repository(&self, name: &str) -> &Arc<Repository> {
        self.repositories.get(name).unwrap()
    }

    pub(super) async fn fetch(&self, repository: &str, path: &str) -> Result<Answer, RepoError> {
        self.repository(repository).fetch(&asked(path), &FetchOptions::default()).await
    }

    /// The whole body; an error also if it breaks off.
    pub(super) async fn get(&self, repository: &str, path: &str) -> Result<Bytes, RepoError> {
        let answer = self.fetch(repository, path).await?;
        let Body::Filling(fill) = &answer.body else {
            return answer.bytes(&self.store).await;
        };
        let mut reader = fill.reader();
        let mut body = Vec::new();
        while let Some(part) = reader.next().await? {
            body.extend_from_slice(&part);
        }
        Ok(body.into())
    }

    pub(super) async fn text(&self, repository: &str, path: &str) -> String {
        String::from_utf8(self.get(repository, path).await.unwrap().to_vec()).unwrap()
    }

    pub(super) async fn publish(&self, module: &str, version: &str, zip: &Bytes) -> Result<Published, RepoError> {
        self.publish_to(self.repository("virtual"), module, version, zip).await
    }

    pub(super) async fn publish_to(
        &self,
        to: &Repository,
        module: &str,
        version: &str,
        zip: &Bytes,
    ) -> Result<Published, RepoError> {
        let module = ModulePath::new(module).unwrap();
        let version = Version::new(&module, version).unwrap();
        let file = tempfile::NamedTempFile::new_in(self.store.spool_dir()).unwrap();
        std::fs::write(file.path(), zip).unwrap();
        let path = file.path().to_owned();
        let upload = Upload { path, len: zip.len() as u64, sha256: Digest::of(zip) };
        to.publish(&module, &version, upload, None, Claiming::Allowed).await
    }

    pub(super) async fn changes(&self, repository: &str) -> Vec<Change> {
        let log = self.store.change_log(repository).unwrap();
        log.read_after(shared::change::ChangeId::ZERO, 1000).await.unwrap()
    }

    /// The lines of all buckets of a manifest, each of which has its digest.
    pub(super) async fn manifest_lines(&self, repository: &str) -> String {
        let repository = self.repository(repository);
        let manifest = repository.manifest().await.unwrap();
        let mut lines = String::new();
        for number in 0..=u8::MAX {
            let bucket = repository.manifest_bucket(number).await.unwrap();
            assert_eq!(manifest.buckets[usize::from(number)], Digest::of(bucket.as_bytes()), "bucket {number}");
            lines.push_str(&bucket);
        }
        lines
    }

    /// Removes every body that is a file.
    pub(super) fn lose_blobs(&self) {
        let blobs = self.directory.path().join("data/blobs");
        std::fs::remove_dir_all(&blobs).unwrap();
        std::fs::create_dir(&blobs).unwrap();
    }

    /// How many blobs and temporary files there are.
    pub(super) fn files(&self) -> usize {
        fn count(path: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
            entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
        }
        let data = self.directory.path().join("data");
        count(&data.join("blobs")) + count(&data.join("spool"))
    }
}

pub(super) fn asked(path: &str) -> ModuleRequest {
    match Asked::parse(path).unwrap() {
        Asked::Module(request) => request,
        Asked::Sumdb(_) => panic!("{path} is no module's"),
    }
}

pub(super) fn target(module: &str, version: &str) -> (ModulePath, Version) {
    let request = asked(&format!("{module}/@v/{version}.info"));
    let Artefact::Info(version) = request.artefact else { panic!("{version} is not canonical") };
    (request.module, version)
}

pub(super) fn info(version: &str) -> String {
    format!("{{\"Version\":\"{version}\",\"Time\":\"2020-01-01T00:00:00Z\",\"Origin\":{{\"VCS\":\"git\"}}}}")
}

/// A module zip with one file beside its go.mod (none if that is empty).
pub(super) fn module_zip(module: &str, version: &str, gomod: &str, content: &[u8]) -> Bytes {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut add = |name: &str, content: &[u8]| {
        zip.start_file(format!("{module}@{version}/{name}"), options).unwrap();
        zip.write_all(content).unwrap();
    };
    if !gomod.is_empty() {
        add("go.mod", gomod.as_bytes());
    }
    add("x.go", content);
    zip.finish().unwrap().into_inner().into()
}

/// Bytes that look like nothing in particular.
pub(super) fn filler(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 7 + at / 251) % 251).unwrap()).collect()
}
