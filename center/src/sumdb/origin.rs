//! The bytes of one checksum database: fetched from its upstream once, kept in the store, never asked for twice at a time.
//!
//! What never changes (a record that was found, a tile) is looked for in the store first, so it is answered while the
//! database cannot be reached. What may change (`latest`, "not found") is remembered for a minute, in memory. An outage is
//! an error of its own and never "not found".

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use http::header::{AUTHORIZATION, RETRY_AFTER, VIA};
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;

use super::record::Record;
use super::tree::{TileBody, tile_body};
use crate::store::Store;

/// The longest answer of a checksum database that is taken; records and tiles are a few KiB, data tiles some hundred.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How long `latest` and "not found" hold.
const SHORT_PERIOD: Duration = Duration::from_mins(1);
/// Short-lived answers kept in memory; more than that and the expired ones are swept.
const SHORT_ENTRIES_MAX: usize = 4096;
/// How long a whole answer may take. They are small.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// Why there are no bytes. The texts are safe to show to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OriginError {
    /// The database says that it does not have it.
    #[error("{0}")]
    NotFound(String),
    /// The database says that it has it no longer.
    #[error("{0}")]
    Gone(String),
    /// The upstream refuses to answer for it.
    #[error("{0}")]
    Refused(String),
    /// Its answer was no answer.
    #[error("{0}")]
    Wrong(String),
    /// It could not be reached, or says that it is overloaded.
    #[error("{message}")]
    Unavailable {
        /// What could not be reached.
        message: String,
        /// When the upstream wants to be asked again.
        retry_after: Duration,
    },
    /// It is too slow.
    #[error("{0}")]
    Timeout(String),
    /// Our own disk failed; the detail is in the log.
    #[error("the center's storage failed; see its log")]
    Storage,
}

/// Bytes, and whether they were held.
#[derive(Debug, Clone)]
pub(crate) struct Fetched {
    /// The answer's body.
    pub(crate) body: Bytes,
    /// True when nobody was asked for it.
    pub(crate) held: bool,
}

/// Whether what another replica may have kept meanwhile is as good as what is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Counts,
    IsWrong,
}

type Outcome = Result<Bytes, OriginError>;
type Flight = BoxFuture<'static, Outcome>;

/// One checksum database behind its upstream.
pub(crate) struct Origin {
    name: String,
    /// None: only what is held can be answered.
    upstream: Option<Upstream>,
    store: Store,
    flights: Mutex<HashMap<String, Shared<Flight>>>,
    short: Mutex<HashMap<String, (Instant, Outcome)>>,
}

/// Where a database is, and how it is asked.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    /// The URL that `/lookup/…` is appended to.
    pub(crate) base: reqwest::Url,
    pub(crate) client: reqwest::Client,
    /// What is sent as `Authorization`.
    pub(crate) authorization: Option<HeaderValue>,
    /// How this center calls itself.
    pub(crate) via: HeaderValue,
}

impl Origin {
    /// A database by its name.
    pub(crate) fn new(name: &str, upstream: Option<Upstream>, store: Store) -> Self {
        Self { name: name.to_owned(), upstream, store, flights: Mutex::default(), short: Mutex::default() }
    }

    /// The bytes at a path below the database (`lookup/…`, `tile/…`, `latest`): held ones, or fetched.
    pub(crate) async fn get(self: &Arc<Self>, path: &str) -> Result<Fetched, OriginError> {
        if let Some(body) = self.held(path).await? {
            return Ok(Fetched { body, held: true });
        }
        if let Some(outcome) = self.remembered(path) {
            return outcome.map(|body| Fetched { body, held: true });
        }
        match self.join(path, Held::Counts).await {
            Ok(body) => Ok(Fetched { body, held: false }),
            Err(error @ (OriginError::Unavailable { .. } | OriginError::Timeout(_))) if path == "latest" => {
                let body = self.last_head().await?.ok_or(error)?;
                Ok(Fetched { body, held: true })
            }
            Err(error) => Err(error),
        }
    }

    /// The newest head that was proven here: a head of the past is a head all the same while the database is away.
    async fn last_head(&self) -> Result<Option<Bytes>, OriginError> {
        let remembered = self.short.lock().get("latest").and_then(|(_, outcome)| outcome.clone().ok());
        match remembered {
            Some(body) => Ok(Some(body)),
            None => self.proven_note().await,
        }
    }

    /// The bytes as the upstream has them now, for when the held ones turned out wrong. Replaces those.
    pub(crate) async fn get_anew(self: &Arc<Self>, path: &str) -> Result<Fetched, OriginError> {
        let body = self.join(path, Held::IsWrong).await?;
        Ok(Fetched { body, held: false })
    }

    /// The kept bytes of what never changes.
    pub(crate) async fn held(&self, path: &str) -> Result<Option<Bytes>, OriginError> {
        if !is_permanent(path) {
            return Ok(None);
        }
        self.store.sumdb_get(&self.key(path)).await.map_err(|error| storage_failed(&error))
    }

    /// Keeps what never changes, if it has the right shape and nothing is held. Whether it was new.
    pub(crate) async fn take_in(&self, path: &str, body: Bytes) -> Result<bool, OriginError> {
        if !is_permanent(path) || !has_the_shape(path, &body) {
            return Err(OriginError::Wrong(format!("this is no {path} of a checksum database")));
        }
        if self.held(path).await?.is_some() {
            return Ok(false);
        }
        self.store.sumdb_put(&self.key(path), body, false).await.map_err(|error| storage_failed(&error))?;
        Ok(true)
    }

    fn key(&self, path: &str) -> String {
        format!("{}/{path}", self.name)
    }

    fn remembered(&self, path: &str) -> Option<Outcome> {
        let short = self.short.lock();
        let (at, outcome) = short.get(path)?;
        (at.elapsed() < SHORT_PERIOD).then(|| outcome.clone())
    }

    fn remember(&self, path: &str, outcome: &Outcome) {
        let mut short = self.short.lock();
        if short.len() >= SHORT_ENTRIES_MAX {
            short.retain(|_, (at, _)| at.elapsed() < SHORT_PERIOD);
        }
        // Full of what has not expired yet: not remembering costs a request upstream, no more.
        if short.len() < SHORT_ENTRIES_MAX {
            short.insert(path.to_owned(), (Instant::now(), outcome.clone()));
        }
    }

    /// Joins the running fetch of this path or begins one, which outlives whoever began it.
    fn join(self: &Arc<Self>, path: &str, held: Held) -> Shared<Flight> {
        let mut flights = self.flights.lock();
        if let Some(running) = flights.get(path) {
            return running.clone();
        }
        let (origin, owned_path) = (Arc::clone(self), path.to_owned());
        // A task of its own: clients that leave must not leave a lease behind.
        let task = tokio::spawn(async move {
            match held {
                Held::Counts if is_permanent(&owned_path) => origin.fetch_alone(&owned_path).await,
                Held::Counts | Held::IsWrong => origin.fetch_and_keep(&owned_path).await,
            }
        });
        let (origin, owned_path) = (Arc::clone(self), path.to_owned());
        let landing = tokio::spawn(async move {
            let outcome = task.await.unwrap_or_else(|error| Err(storage_failed(&error)));
            origin.flights.lock().remove(&owned_path);
            outcome
        });
        let flight = landing.map(|ended| ended.unwrap_or_else(|error| Err(storage_failed(&error)))).boxed().shared();
        flights.insert(path.to_owned(), flight.clone());
        flight
    }

    /// Fetches what no other replica fetches at the same time, unless one just did.
    async fn fetch_alone(&self, path: &str) -> Outcome {
        let fetch = async {
            match self.held(path).await? {
                Some(body) => Ok(body),
                None => self.fetch_and_keep(path).await,
            }
        };
        let what = format!("checksum database {}", self.key(path));
        self.store.alone(&what, fetch).await.map_err(|error| storage_failed(&error))?
    }

    async fn fetch_and_keep(&self, path: &str) -> Outcome {
        let outcome = self.fetch(path).await;
        self.keep(path, &outcome).await;
        outcome
    }

    async fn keep(&self, path: &str, outcome: &Outcome) {
        match outcome {
            Ok(body) if is_permanent(path) => {
                // Losing it in a power cut costs a request; so no sync.
                if let Err(error) = self.store.sumdb_put(&self.key(path), body.clone(), false).await {
                    tracing::warn!(%error, database = self.name, path, "checksum database answer not kept");
                }
            }
            Ok(_) | Err(OriginError::NotFound(_) | OriginError::Gone(_)) => self.remember(path, outcome),
            Err(
                OriginError::Refused(_)
                | OriginError::Wrong(_)
                | OriginError::Unavailable { .. }
                | OriginError::Timeout(_)
                | OriginError::Storage,
            ) => {}
        }
    }

    async fn fetch(&self, path: &str) -> Outcome {
        let what = format!("checksum database {:?}", self.name);
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.exchange(path, &what)).await;
        let body = fetched.unwrap_or_else(|_| Err(OriginError::Timeout(format!("{what} is too slow"))))?;
        if has_the_shape(path, &body) {
            return Ok(body);
        }
        tracing::warn!(database = self.name, path, bytes = body.len(), "malformed answer of a checksum database");
        Err(OriginError::Wrong(format!("{what} gave a malformed answer")))
    }

    async fn exchange(&self, path: &str, what: &str) -> Outcome {
        let Some(upstream) = &self.upstream else {
            return Err(unavailable(what, None));
        };
        let url = upstream.url(path).ok_or_else(|| unavailable(what, None))?;
        let failed = |error: reqwest::Error| {
            let error = error.without_url();
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%error, source, database = self.name, path, "checksum database failed");
            if error.is_timeout() {
                return OriginError::Timeout(format!("{what} is too slow"));
            }
            unavailable(what, None)
        };
        let mut request = upstream.client.get(url).header(VIA, upstream.via.clone());
        if let Some(authorization) = &upstream.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let mut response = request.send().await.map_err(failed)?;
        tracing::info!(database = self.name, path, status = response.status().as_u16(), "asked checksum database");
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(OriginError::NotFound(format!("{what} does not have {path}"))),
            StatusCode::GONE => return Err(OriginError::Gone(format!("{what} no longer has {path}"))),
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED | StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => {
                return Err(OriginError::Refused(format!("{what} refuses {path}")));
            }
            StatusCode::GATEWAY_TIMEOUT => return Err(OriginError::Timeout(format!("{what} is too slow"))),
            status if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE => {
                return Err(unavailable(what, retry_after));
            }
            status => return Err(OriginError::Wrong(format!("{what} answered with status {}", status.as_u16()))),
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(OriginError::Wrong(format!("{what} gave an answer that is too large")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// The signed note of the newest head that was ever proven here.
    pub(crate) async fn proven_note(&self) -> Result<Option<Bytes>, OriginError> {
        self.store.sumdb_get(&self.proven_key()).await.map_err(|error| storage_failed(&error))
    }

    /// Keeps the newest proven head, on disk before this returns: it is what a later fork is seen by.
    pub(crate) async fn keep_proven_note(&self, note: Vec<u8>) -> Result<(), OriginError> {
        let kept = self.store.sumdb_put(&self.proven_key(), note.into(), true).await;
        kept.map_err(|error| storage_failed(&error))
    }

    fn proven_key(&self) -> String {
        // A space cannot stand in a request's path, so no answer is ever kept under this key.
        format!("{} proven head", self.name)
    }
}

impl Upstream {
    /// Each element encoded by itself: a version may hold what would end a URL's path.
    fn url(&self, path: &str) -> Option<reqwest::Url> {
        let mut url = self.base.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(path.split('/'));
        Some(url)
    }
}

fn unavailable(what: &str, retry_after: Option<u64>) -> OriginError {
    // An upstream may say hours; a client that waits longer than a minute has given up anyway.
    let retry_after = Duration::from_secs(retry_after.unwrap_or(5).clamp(1, 60));
    OriginError::Unavailable { message: format!("{what} cannot be reached"), retry_after }
}

fn storage_failed(error: &dyn Error) -> OriginError {
    tracing::error!(%error, "storage failed");
    OriginError::Storage
}

fn is_permanent(path: &str) -> bool {
    path.starts_with("tile/") || path.starts_with("lookup/")
}

/// Whether a body can be what the path names. Proves nothing, but keeps an error page from being kept for good.
fn has_the_shape(path: &str, body: &[u8]) -> bool {
    if let Some(tile) = path.strip_prefix("tile/") {
        return match tile_body(tile) {
            Some(TileBody::Hashes(length)) => body.len() == length,
            Some(TileBody::Records) => !body.is_empty(),
            None => false,
        };
    }
    let Some(target) = path.strip_prefix("lookup/") else {
        return body.starts_with(b"go.sum database tree\n");
    };
    let Some(record) = Record::parse(body) else { return false };
    let Some((module, version)) = target.rsplit_once('@') else { return false };
    let (Ok(module), Ok(version)) = (shared::module::unescape_path(module), shared::module::unescape_version(version))
    else {
        return false;
    };
    record.hashes(&module, &version).next().is_some()
}
