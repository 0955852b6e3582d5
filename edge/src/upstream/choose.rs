//! Which center is asked first, and which ones after it.
//!
//! A center costs what its answers take, times how many wait there already, more the less often it answers and less the
//! higher its weight. The cheapest one is asked; the one that was asked last stays until another is a tenth cheaper, so that
//! equals do not take turns. Nothing here reads a clock or a center: it is a function of what is known.

use std::time::Duration;

use super::breaker::Admission;
use super::rtt::millis;

/// Differences below this say nothing: it is the least that an answer is taken to need.
const LEAST: Duration = Duration::from_millis(1);

/// What a center is taken to need as long as nothing is known of any.
const UNKNOWN: Duration = Duration::from_millis(100);

/// What is known of a center when a choice is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    /// Its number in the pool.
    pub(super) center: usize,
    /// Whether it may be asked.
    pub(super) admission: Admission,
    /// The larger of the probes' mean and the average of real answers, if there was either.
    pub(super) estimate: Option<Duration>,
    /// Requests that wait for it or read from it.
    pub(super) in_flight: usize,
    /// The part of its requests that went well; above 0.
    pub(super) success: f64,
    /// Its weight; above 0.
    pub(super) weight: f64,
    /// Whether its last probe was lost.
    pub(super) probe_lost: bool,
    /// Centers of a lower rank come first, whatever they cost: 0 for those that label and limits speak for.
    pub(super) rank: u8,
}

/// The order in which centers are to be asked. One that may not be asked is not in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// Numbers of centers, best first.
    pub(super) order: Vec<usize>,
    /// Why the first one is first.
    pub(super) why: Why,
    /// What each candidate costs, in the order of the standings, in milliseconds.
    pub(super) costs: Vec<(usize, f64)>,
}

/// Why a center is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// None may be asked.
    NoneLeft,
    /// No other may be asked.
    Only,
    /// It costs least.
    Cheapest,
    /// It was the last choice, and none is enough cheaper.
    Kept,
    /// A rule's limits or the label speak against the others.
    Ranked,
    /// Its breaker is half-open and its probes are answered: it gets its trial.
    Trial,
}

/// Orders the candidates. `current` is the last choice.
pub(super) fn choose(candidates: &[Standing], current: Option<usize>, hysteresis: f64) -> Choice {
    let assumed = candidates.iter().filter_map(|standing| standing.estimate).min().unwrap_or(UNKNOWN);
    let priced: Vec<(&Standing, f64)> = candidates.iter().map(|s| (s, cost(s, assumed))).collect();
    let costs = priced.iter().map(|(standing, cost)| (standing.center, *cost)).collect();
    let mut open: Vec<_> = priced.iter().filter(|(s, _)| s.admission == Admission::Open).copied().collect();
    open.sort_by(|(a, cost), (b, other)| a.rank.cmp(&b.rank).then(cost.total_cmp(other)));
    let mut why = match open.as_slice() {
        [] => Why::NoneLeft,
        [_] => Why::Only,
        [(first, cost), others @ ..] if others.iter().any(|(s, other)| s.rank > first.rank && other < cost) => {
            Why::Ranked
        }
        [_, ..] => Why::Cheapest,
    };
    let kept = open.iter().position(|(standing, _)| Some(standing.center) == current).filter(|at| *at > 0);
    if let Some(at) = kept {
        let ((best, best_cost), (present, present_cost)) = (open[0], open[at]);
        if best.rank == present.rank && best_cost > present_cost * (1.0 - hysteresis) {
            open[..=at].rotate_right(1);
            why = Why::Kept;
        }
    }
    let mut order: Vec<usize> = open.iter().map(|(standing, _)| standing.center).collect();
    // A trial that is likely to succeed comes first, or a center that is not the cheapest would never be closed again.
    // One whose probes are lost is only tried when nobody else is left.
    for (standing, _) in priced.iter().filter(|(standing, _)| standing.admission == Admission::Trial) {
        if standing.probe_lost {
            order.push(standing.center);
        } else {
            order.insert(0, standing.center);
        }
        if order[0] == standing.center {
            why = Why::Trial;
        }
    }
    Choice { order, why, costs }
}

/// What a request costs at a center, in milliseconds. `assumed` is what an unknown one is taken to need: as much as the best
/// of the others, so that it is tried as soon as that one is busy.
fn cost(standing: &Standing, assumed: Duration) -> f64 {
    let estimate = standing.estimate.unwrap_or(assumed).max(LEAST);
    millis(estimate) * (standing.in_flight + 1) as f64 / standing.success / standing.weight
}

#[cfg(test)]
mod tests;
