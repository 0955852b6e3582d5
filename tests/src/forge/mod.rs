//! A host of version control inside the test: git over https with a test authority and credentials (`git http-backend`), the
//! pages by which `go` discovers repositories; a real sshd ([`Sshd`]) and a real Apache ([`Apache`]) beside it.

mod apache;
mod backend;
mod repository;
mod sshd;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub use self::apache::{Apache, REALM, USER};
pub use self::repository::{GitRepository, command};
pub use self::sshd::Sshd;
use crate::Authority;

/// The password that the forge takes, with any user's name.
pub const PASSWORD: &str = "correct-horse-battery";

/// The running server; it ends when dropped.
#[derive(Debug)]
pub struct Forge {
    address: SocketAddr,
    authority: Authority,
    folder: TempDir,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Import path to `<vcs> <repository URL>`.
    imports: HashMap<String, String>,
    delay: Duration,
    asked: Vec<String>,
}

impl Forge {
    /// Starts one with a certificate for these names. Its repositories are served at `https://<name>/<path>`.
    ///
    /// # Panics
    /// When no port is free, or openssl is missing.
    pub async fn start(names: &[&str]) -> Self {
        let authority = Authority::naming(names);
        let folder = tempfile::Builder::new().prefix("modtier-forge-").tempdir().expect("a folder can be made");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state: Arc<Mutex<State>> = Arc::default();
        let (served, root) = (Arc::clone(&state), folder.path().to_owned());
        let service = axum::Router::new().fallback(move |request: Request| {
            let (state, root) = (Arc::clone(&served), root.clone());
            async move { answer(&state, &root, request).await }
        });
        let listener = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(authority.server_config())) };
        let accepting = tokio::spawn(async move {
            let _ = axum::serve(listener, service).await;
        });
        Self { address, authority, folder, state, accepting }
    }

    /// `address:port`, where its names are to be found.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its clients must trust.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The folder of the repositories.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// A new, empty git repository at this path, to be filled.
    pub fn repository(&self, path: &str) -> GitRepository {
        GitRepository::new(&self.root().join(path))
    }

    /// Says where the module of an import path, and all below it, is: what a vanity host's page says.
    pub fn import(&self, path: &str, vcs: &str, url: &str) {
        self.state().imports.insert(path.to_owned(), format!("{path} {vcs} {url}"));
    }

    /// How long it thinks before each answer about a repository.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// The paths of all requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(state: &Mutex<State>, root: &Path, request: Request) -> Response {
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let path = request.uri().path().to_owned();
    let (import, delay) = {
        let mut state = lock(state);
        state.asked.push(format!("{host}{path}"));
        let place = format!("{host}{path}");
        let import = state.imports.iter().find(|(prefix, _)| {
            place.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        (import.map(|(_, import)| import.clone()), state.delay)
    };
    if request.uri().query().is_some_and(|query| query.contains("go-get=1")) {
        let tag = import.map(|import| format!("<meta name=\"go-import\" content=\"{import}\">")).unwrap_or_default();
        let mut page = Response::new(Body::from(format!("<html><head>{tag}</head></html>")));
        page.headers_mut().insert("content-type", http::HeaderValue::from_static("text/html"));
        return page;
    }
    if !is_known(&request) {
        let mut refusal = Response::new(Body::from("who are you?"));
        *refusal.status_mut() = StatusCode::UNAUTHORIZED;
        let realm = http::HeaderValue::from_static("Basic realm=\"forge\"");
        refusal.headers_mut().insert(WWW_AUTHENTICATE, realm);
        return refusal;
    }
    tokio::time::sleep(delay).await;
    backend::answer(root, request).await
}

fn is_known(request: &Request) -> bool {
    let stated = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let decoded = stated.and_then(|text| text.strip_prefix("Basic ")).and_then(|text| STANDARD.decode(text).ok());
    decoded.is_some_and(|text| text.ends_with(format!(":{PASSWORD}").as_bytes()))
}

/// A listener that speaks TLS.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, peer)) = self.listener.accept().await else { continue };
            // A client that does not trust us ends the handshake; the next one may.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A file of the test's, readable by its owner alone.
pub(crate) fn write_private(path: &Path, content: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content.as_bytes())).expect("the test's folder is writable");
}

/// The first of these programs that there is.
pub(crate) fn program(candidates: &[&str]) -> PathBuf {
    let found = candidates.iter().map(PathBuf::from).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("none of {candidates:?} is installed: run deploy/prerequisites.sh test"))
}
