//! A small checksum database for tests: a log of records, signed by a test key, that can be told to lie.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use parking_lot::Mutex;

use super::note::key_hash;
use super::tree::{Hash, TILE_WIDTH, TreeHead, leaf_hash, subtree_hash, tree_hash};

/// The name of the test's database; it has a slash, as some have.
pub(crate) const NAME: &str = "db.test/sumdb";

/// A signing key from a seed.
pub(crate) fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// The public key as `GOSUMDB` spells it.
pub(crate) fn public_key_text(name: &str, key: &SigningKey) -> String {
    let mut bytes = vec![1];
    bytes.extend_from_slice(key.verifying_key().as_bytes());
    format!("{name}+{}+{}", hex::encode(key_hash(name, &bytes)), STANDARD.encode(&bytes))
}

/// A note with one signature.
pub(crate) fn sign_note(name: &str, key: &SigningKey, text: &str) -> String {
    let mut public = vec![1];
    public.extend_from_slice(key.verifying_key().as_bytes());
    let mut signature = key_hash(name, &public).to_vec();
    signature.extend_from_slice(&key.sign(text.as_bytes()).to_bytes());
    format!("{text}\n— {name} {}\n", STANDARD.encode(signature))
}

/// An append-only log of records.
#[derive(Clone, Default)]
pub(crate) struct Log {
    records: Vec<(String, String)>,
}

impl Log {
    /// A log of `count` modules `m.test/m<i>@v1.0.0`; `salt` makes another history of the same shape.
    pub(crate) fn of(count: usize, salt: &str) -> Self {
        let mut log = Self::default();
        for i in 0..count {
            log.add(&format!("m.test/m{i}"), "v1.0.0", &format!("h1:zip{i}{salt}="), &format!("h1:mod{i}{salt}="));
        }
        log
    }

    /// Appends a record.
    pub(crate) fn add(&mut self, module: &str, version: &str, h1: &str, gomod_h1: &str) {
        let text = format!("{module} {version} {h1}\n{module} {version}/go.mod {gomod_h1}\n");
        self.records.push((format!("{module}@{version}"), text));
    }

    /// The head over the first `size` records.
    pub(crate) fn head(&self, size: usize) -> TreeHead {
        let mut head = TreeHead { size: size as u64, hash: [0; 32] };
        let parts: Vec<Hash> = head.subtrees().iter().map(|part| self.row_hash(part.level, part.index)).collect();
        head.hash = tree_hash(&parts);
        head
    }

    /// The signed note of [`Log::head`].
    pub(crate) fn note(&self, size: usize, key: &SigningKey) -> String {
        let head = self.head(size);
        let text = format!("go.sum database tree\n{size}\n{}\n", STANDARD.encode(head.hash));
        sign_note(NAME, key, &text)
    }

    /// The whole answer to a lookup, under the head over all records.
    pub(crate) fn lookup(&self, target: &str, key: &SigningKey) -> Option<String> {
        let id = self.records.iter().position(|(name, _)| name == target)?;
        Some(format!("{id}\n{}\n{}", self.records[id].1, self.note(self.records.len(), key)))
    }

    /// The body of `tile/8/<level>/<index>[.p/<width>]`, `None` where the log has no such tile (yet).
    pub(crate) fn tile(&self, level: u32, index: u64, width: u64) -> Option<Vec<u8>> {
        let count = (self.records.len() as u64) >> (8 * level);
        let first = index * TILE_WIDTH;
        (first + width <= count).then(|| (first..first + width).flat_map(|at| self.row_hash(8 * level, at)).collect())
    }

    fn row_hash(&self, level: u32, index: u64) -> Hash {
        let from = usize::try_from(index << level).unwrap();
        let leaves: Vec<Hash> =
            self.records[from..from + (1 << level)].iter().map(|(_, text)| leaf_hash(text.as_bytes())).collect();
        subtree_hash(&leaves)
    }
}

/// What the server answers from; a test changes it while it runs.
pub(crate) struct Served {
    /// The honest part.
    pub(crate) log: Mutex<Log>,
    key: SigningKey,
    lies: Mutex<HashMap<String, (StatusCode, Vec<u8>)>>,
    requests: Mutex<Vec<String>>,
    down: AtomicUsize,
}

impl Served {
    /// Answers `path` (below the database) with these bytes from now on.
    pub(crate) fn lie(&self, path: &str, status: StatusCode, body: impl Into<Vec<u8>>) {
        self.lies.lock().insert(path.to_owned(), (status, body.into()));
    }

    /// Ends all lying.
    pub(crate) fn be_honest(&self) {
        self.lies.lock().clear();
    }

    /// Answers everything 500 from now on.
    pub(crate) fn fail(&self) {
        self.down.store(1, Ordering::SeqCst);
    }

    /// Ends the outage.
    pub(crate) fn come_back(&self) {
        self.down.store(0, Ordering::SeqCst);
    }

    /// How often a path was asked.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.requests.lock().iter().filter(|asked| *asked == path).count()
    }
}

/// Serves a log on a free port; returns the base URL and the handle to script it.
pub(crate) async fn serve(log: Log, key: SigningKey) -> (String, Arc<Served>) {
    let served = Arc::new(Served {
        log: Mutex::new(log),
        key,
        lies: Mutex::default(),
        requests: Mutex::default(),
        down: AtomicUsize::new(0),
    });
    let app = axum::Router::new().fallback(answer).with_state(served.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (base, served)
}

async fn answer(State(served): State<Arc<Served>>, uri: Uri) -> Response {
    let path = uri.path().trim_start_matches('/').to_owned();
    served.requests.lock().push(path.clone());
    if served.down.load(Ordering::SeqCst) > 0 {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    if let Some((status, body)) = served.lies.lock().get(&path) {
        return (*status, body.clone()).into_response();
    }
    let log = served.log.lock();
    let body = match path.split_once('/') {
        Some(("lookup", target)) => log.lookup(target, &served.key).map(String::into_bytes),
        Some(("tile", tile)) => parse_tile(tile).and_then(|(level, index, width)| log.tile(level, index, width)),
        _ if path == "latest" => Some(log.note(log.records.len(), &served.key).into_bytes()),
        _ => None,
    };
    body.map_or_else(|| (StatusCode::NOT_FOUND, "not found\n").into_response(), IntoResponse::into_response)
}

pub(crate) fn parse_tile(path: &str) -> Option<(u32, u64, u64)> {
    let rest = path.strip_prefix("8/")?;
    let (level, rest) = rest.split_once('/')?;
    let (index, width) = rest.split_once(".p/").unwrap_or((rest, "256"));
    Some((level.parse().ok()?, index.parse().ok()?, width.parse().ok()?))
}
