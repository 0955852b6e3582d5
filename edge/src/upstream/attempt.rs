//! One fetch's way from center to center, and what comes of each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::HeaderMap;
use parking_lot::Mutex;
use reqwest::StatusCode;
use shared::client::retry_after;
use shared::fill::{FillError, FillErrorKind};
use tokio::time::Instant;

use super::breaker::{Admission, Call, Phase, Verdict};
use super::budget::RetryBudget;
use super::pool::{Center, Chosen, Pool, has_other_than};
use crate::metrics::Metrics;

/// How long the outcome of another request's trial is waited for.
const TRIAL_WAIT: Duration = Duration::from_secs(5);

/// The centers that one fetch may ask, best first. Each is taken at most once; all but the first are charged to the budget.
#[derive(Debug)]
pub(crate) struct Attempts {
    pool: Arc<Pool>,
    left: std::vec::IntoIter<Arc<Center>>,
    /// All that this request may be sent to, were all of them well.
    eligible: Arc<[Arc<Center>]>,
    budget: Arc<Mutex<RetryBudget>>,
    metrics: Metrics,
    is_ahead: bool,
    /// How the next one comes about.
    next: Next,
    /// Those that might have been asked but for their breakers.
    refused: Vec<Arc<Center>>,
    refused_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The first one.
    First,
    /// After a trial: what is risked for the center's sake is not charged to anybody.
    AfterTrial,
    /// A repeat.
    Repeat,
}

/// A center's answer.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The response.
    pub(crate) response: reqwest::Response,
    /// Whose it is, and where the verdict on its body goes.
    pub(crate) attempt: Attempt,
}

/// One request to one center: it counts as in flight until it is dropped.
///
/// The first verdict stands. Whoever reads the body gives it; an answer that has none to read was judged when it came.
#[derive(Debug)]
pub(crate) struct Attempt {
    center: Arc<Center>,
    /// It and those that might take its place.
    eligible: Arc<[Arc<Center>]>,
    pool: Arc<Pool>,
    metrics: Metrics,
    /// It is made ahead of any client: its failure says nothing of what clients ask for, and costs them no center.
    is_ahead: bool,
    trial: bool,
    slow: AtomicBool,
    judged: AtomicBool,
}

/// How a center fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No connection.
    Connect,
    /// A connection, but no agreement on its keys.
    Tls,
    /// No first byte in time.
    FirstByte,
    /// The connection broke, before the answer or within it, or the body stopped.
    Reset,
    /// A status of 500 or above.
    ServerError,
    /// Bytes other than were promised.
    Hash,
}

impl Attempts {
    /// Those that were chosen from the pool; `is_ahead` if no client wants the answer yet.
    pub(super) fn new(
        pool: Arc<Pool>,
        chosen: Chosen,
        budget: Arc<Mutex<RetryBudget>>,
        metrics: Metrics,
        is_ahead: bool,
    ) -> Self {
        let Chosen { centers, refused, refused_until, .. } = chosen;
        budget.lock().earn();
        let eligible = centers.iter().chain(&refused).cloned().collect();
        let left = centers.into_iter();
        Self { pool, left, eligible, budget, metrics, is_ahead, next: Next::First, refused, refused_until }
    }

    /// The next center to ask: one that may still be asked, if the budget has a repeat left.
    pub(super) fn next(&mut self) -> Option<Attempt> {
        let now = Instant::now();
        if !self.may_go_on(now) {
            return None;
        }
        let refused = &mut self.refused;
        let (center, trial) = self.left.by_ref().find_map(|center| {
            let trial = center.health.admit(now);
            if trial.is_none() {
                refused.push(Arc::clone(&center));
            }
            Some((center, trial?))
        })?;
        if self.next == Next::Repeat {
            self.budget.lock().take(now);
        }
        self.next = if trial { Next::AfterTrial } else { Next::Repeat };
        Some(Attempt {
            center,
            eligible: Arc::clone(&self.eligible),
            pool: Arc::clone(&self.pool),
            metrics: self.metrics.clone(),
            is_ahead: self.is_ahead,
            trial,
            slow: AtomicBool::new(false),
            judged: AtomicBool::new(false),
        })
    }

    /// Whether [`Self::next`] would find another center, so that it makes sense to give up on the present one.
    pub(super) fn has_next(&self) -> bool {
        let now = Instant::now();
        let may_be_asked = |center: &Arc<Center>| {
            let admission = center.health.vitals().breaker.admission(now);
            !matches!(admission, Admission::Refused(_))
        };
        self.left.as_slice().iter().any(may_be_asked) && self.may_go_on(now)
    }

    /// When nobody could be asked because one center is just being tried: waits for the outcome. The answer is whether there
    /// is somebody to ask now. So a crowd that comes first after an outage is not refused for coming second.
    pub(super) async fn others_trial(&mut self) -> bool {
        let now = Instant::now();
        let tried = |center: &Arc<Center>| center.health.vitals().breaker.is_tried(now);
        let Some(center) = self.refused.iter().find(|center| tried(center)).cloned() else { return false };
        center.health.trial_ended(TRIAL_WAIT).await;
        let open = center.health.vitals().breaker.admission(Instant::now()) == Admission::Open;
        if open {
            self.refused.clear();
            self.left = vec![center].into_iter();
        }
        open
    }

    /// What is answered when no center could be asked.
    pub(super) fn nobody(&self) -> FillError {
        let error = FillError::new(FillErrorKind::Unavailable, "no center can be asked now");
        let wait = self.refused_until.map(|until| until.saturating_duration_since(Instant::now()));
        // A whole second at least: what is to be tried again sooner is not worth a header.
        wait.map_or(error.clone(), |wait| error.with_retry_after(wait.max(Duration::from_secs(1))))
    }

    fn may_go_on(&self, now: Instant) -> bool {
        match self.next {
            Next::First | Next::AfterTrial => true,
            Next::Repeat => self.budget.lock().is_left(now),
        }
    }
}

impl Attempt {
    /// Whom it asks.
    pub(super) fn center(&self) -> &Center {
        &self.center
    }

    /// What is slow for it.
    pub(super) fn slow_after(&self) -> Duration {
        self.pool.slow
    }

    /// How long its first byte is waited for.
    pub(super) fn first_byte_within(&self) -> Duration {
        self.pool.first_byte
    }

    /// The center did not do what it should.
    pub(super) fn failed(&self, failure: Failure) {
        self.judge(Verdict::Bad, failure.as_str());
    }

    /// The answer came whole, or says by its status all there is to say.
    pub(super) fn succeeded(&self) {
        self.judge(Verdict::Good, "answered");
    }

    /// The first byte is slow to come. That is a reason to leave the center alone only where another can take over: a single
    /// one that is slow is better than none.
    pub(super) fn is_slow(&self) {
        let now = Instant::now();
        let counts = !self.is_ahead && self.can_be_replaced(now);
        if counts && !self.slow.swap(true, Ordering::Relaxed) {
            let changed = self.center.health.slow(now);
            self.center.tell(changed);
        }
        // Probing is the only way to tell a center that works long from one that is gone.
        self.pool.doubt(&self.center);
    }

    /// The first byte came, or did not come in all that time.
    pub(super) fn first_byte(&self, took: Duration) {
        self.center.health.first_byte(Instant::now(), took);
        self.metrics.upstream_first_byte(&self.center.name, took);
    }

    /// Judges an answer whose status leaves nothing to wait for.
    ///
    /// A center that says that one of its sources failed is well itself: a single module that its upstream cannot give must
    /// not cost all the others, nor what is published at the center. It counts only while another center can take over, which
    /// may reach what this one cannot.
    pub(super) fn judge_status(&self, status: StatusCode, headers: &HeaderMap) {
        if status.is_server_error() {
            let is_well = is_beyond(headers) && !self.can_be_replaced(Instant::now());
            let verdict = if is_well { Verdict::Good } else { Verdict::Bad };
            self.judge(verdict, Failure::ServerError.as_str());
        } else if status == StatusCode::TOO_MANY_REQUESTS {
            self.judge(Verdict::Good, "throttled");
            if let Some(pause) = retry_after(headers) {
                self.center.health.vitals().breaker.cool(Instant::now(), pause);
            }
        } else if status != StatusCode::OK && status != StatusCode::PARTIAL_CONTENT {
            self.succeeded();
        }
    }

    /// Whether another center may be asked in its place, by the rules and by its breaker.
    fn can_be_replaced(&self, now: Instant) -> bool {
        has_other_than(&self.center.health, &self.eligible, now)
    }

    fn judge(&self, verdict: Verdict, outcome: &str) {
        if self.judged.swap(true, Ordering::Relaxed) {
            return;
        }
        self.metrics.upstream_request(&self.center.name, outcome);
        if self.is_ahead && verdict == Verdict::Bad {
            if self.trial {
                self.center.health.release();
            }
            // If the center is gone, its probes tell.
            self.pool.doubt(&self.center);
            return;
        }
        let call = Call { trial: self.trial, slow: self.slow.load(Ordering::Relaxed) };
        let changed = self.center.health.judge(Instant::now(), call, verdict);
        self.center.tell(changed);
        if matches!(changed, Some(Phase::Open(_))) {
            // If it is gone, its return shows by its probes; if they are answered all along, it is ill in another way.
            self.pool.doubt(&self.center);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.center.health.left();
        if self.trial && !self.judged.load(Ordering::Relaxed) {
            self.center.health.release();
        }
    }
}

impl Failure {
    /// Its name in figures.
    fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::FirstByte => "first_byte",
            Self::Reset => "reset",
            Self::ServerError => "server_error",
            Self::Hash => "hash",
        }
    }

    /// How a request failed that got no answer.
    pub(super) fn of(error: &reqwest::Error) -> Self {
        if error.is_connect() {
            if is_tls(error) { Self::Tls } else { Self::Connect }
        } else if error.is_timeout() {
            Self::FirstByte
        } else {
            Self::Reset
        }
    }

    /// What the client is told of it: never an address.
    pub(super) fn to_error(self) -> FillError {
        let (kind, message) = match self {
            Self::Connect | Self::Tls => (FillErrorKind::Unavailable, "the center cannot be reached"),
            Self::FirstByte => (FillErrorKind::Timeout, "the center did not answer in time"),
            Self::Reset => (FillErrorKind::Unavailable, "the center broke the connection"),
            Self::ServerError => (FillErrorKind::Upstream, "the center failed"),
            Self::Hash => (FillErrorKind::Integrity, "the center's answer differs from its digest"),
        };
        FillError::new(kind, message)
    }
}

/// Whether the center itself says (RFC 9209) that the failure is that of a source of its own. What stands between edge and
/// center may use the header too: it is the first name that made the answer.
fn is_beyond(headers: &HeaderMap) -> bool {
    let said = headers.get("proxy-status").and_then(|value| value.to_str().ok()).unwrap_or_default();
    said.split_once(';').is_some_and(|(who, what)| who.trim() == "modtier-center" && what.contains("error="))
}

fn is_tls(error: &reqwest::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        // The handshake's error comes wrapped into one of input and output.
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if error.is::<rustls::Error>() || matches!(wrapped, Some(inner) if inner.is::<rustls::Error>()) {
            return true;
        }
        cause = error.source();
    }
    false
}
