//! The centers that misses are fetched from: who is asked, with what headers, and within what limits.

mod attempt;
mod bypass;
mod fetch;
mod pool;
mod proof;
mod route;

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use reqwest::Method;
use shared::client::{ClientOptions, http_client};
use shared::digest::Digest;
use shared::fill::{FillError, FillErrorKind};
use tokio::sync::Semaphore;

use self::attempt::{Attempt, Attempts, Failure, Taken};
pub(crate) use self::bypass::{Passed, Piece, pass_through};
pub(crate) use self::fetch::{Fetch, fill};
use self::pool::{Center, CenterFigures};
pub(crate) use self::route::RouteKey;
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

/// The centers and what is asked of them at one time.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: reqwest::Client,
    centers: Vec<Arc<Center>>,
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
        let centers = config.centers.iter().map(|url| Center::new(url).map(Arc::new)).collect::<Result<_, _>>()?;
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

    /// The centers that may be asked for what `route` stands for, best first.
    pub(super) fn attempts(&self, _route: &RouteKey) -> Attempts {
        Attempts::new(self.centers.clone(), self.metrics.clone())
    }

    /// Asks the next center of `attempts` for `path` of the repository and waits for its header. One that cannot be reached,
    /// does not answer in time or fails is followed by the next; the last one's failure is the answer.
    pub(super) async fn ask(
        &self,
        attempts: &mut Attempts,
        method: Method,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Taken, FillError> {
        let queued = tokio::time::timeout(self.queue, Arc::clone(&self.permits).acquire_owned());
        let Ok(Ok(permit)) = queued.await else {
            let message = "too many requests to the center are waiting";
            return Err(FillError::new(FillErrorKind::Unavailable, message));
        };
        let mut refused = None;
        let mut failed = None;
        while let Some(attempt) = attempts.next() {
            let url = attempt.center().repository_url(&self.repository, path);
            let request = self.client.request(method.clone(), url).headers(headers.clone());
            match self.send(&attempt, request.timeout(Duration::from_hours(1))).await {
                Ok(response) if response.status().is_server_error() => refused = Some((response, attempt)),
                Ok(response) => return Ok(Taken { response, attempt, _permit: permit }),
                Err(failure) => failed = Some(failure.to_error()),
            }
        }
        // A center's own words say more than a connection that broke.
        match (refused, failed) {
            (Some((response, attempt)), _) => Ok(Taken { response, attempt, _permit: permit }),
            (None, Some(error)) => Err(error),
            (None, None) => Err(FillError::new(FillErrorKind::Unavailable, "no center is left to ask")),
        }
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
        match tokio::time::timeout(patience, request.send()).await {
            Ok(answered) => answered.map_err(|error| Failure::of(&error).to_error()),
            Err(_) => Err(Failure::FirstByte.to_error()),
        }
    }

    async fn send(&self, attempt: &Attempt, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Failure> {
        let started = Instant::now();
        let answered = tokio::time::timeout(self.first_byte, request.send()).await;
        let outcome = match answered {
            Ok(Ok(response)) => {
                attempt.judge_status(response.status());
                Ok(response)
            }
            Ok(Err(error)) => {
                tracing::warn!(center = attempt.center().name(), error = %chain(&error), "the center could not be asked");
                Err(Failure::of(&error))
            }
            Err(_) => {
                tracing::warn!(center = attempt.center().name(), after = ?self.first_byte, "the center did not answer in time");
                Err(Failure::FirstByte)
            }
        };
        if let Err(failure) = outcome {
            attempt.failed(failure);
        }
        let failed = outcome.as_ref().map_or(true, |response| response.status().is_server_error());
        attempt.center().first_byte(failed, started.elapsed());
        self.metrics.upstream_first_byte(attempt.center().name(), started.elapsed());
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
        self.centers.iter().map(|center| center.figures()).collect()
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
