//! What the administration shows of the choice of a center, and what an operator may do about it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::Upstream;
use super::breaker::Phase;
use super::choose::Why;
use super::pool::{Center, Chosen, Pool};
use super::rtt::millis;

/// The longest that an operator's word may hold.
const FORCED_MAX: Duration = Duration::from_hours(24);

/// All centers and the last choice, for `/api/v1/upstreams`.
#[derive(Debug, Serialize)]
pub(crate) struct UpstreamReport {
    upstreams: Vec<CenterReport>,
    last_choice: Option<ChoiceReport>,
    /// Requests that may be repeated at another center at this moment.
    repeats_left: f64,
}

/// One center.
#[derive(Debug, Serialize)]
struct CenterReport {
    name: String,
    url: String,
    weight: f64,
    labels: Vec<String>,
    /// The last probes in milliseconds, oldest first; null is a lost one.
    window_ms: Vec<Option<f64>>,
    mean_ms: Option<f64>,
    p95_ms: Option<f64>,
    loss: f64,
    /// The average of real answers' first bytes.
    ewma_ms: Option<f64>,
    success_rate: f64,
    in_flight: usize,
    breaker: BreakerReport,
}

/// A breaker.
#[derive(Debug, Serialize)]
struct BreakerReport {
    /// `closed`, `open` or `half-open`.
    state: &'static str,
    /// How long it stays open.
    remaining_ms: Option<f64>,
    /// Whether an operator forces it, and for how long.
    forced_ms: Option<f64>,
    /// How long the center asked to be left alone.
    cooling_ms: Option<f64>,
}

/// A choice.
#[derive(Debug, Clone, Serialize)]
struct ChoiceReport {
    center: Option<String>,
    reason: &'static str,
    age_ms: f64,
    /// The number of the rule that decided, from 0.
    rule: Option<usize>,
    label: Option<String>,
    candidates: Vec<CandidateReport>,
}

/// What a center cost when the choice was made.
#[derive(Debug, Clone, Serialize)]
struct CandidateReport {
    name: String,
    cost_ms: f64,
}

/// The last choice, as it was made.
#[derive(Debug, Default)]
pub(super) struct LastChoice(Mutex<Option<(Instant, ChoiceReport)>>);

/// What an operator may do to a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// Nobody asks the center.
    Open,
    /// It is asked whatever happens.
    Close,
    /// It is left to itself again.
    Auto,
}

impl Upstream {
    /// What is known of every center, and why the last choice was made.
    pub(crate) fn report(&self) -> UpstreamReport {
        let now = Instant::now();
        let pool = self.pool.load();
        UpstreamReport {
            upstreams: pool.centers.iter().map(|center| CenterReport::of(center, now)).collect(),
            last_choice: self.last_choice.report(now),
            repeats_left: self.budget.lock().tokens(),
        }
    }

    /// Forces a center's breaker open or closed for a while, or leaves it to itself again, which takes no time.
    pub(crate) fn operate(&self, name: &str, operation: Operation, length: Duration) -> Result<(), String> {
        let pool = self.pool.load();
        let Some(center) = pool.centers.iter().find(|center| center.name == name) else {
            let names: Vec<&str> = pool.centers.iter().map(|center| center.name.as_str()).collect();
            return Err(format!("no center is named {name:?}; there are {}", names.join(", ")));
        };
        if operation != Operation::Auto && (length.is_zero() || length > FORCED_MAX) {
            return Err("for: must be above 0 and at most 24 h".to_owned());
        }
        let now = Instant::now();
        let changed = center.health.change(now, |vitals| match operation {
            Operation::Open => vitals.breaker.force(true, now + length),
            Operation::Close => vitals.breaker.force(false, now + length),
            Operation::Auto => vitals.breaker.unforce(),
        });
        tracing::info!(center = name, ?operation, ?length, "an operator acts on a breaker");
        center.tell(changed);
        Ok(())
    }

    /// Takes the breakers' states over into the figures.
    pub(crate) fn export_states(&self) {
        let now = Instant::now();
        for center in &self.pool.load().centers {
            let state = state_of(center.health.vitals().breaker.phase(now)).0;
            self.metrics.breaker_state(&center.name, state);
        }
    }
}

impl CenterReport {
    fn of(center: &Center, now: Instant) -> Self {
        let vitals = center.health.vitals();
        let left = |until: Instant| millis(until.saturating_duration_since(now));
        let (state, until) = state_of(vitals.breaker.phase(now));
        Self {
            name: center.name.clone(),
            url: center.public_url(),
            weight: center.weight,
            labels: center.labels.clone(),
            window_ms: vitals.window.millis(),
            mean_ms: vitals.window.mean().map(millis),
            p95_ms: vitals.window.p95().map(millis),
            loss: vitals.window.loss(),
            ewma_ms: vitals.first_byte.value(now).map(millis),
            success_rate: vitals.success.value(now),
            in_flight: center.health.in_flight(),
            breaker: BreakerReport {
                state,
                remaining_ms: until.map(left),
                forced_ms: vitals.breaker.forced(now).map(|(_, until)| left(until)),
                cooling_ms: vitals.breaker.cooling(now).map(left),
            },
        }
    }
}

impl LastChoice {
    /// Keeps a choice.
    pub(super) fn note(&self, pool: &Arc<Pool>, chosen: &Chosen) {
        let name = |number: usize| pool.centers[number].name.clone();
        let costs = chosen.choice.costs.iter();
        let report = ChoiceReport {
            center: chosen.choice.order.first().copied().map(name),
            reason: reason_of(chosen.choice.why),
            age_ms: 0.0,
            rule: chosen.rule,
            label: chosen.label.clone(),
            candidates: costs.map(|&(number, cost_ms)| CandidateReport { name: name(number), cost_ms }).collect(),
        };
        *self.0.lock() = Some((Instant::now(), report));
    }

    fn report(&self, now: Instant) -> Option<ChoiceReport> {
        let last = self.0.lock().clone();
        last.map(|(at, report)| ChoiceReport { age_ms: millis(now.saturating_duration_since(at)), ..report })
    }
}

fn state_of(phase: Phase) -> (&'static str, Option<Instant>) {
    match phase {
        Phase::Closed => ("closed", None),
        Phase::Open(until) => ("open", Some(until)),
        Phase::HalfOpen => ("half-open", None),
    }
}

fn reason_of(why: Why) -> &'static str {
    match why {
        Why::NoneLeft => "no center may be asked now",
        Why::Only => "no other center may be asked now",
        Why::Cheapest => "it costs least",
        Why::Kept => "it was the last choice and none is enough cheaper",
        Why::Ranked => "the limits of a rule or the label speak against cheaper ones",
        Why::Trial => "its breaker is half-open: one request is tried",
    }
}
