//! The centers that misses are fetched from: who is asked, with what headers, and within what limits.
//!
//! ```text
//! fetch    what one fill does with the answer                         fetch.rs, proof.rs, bypass.rs
//!   ask    one center after another until one answers                 ask.rs, attempt.rs, budget.rs
//!     pool   the centers that the rules allow                         pool.rs, route.rs
//!       choose   the cheapest whose breaker is closed                 choose.rs
//!         health   probes, first bytes, success, breaker              health.rs, rtt.rs, breaker.rs
//! probe    asks them all now and then                                 probe.rs
//! report   shows all this, and lets an operator act                   report.rs
//! ```

mod ask;
mod attempt;
mod begin;
mod body;
mod breaker;
mod budget;
mod bypass;
mod choose;
mod fetch;
mod health;
mod pool;
mod probe;
mod proof;
pub(crate) mod report;
mod route;
mod rtt;
#[cfg(test)]
mod simulation;
mod spool;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use http::header;
use parking_lot::Mutex;
use reqwest::RequestBuilder;
use shared::access::Bearer;
use shared::client::{ClientOptions, http_client};
use shared::digest::Digest;
use tokio::time::Instant;

use self::attempt::{Attempt, Attempts, Failure, Taken};
pub(crate) use self::begin::{Fill, Wanted, begin};
use self::budget::RetryBudget;
pub(crate) use self::bypass::{Passed, Piece, pass_through};
pub(crate) use self::fetch::Fetch;
use self::health::Health;
use self::pool::Pool;
pub(crate) use self::probe::probe;
pub(crate) use self::proof::{CAVEAT, Caveat};
use self::report::LastChoice;
pub(crate) use self::report::Operation;
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
    /// Whether the center said that it is not to be stored.
    pub(crate) no_store: bool,
    /// What the center says of it besides.
    pub(crate) caveat: Option<Caveat>,
    /// Digest and length, set once they are proven and before the last bytes are let go.
    pub(crate) proven: Arc<OnceLock<(Digest, u64)>>,
}

/// The centers and what is asked of them at one time.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: reqwest::Client,
    bearer: ArcSwap<Bearer>,
    pool: ArcSwap<Pool>,
    budget: Arc<Mutex<RetryBudget>>,
    last_choice: LastChoice,
    /// The center whose changes are followed: a weak hold, for it may leave the settings.
    followed: Mutex<Option<Weak<Health>>>,
    repository: String,
    edge_id: String,
    metrics: Metrics,
}

impl Upstream {
    /// Builds the client; asks nobody.
    pub(crate) fn new(config: &Config, edge_id: &str, metrics: Metrics) -> Result<Self, String> {
        // The periods are watched here, each in its place, and may change; the client's own is only a backstop.
        let options = ClientOptions { read_timeout: Duration::from_hours(1), ..ClientOptions::default() };
        let client = http_client(options).map_err(|error| format!("http client: {error}"))?;
        let routing = &config.routing;
        let budget = RetryBudget::new(routing.retry_share, routing.retry_burst, Instant::now());
        Ok(Self {
            client,
            bearer: ArcSwap::from_pointee(bearer(config)?),
            pool: ArcSwap::from_pointee(Pool::new(config, None)?),
            budget: Arc::new(Mutex::new(budget)),
            last_choice: LastChoice::default(),
            followed: Mutex::default(),
            repository: config.repository.clone(),
            edge_id: edge_id.to_owned(),
            metrics,
        })
    }

    /// Takes over centers, rules, probes and breakers of new settings, all at once. What is known of a center that stays is
    /// kept; a fetch under way goes on with the centers that it had.
    pub(crate) fn reconfigure(&self, config: &Config) -> Result<(), String> {
        let before = self.pool.load_full();
        let (pool, bearer) = (Pool::new(config, Some(&before))?, bearer(config)?);
        for gone in before.centers.iter().filter(|old| pool.centers.iter().all(|new| new.name != old.name)) {
            self.metrics.upstream_gone(&gone.name);
        }
        self.budget.lock().reconfigure(config.routing.retry_share, config.routing.retry_burst);
        self.bearer.store(Arc::new(bearer));
        self.pool.store(Arc::new(pool));
        before.probe_now.notify_one();
        Ok(())
    }

    /// Shows the center the edge's token, if it has one.
    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match self.bearer.load().header() {
            Some(header) => request.header(header::AUTHORIZATION, header),
            None => request,
        }
    }

    /// `Via` for a request that came through the tiers in `before`.
    pub(crate) fn via(&self, before: Option<&str>) -> String {
        match before {
            Some(before) => format!("{before}, 1.1 {}", self.edge_id),
            None => format!("1.1 {}", self.edge_id),
        }
    }
}

fn bearer(config: &Config) -> Result<Bearer, String> {
    Bearer::open("centers_token", &config.centers_token, &config.centers_token_file)
}
