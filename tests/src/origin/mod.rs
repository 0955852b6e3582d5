//! A GOPROXY server inside the test: it serves modules built in the test, remembers every request, and misbehaves on command.
//!
//! It speaks HTTP/1.1 by itself instead of through a framework, because its whole purpose is to send what a framework would
//! not let it send: half a body, a body longer or shorter than announced, a reset.

mod catalog;
mod connection;
mod face;
mod fault;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) use self::face::CHANGE_HEAD;
pub use self::face::Face;
pub use self::fault::Fault;

use self::catalog::Catalog;
use self::fault::Script;
use crate::BuiltModule;

/// The running server; it ends when dropped.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

/// A request that the origin has received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET` or `HEAD`.
    pub method: String,
    /// What it was asked as.
    pub face: Face,
    /// The path below the base or below the center's repository, percent-decoded: `example.com/a/@v/list`.
    pub path: String,
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// When its header had come.
    pub at: Instant,
}

#[derive(Debug, Default)]
struct State {
    catalog: Mutex<Catalog>,
    script: Mutex<Script>,
    seen: Mutex<Vec<Seen>>,
    latency: Mutex<Duration>,
}

impl Origin {
    /// Starts an empty one on a free port.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::new(State::default());
        let accepting = accept(listener, Arc::clone(&state));
        Self { address, state, accepting }
    }

    /// What a center takes as upstream, `go` as GOPROXY, and an edge as center.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves this version and names it in the module's list.
    pub fn publish(&self, module: &BuiltModule) {
        lock(&self.state.catalog).add(module, true);
    }

    /// Serves this version without naming it in the list, as is right for a pseudo-version.
    pub fn publish_unlisted(&self, module: &BuiltModule) {
        lock(&self.state.catalog).add(module, false);
    }

    /// Lets `query` (a branch, a commit, a prefix) stand for this version.
    pub fn point(&self, query: &str, module: &BuiltModule) {
        lock(&self.state.catalog).point(query, module);
    }

    /// Answers `@latest` with this version; without it the answer is 404, as the public mirror's is.
    pub fn set_latest(&self, module: &BuiltModule) {
        lock(&self.state.catalog).set_latest(module);
    }

    /// Serves these bytes at this path below the base.
    pub fn set(&self, path: &str, body: impl Into<Bytes>) {
        lock(&self.state.catalog).set(path, body.into());
    }

    /// Misbehaves from now on wherever the path contains `part`; the newest rule that matches counts.
    pub fn fault(&self, part: &str, fault: Fault) {
        lock(&self.state.script).add(part, fault, None);
    }

    /// Misbehaves for the next `times` requests whose path contains `part`.
    pub fn fault_times(&self, part: &str, times: usize, fault: Fault) {
        lock(&self.state.script).add(part, fault, Some(times));
    }

    /// Behaves well again.
    pub fn heal(&self) {
        lock(&self.state.script).clear();
    }

    /// From now on every answer begins so much later, as if the origin were far away.
    pub fn set_latency(&self, latency: Duration) {
        *lock(&self.state.latency) = latency;
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }

    /// How many requests so far had this path.
    pub fn count(&self, path: &str) -> usize {
        lock(&self.state.seen).iter().filter(|seen| seen.path == path).count()
    }

    /// The paths asked so far that contain `part`.
    pub fn asked(&self, part: &str) -> Vec<String> {
        lock(&self.state.seen).iter().filter(|seen| seen.path.contains(part)).map(|seen| seen.path.clone()).collect()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        lock(&self.state.seen).clear();
    }

    /// An outage: drops every connection and refuses new ones.
    pub async fn go_down(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }

    /// The end of the outage, at the same address.
    ///
    /// # Panics
    /// When the port has been taken meanwhile.
    pub fn come_back(&mut self) {
        let socket = TcpSocket::new_v4().expect("descriptors are left");
        socket.set_reuseaddr(true).expect("Linux knows SO_REUSEADDR");
        socket.bind(self.address).expect("the port is still free");
        let listener = socket.listen(1024).expect("a bound socket can listen");
        self.accepting = accept(listener, Arc::clone(&self.state));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Seen {
    /// A header's value, its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn accept(listener: TcpListener, state: Arc<State>) -> JoinHandle<()> {
    tokio::spawn(async move {
        // The set goes with this task, and with it every connection.
        let mut connections = JoinSet::new();
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection::serve(stream, Arc::clone(&state)));
            }
            while connections.try_join_next().is_some() {}
        }
    })
}

/// A test that panicked while it held a lock has failed already; the others go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
