//! The centers that misses are fetched from: who is asked, with what headers, and within what limits.

mod bypass;
mod fetch;
mod proof;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use reqwest::{Method, Url};
use shared::client::{ClientOptions, http_client};
use shared::digest::Digest;
use shared::fill::{FillError, FillErrorKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use self::bypass::{Passed, Piece, pass_through};
pub(crate) use self::fetch::{Fetch, fill};
use crate::config::Config;
use crate::metrics::Metrics;

/// What a fill tells its readers before the bytes.
#[derive(Debug)]
pub(crate) enum FillHead {
    /// A body follows.
    Body(BodyHead),
    /// Nothing follows: the cache holds the answer. `revalidated` says that the center just confirmed it.
    Held {
        /// Whether the center was asked.
        revalidated: bool,
    },
}

/// What is known of a body.
#[derive(Debug)]
pub(crate) struct BodyHead {
    /// Its SHA-256, if the center said so up front.
    pub(crate) digest: Option<Digest>,
    /// Its length in bytes, if the center said so up front.
    pub(crate) len: Option<u64>,
    /// When it last changed, or when it came.
    pub(crate) modified: SystemTime,
    /// The change that a mutable answer reflects.
    pub(crate) change_id: Option<shared::change::ChangeId>,
    /// Digest and length, set once they are proven and before the last bytes are let go.
    pub(crate) proven: Arc<OnceLock<(Digest, u64)>>,
}

/// One center.
#[derive(Debug)]
struct Center {
    base: Url,
    in_flight: AtomicUsize,
    requests: AtomicU64,
    failures: AtomicU64,
    /// Time to the first byte of the last answer, in microseconds; 0: none yet.
    first_byte_us: AtomicU64,
}

/// The centers and what is asked of them at one time.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: reqwest::Client,
    centers: Vec<Center>,
    repository: String,
    edge_id: String,
    permits: Arc<Semaphore>,
    queue: Duration,
    first_byte: Duration,
    /// How long a body may pause.
    pub(crate) stall: Duration,
    /// Largest body that is taken.
    pub(crate) body_bytes_max: u64,
    metrics: Metrics,
}

/// A response and the place it occupies until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The response.
    pub(crate) response: reqwest::Response,
    _permit: OwnedSemaphorePermit,
}

/// One center's figures, for `/api/v1/upstreams`.
#[derive(Debug, serde::Serialize)]
pub(crate) struct CenterFigures {
    url: String,
    in_flight: usize,
    requests: u64,
    failures: u64,
    first_byte_ms: Option<f64>,
}

impl Upstream {
    /// Builds the client; asks nobody.
    pub(crate) fn new(config: &Config, edge_id: &str, metrics: Metrics) -> Result<Self, String> {
        let limits = &config.limits;
        let silence = limits.upstream_first_byte.get().max(limits.upstream_stall.get());
        let options = ClientOptions {
            // The two periods are watched here, each in its place; the client's own is only a backstop.
            read_timeout: silence + Duration::from_secs(5),
            ..ClientOptions::default()
        };
        let client = http_client(options).map_err(|error| format!("http client: {error}"))?;
        let centers = config.centers.iter().map(|url| Center::new(url)).collect::<Result<_, _>>()?;
        Ok(Self {
            client,
            centers,
            repository: config.repository.clone(),
            edge_id: edge_id.to_owned(),
            permits: Arc::new(Semaphore::new(limits.upstream_fetches_max)),
            queue: limits.upstream_queue.get(),
            first_byte: limits.upstream_first_byte.get(),
            stall: limits.upstream_stall.get(),
            body_bytes_max: limits.body_bytes_max.bytes(),
            metrics,
        })
    }

    /// Asks a center for `path` of the repository and waits for its header.
    pub(crate) async fn ask(&self, method: Method, path: &str, headers: HeaderMap) -> Result<Taken, FillError> {
        let queued = tokio::time::timeout(self.queue, Arc::clone(&self.permits).acquire_owned());
        let Ok(Ok(permit)) = queued.await else {
            let message = "too many requests to the center are waiting";
            return Err(FillError::new(FillErrorKind::Unavailable, message));
        };
        let center = &self.centers[0];
        let url = center.repository_url(&self.repository, path);
        let request = self.client.request(method, url).headers(headers).timeout(Duration::from_hours(1));
        let response = self.send(center, request).await?;
        Ok(Taken { response, _permit: permit })
    }

    /// Asks a center's administration, outside the limit of fetches: the change feed and the manifest.
    pub(crate) async fn ask_api(
        &self,
        path_and_query: &str,
        patience: Duration,
    ) -> Result<reqwest::Response, FillError> {
        let center = &self.centers[0];
        let url = center.api_url(&self.repository, path_and_query);
        let request = self.client.get(url).header(http::header::VIA, self.via(None));
        tokio::time::timeout(patience, request.send())
            .await
            .map_err(|_| FillError::new(FillErrorKind::Timeout, "the center did not answer in time"))?
            .map_err(|error| transport_error(&error))
    }

    async fn send(&self, center: &Center, request: reqwest::RequestBuilder) -> Result<reqwest::Response, FillError> {
        let started = Instant::now();
        let flying = InFlight::of(center);
        let answered = tokio::time::timeout(self.first_byte, request.send()).await;
        drop(flying);
        let outcome = match answered {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "the center could not be asked");
                Err(transport_error(&error))
            }
            Err(_) => {
                let message = "the center did not answer in time";
                tracing::warn!(after = ?self.first_byte, "{message}");
                Err(FillError::new(FillErrorKind::Timeout, message))
            }
        };
        let failed = outcome.as_ref().map_or(true, |response| response.status().is_server_error());
        center.requests.fetch_add(1, Ordering::Relaxed);
        if failed {
            center.failures.fetch_add(1, Ordering::Relaxed);
        }
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        center.first_byte_us.store(took.max(1), Ordering::Relaxed);
        self.metrics.upstream_answered(center.name(), failed, started.elapsed());
        outcome
    }

    /// `Via` for a request that came through the tiers in `before`.
    pub(crate) fn via(&self, before: Option<&str>) -> String {
        match before {
            Some(before) => format!("{before}, 1.1 {}", self.edge_id),
            None => format!("1.1 {}", self.edge_id),
        }
    }

    /// Figures of every center.
    pub(crate) fn figures(&self) -> Vec<CenterFigures> {
        self.centers.iter().map(Center::figures).collect()
    }
}

impl Center {
    fn new(url: &str) -> Result<Self, String> {
        let mut base = Url::parse(url).map_err(|error| format!("centers: {url:?}: {error}"))?;
        // Joining below a path needs the trailing slash; a query or a fragment would swallow what is joined.
        base.set_query(None);
        base.set_fragment(None);
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        Ok(Self {
            base,
            in_flight: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            first_byte_us: AtomicU64::new(0),
        })
    }

    /// `path` is [`shared::request::Request::to_path`]'s: canonical, and percent-encoded where a URL needs it.
    fn repository_url(&self, repository: &str, path: &str) -> Url {
        let mut url = self.base.clone();
        let whole = format!("{}api/go/{repository}/{}", self.base.path(), path);
        url.set_path(&whole);
        url
    }

    fn api_url(&self, repository: &str, path_and_query: &str) -> Url {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let mut url = self.base.clone();
        url.set_path(&format!("{}api/v1/repos/{repository}/{path}", self.base.path()));
        url.set_query(query);
        url
    }

    fn name(&self) -> &str {
        self.base.host_str().unwrap_or("center")
    }

    fn figures(&self) -> CenterFigures {
        let mut url = self.base.clone();
        // Never a credential in an answer; a URL without a host, where this fails, has none.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let first_byte = self.first_byte_us.load(Ordering::Relaxed);
        CenterFigures {
            url: url.to_string(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            first_byte_ms: (first_byte > 0).then(|| first_byte as f64 / 1000.0),
        }
    }
}

/// Counts a request for as long as it waits.
struct InFlight<'a>(&'a Center);

impl<'a> InFlight<'a> {
    fn of(center: &'a Center) -> Self {
        center.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(center)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the client is told of a failed connection: never an address.
fn transport_error(error: &reqwest::Error) -> FillError {
    if error.is_timeout() {
        FillError::new(FillErrorKind::Timeout, "the center did not answer in time")
    } else if error.is_connect() {
        FillError::new(FillErrorKind::Unavailable, "the center cannot be reached")
    } else {
        FillError::new(FillErrorKind::Unavailable, "the center broke the connection")
    }
}

/// An error with its causes, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_joined_below_the_centers_path() {
        let center = Center::new("http://center:1/base?x=1").unwrap();
        let url = center.repository_url("golang-virtual", "github.com/!burnt!sushi/toml/@v/v1.0.0.zip");
        assert_eq!(
            url.as_str(),
            "http://center:1/base/api/go/golang-virtual/github.com/!burnt!sushi/toml/@v/v1.0.0.zip"
        );
        let url = center.api_url("golang-virtual", "changes?after=1-2&wait=30s");
        assert_eq!(url.as_str(), "http://center:1/base/api/v1/repos/golang-virtual/changes?after=1-2&wait=30s");
    }

    #[test]
    fn a_path_cannot_become_a_query() {
        let center = Center::new("http://center:1").unwrap();
        let url = center.repository_url("r", "example.com/a/@v/a?b#c%20d.info");
        assert_eq!(url.as_str(), "http://center:1/api/go/r/example.com/a/@v/a%3Fb%23c%20d.info");
    }
}
