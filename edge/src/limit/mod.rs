//! What one edge takes on at most, and what one client.
//!
//! ```text
//! request ─▶ rate of client and tenant ─▶ cache ─▶ miss ─▶ join or begin the fill
//!              (off by default) └ 429                        │
//!                                     turn: fills a second of this client; its own queue, then 429
//!                                                            │
//!                                     queue: fetches at one time; requests before refreshes, then 503
//!                                                            │
//!                                     pace: how slow a center may be, then the next center
//! ```
//! Hits and joined fills cost nothing. All numbers are read at each use, so a reload changes them.

mod client;
mod pace;
mod queue;
mod rate;
mod turn;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use shared::fill::{FillError, FillErrorKind};

pub(crate) use self::client::ClientNet;
pub(crate) use self::pace::{Pace, PaceLimits, TooSlow};
use self::queue::{NoPlace, Queue};
pub(crate) use self::queue::{Place, QueueLimits, Urgency};
use self::rate::Rates;
use self::turn::Allowance;
use crate::cache::Key;
use crate::config::Config;

/// When a fill may ask a center.
pub(crate) type Turn = turn::Turn<Key>;

/// Too many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// Whose.
    pub(crate) whose: Whose,
    /// When there is room again.
    pub(crate) retry_after: Duration,
}

impl From<TooMany> for FillError {
    fn from(too_many: TooMany) -> Self {
        Self::new(FillErrorKind::Unavailable, too_many.whose.reason()).with_retry_after(too_many.retry_after)
    }
}

/// Whose limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The fills that a client begins.
    ClientFills,
    /// A client's requests.
    ClientRequests,
    /// A tenant's requests.
    TenantRequests,
}

impl Whose {
    /// Its name in figures.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ClientFills => "client_fills",
            Self::ClientRequests => "client_requests",
            Self::TenantRequests => "tenant_requests",
        }
    }

    /// What the client is told.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::ClientFills => "this client asks for too much that is not here yet",
            Self::ClientRequests => "this client sends too many requests",
            Self::TenantRequests => "this tenant sends too many requests",
        }
    }
}

/// The limits and what counts against them.
#[derive(Debug)]
pub(crate) struct Limits {
    requests: Rates<ClientNet>,
    tenants: Rates<u64>,
    turns: Arc<turn::Turns<Key>>,
    queue: Arc<Queue>,
}

impl Limits {
    /// Nothing is counted yet.
    pub(crate) fn new() -> Self {
        Self { requests: Rates::new(), tenants: Rates::new(), turns: turn::Turns::new(), queue: Queue::new() }
    }

    /// Counts a request.
    pub(crate) fn admit(&self, config: &Config, client: ClientNet) -> Result<(), TooMany> {
        let too_many = |whose| move |retry_after| TooMany { whose, retry_after };
        let (of_client, of_tenant) = (config.limits.client_requests, config.limits.tenant_requests);
        if of_client > 0 {
            self.requests.reserve(client, of_client, Duration::ZERO).map_err(too_many(Whose::ClientRequests))?;
        }
        if of_tenant > 0 {
            // Tenants are few, and a hash of the name is as good as the name.
            let tenant = BuildHasherDefault::<DefaultHasher>::default().hash_one(&config.tenant);
            self.tenants.reserve(tenant, of_tenant, Duration::ZERO).map_err(too_many(Whose::TenantRequests))?;
        }
        Ok(())
    }

    /// A turn for a new fill of `key`, or, without one, for a transfer that nobody joins. Without a client no rate counts.
    pub(crate) fn turn(
        &self,
        config: &Config,
        key: Option<&Key>,
        client: Option<ClientNet>,
        urgency: Urgency,
    ) -> Result<Arc<Turn>, TooMany> {
        let limits = &config.limits;
        let wait = match urgency {
            Urgency::Request => limits.client_fills_queue.get(),
            // A refresh that would have to wait is begun by a later request.
            Urgency::Background => Duration::ZERO,
        };
        let allowed = Allowance {
            client_fills: client.map_or(0, |_| limits.client_fills),
            wait,
            waiting_max: limits.fills_waiting_max,
        };
        let taken = self.turns.take(key, client.unwrap_or(ClientNet::Unknown), urgency, allowed);
        taken.map_err(|retry_after| TooMany { whose: Whose::ClientFills, retry_after })
    }

    /// A client joins the fill of `key`, which may still wait for its turn.
    pub(crate) fn hasten(&self, config: &Config, key: &Key, client: ClientNet) {
        self.turns.hasten(key, client, config.limits.client_fills);
    }

    /// Waits for the turn and then for a place among the fetches, which lasts as long as the answer is kept.
    pub(crate) async fn place(&self, turn: &Turn, limits: QueueLimits) -> Result<Place, FillError> {
        turn.come().await;
        let entered = self.queue.enter(|| turn.urgency(), turn.changed(), limits).await;
        entered.map_err(|no_place| {
            let message = match no_place {
                NoPlace::Full => "too many requests to the center are waiting",
                NoPlace::TooLong => "requests to the center wait too long",
            };
            FillError::new(FillErrorKind::Unavailable, message).with_retry_after(limits.wait)
        })
    }

    /// How many wait: for their client's rate, for a place as requests, for a place in the background.
    pub(crate) fn waiting(&self) -> (usize, usize, usize) {
        let (requests, background) = self.queue.waiting();
        (self.turns.waiting(), requests, background)
    }
}
