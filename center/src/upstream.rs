//! The client of a GOPROXY server and of others with the same content: what is asked, what their answers mean, and how long
//! they may take.
//!
//! ```text
//! get ─▶ a place ─▶ the servers in order, those that failed lately last ─▶ breaker ─▶ ask, following redirects
//!                        ▲                                                              │
//!                        └── did it fail, and is there a repeat left in the budget? ◀───┘
//! ```
//! What a server says ("not found", "gone", "blocked") counts and is not asked of the next one: they have the same content.
//! Nothing said here reaches a client of ours with a host name or a credential in it; those go to the log only.

mod breaker;
mod budget;
mod exchange;
mod incoming;
pub(crate) mod netrc;
pub(crate) mod outbound;
mod server;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use reqwest::StatusCode;
use shared::request::ModuleRequest;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use self::breaker::Breaker;
use self::budget::RetryBudget;
pub(crate) use self::incoming::{Incoming, Reply, Validators};
use self::outbound::{Clients, Outbound};
pub(crate) use self::server::Sender;
use self::server::Server;
use crate::repository::RepoError;

/// How many requests one upstream is asked at a time; more wait.
const CONCURRENT_MAX: usize = 200;

/// When to ask again an upstream that could not be asked and did not say.
const RETRY_DEFAULT: Duration = Duration::from_secs(5);
/// The longest pause that an upstream may ask for.
const RETRY_MAX: Duration = Duration::from_mins(5);

/// How long an upstream may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the connection.
    pub(crate) connect: Duration,
    /// From the request to the first byte of the answer.
    pub(crate) first_byte: Duration,
    /// Between two pieces of a body.
    pub(crate) stall: Duration,
}

/// How servers are asked.
#[derive(Debug)]
pub(crate) struct Manners {
    /// How long they may take.
    pub(crate) patience: Patience,
    /// How this center calls itself, so that a request that comes back to it is known as such.
    pub(crate) via: HeaderValue,
    /// Whether each is asked for what it already has before one is made to fetch it.
    pub(crate) held_first: bool,
}

/// GOPROXY servers with the same content.
#[derive(Debug)]
pub(crate) struct Upstream {
    servers: Vec<Server>,
    clients: Clients,
    outbound: Arc<Outbound>,
    manners: Manners,
    places: Semaphore,
    budget: RetryBudget,
}

impl Upstream {
    /// A client of the servers at `bases`; there is at least one. What is known of a server's failures by `before`, under other
    /// settings, is not forgotten.
    pub(crate) fn new<'b>(
        bases: impl IntoIterator<Item = &'b str>,
        manners: Manners,
        outbound: &Arc<Outbound>,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let policy = outbound.breaker();
        let known = |base: &reqwest::Url| {
            let same = before?.servers.iter().find(|server| server.base == *base && server.breaker.follows(policy))?;
            Some(Arc::clone(&same.breaker))
        };
        let bases: Vec<&str> = bases.into_iter().collect();
        let servers = bases.iter().enumerate().map(|(number, base)| {
            let base = server::base_url(base)?;
            let breaker = known(&base).unwrap_or_else(|| Arc::new(Breaker::new(policy)));
            Ok(Server { base, is_first: number == 0, is_only: bases.len() == 1, breaker })
        });
        let Patience { connect, first_byte, stall } = manners.patience;
        Ok(Self {
            servers: servers.collect::<Result<_, String>>()?,
            clients: outbound.clients(outbound::options(connect, first_byte.max(stall)))?,
            outbound: Arc::clone(outbound),
            manners,
            places: Semaphore::new(CONCURRENT_MAX),
            budget: RetryBudget::new(Instant::now()),
        })
    }

    /// Asks for an artefact. Every answer but 200 and 304 is an error that says what it means for us.
    pub(crate) async fn get(&self, request: &ModuleRequest, validators: &Validators) -> Result<Reply<'_>, RepoError> {
        let what = describe(request);
        let mut place = Some(self.places.acquire().await.map_err(|_| unavailable(&what, RETRY_DEFAULT))?);
        self.budget.earn();
        if self.manners.held_first && self.servers.len() > 1 && !request.artefact.is_mutable() {
            for server in self.in_order().filter(|server| server.breaker.admit(Instant::now())) {
                if let Ok(response) = self.follow(&what, server, request, &Validators::default(), true).await
                    && let Some(place) = place.take()
                {
                    return Ok(self.reply(what, server, response, place));
                }
            }
        }
        let mut failure = None;
        for server in self.in_order() {
            let now = Instant::now();
            if server.breaker.refused_until(now).is_some() || (failure.is_some() && !self.budget.take(now)) {
                continue;
            }
            if !server.breaker.admit(now) {
                continue;
            }
            match self.follow(&what, server, request, validators, false).await {
                Ok(response) => {
                    let place = place.take().ok_or_else(|| unavailable(&what, RETRY_DEFAULT))?;
                    return Ok(self.reply(what, server, response, place));
                }
                Err(error) if is_word(&error) => return Err(error),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| unavailable(&what, self.pause())))
    }

    /// Whether a fetch that failed after its answer had begun may be made anew.
    pub(crate) fn may_repeat(&self) -> bool {
        self.budget.take(Instant::now())
    }

    /// Whether another server could be asked for what one of them sent wrong.
    pub(crate) fn has_others(&self) -> bool {
        let now = Instant::now();
        self.servers.iter().filter(|server| server.breaker.refused_until(now).is_none()).count() > 0
            && self.servers.len() > 1
    }

    /// The state of each server's breaker: its number and `closed`, `open` or `half_open`.
    pub(crate) fn phases(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let now = Instant::now();
        self.servers.iter().enumerate().map(move |(number, server)| (number, server.breaker.phase(now)))
    }

    /// As they were named, but those that failed a short while ago last.
    fn in_order(&self) -> impl Iterator<Item = &Server> {
        let now = Instant::now();
        let mut servers: Vec<&Server> = self.servers.iter().collect();
        servers.sort_by_key(|server| server.breaker.is_doubtful(now));
        servers.into_iter()
    }

    /// When the first of the breakers lets a request pass again.
    fn pause(&self) -> Duration {
        let now = Instant::now();
        let untils = self.servers.iter().filter_map(|server| server.breaker.refused_until(now));
        untils
            .map(|until| until - now)
            .min()
            .map_or(RETRY_DEFAULT, |pause| pause.clamp(Duration::from_secs(1), RETRY_MAX))
    }

    fn reply<'u>(
        &'u self,
        what: String,
        server: &'u Server,
        response: reqwest::Response,
        place: SemaphorePermit<'u>,
    ) -> Reply<'u> {
        if response.status() == StatusCode::NOT_MODIFIED {
            return Reply::NotModified;
        }
        let stall = self.manners.patience.stall;
        Reply::Found(Incoming { what, response, stall, server, _place: place })
    }
}

/// `example.com/a@v1.0.0.zip` and the like, for messages.
pub(crate) fn describe(request: &ModuleRequest) -> String {
    let name = request.artefact.file_name();
    format!("{}@{}", request.module, name.trim_start_matches("@v/").trim_start_matches('@'))
}

/// A body larger than we take.
pub(crate) fn too_large(what: &str, max: u64) -> RepoError {
    RepoError::Upstream(format!("{what}: the upstream's answer is larger than {max} bytes"))
}

/// Whether an error is what a server says of the artefact, as opposed to its failure to say something.
const fn is_word(error: &RepoError) -> bool {
    matches!(error, RepoError::NotFound(_) | RepoError::Gone(_) | RepoError::Blocked(_))
}

fn too_slow(what: &str) -> RepoError {
    RepoError::Timeout(format!("{what}: the upstream is too slow"))
}

fn unavailable(what: &str, retry_after: Duration) -> RepoError {
    RepoError::Unavailable { msg: format!("{what}: the upstream cannot be asked now"), retry_after }
}
