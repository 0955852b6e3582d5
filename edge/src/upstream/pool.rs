//! The centers and rules as they are configured, replaced as a whole when the settings change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Url;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::breaker::{Admission, Phase};
use super::choose::{Choice, Standing, choose};
use super::health::Health;
use super::route::{RouteKey, Rules, allows, within_limits};
use crate::config::{Config, ProbeSettings, without_credential};

/// One center.
#[derive(Debug)]
pub(super) struct Center {
    /// Its name in figures, rules and operator actions.
    pub(super) name: String,
    /// Its own weight.
    pub(super) weight: f64,
    /// The labels whose requests it takes first.
    pub(super) labels: Vec<String>,
    /// What is known of its health.
    pub(super) health: Arc<Health>,
    base: Url,
}

/// The centers and what chooses among them.
#[derive(Debug)]
pub(super) struct Pool {
    /// The centers, in the order of the settings.
    pub(super) centers: Vec<Arc<Center>>,
    /// How they are probed.
    pub(super) probes: ProbeSettings,
    /// Wakes the task that probes.
    pub(super) probe_now: Arc<Notify>,
    /// A first byte that takes longer is slow.
    pub(super) slow: Duration,
    /// A first byte that takes longer is not waited for.
    pub(super) first_byte: Duration,
    rules: Rules,
    hysteresis: f64,
    /// The last choice of each class of requests: they do not have the same centers to choose from.
    current: Mutex<BTreeMap<Class, usize>>,
}

/// The rule and the label that a choice was made by, where they make a difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    rule: Option<usize>,
    label: Option<String>,
}

/// A choice, and for whom.
#[derive(Debug)]
pub(super) struct Chosen {
    /// The centers to ask, best first.
    pub(super) centers: Vec<Arc<Center>>,
    /// How it came about.
    pub(super) choice: Choice,
    /// The rule that decided, by its number.
    pub(super) rule: Option<usize>,
    /// The label that made a difference.
    pub(super) label: Option<String>,
    /// Those that might be asked but for their breakers.
    pub(super) refused: Vec<Arc<Center>>,
    /// When the first of those that may not be asked may be asked again.
    pub(super) refused_until: Option<Instant>,
}

impl Pool {
    /// The pool of these settings; what `before` knows of a center that stays is kept.
    pub(super) fn new(config: &Config, before: Option<&Self>) -> Result<Self, String> {
        let centers = config.centers.iter().map(|url| Center::new(url, config, before).map(Arc::new));
        Ok(Self {
            centers: centers.collect::<Result<_, _>>()?,
            probes: config.probes,
            probe_now: before.map_or_else(Arc::default, |before| Arc::clone(&before.probe_now)),
            slow: config.breaker.slow.get(),
            first_byte: config.limits.upstream_first_byte.get(),
            rules: Rules::new(&config.routing),
            hysteresis: config.routing.hysteresis,
            current: Mutex::default(),
        })
    }

    /// Chooses for a request.
    pub(super) fn choose(&self, key: &RouteKey, now: Instant) -> Chosen {
        let rule = self.rules.of(key);
        let label = key.label.as_ref().filter(|label| self.centers.iter().any(|center| center.labels.contains(label)));
        let mut candidates = Vec::with_capacity(self.centers.len());
        let (mut refused, mut refused_until) = (Vec::new(), None);
        for (number, center) in self.centers.iter().enumerate() {
            if rule.is_some_and(|(_, rule)| !allows(rule, &center.name)) {
                continue;
            }
            let (standing, measured) = center.health.standing(now);
            let over_limit = rule.is_some_and(|(_, rule)| !within_limits(rule, measured));
            let other_label = label.is_some_and(|label| !center.labels.contains(label));
            let weight = rule.and_then(|(_, rule)| rule.weights.get(&center.name)).copied().unwrap_or(center.weight);
            let rank = 2 * u8::from(over_limit) + u8::from(other_label);
            if let Admission::Refused(until) = standing.admission {
                refused.push(Arc::clone(center));
                refused_until = Some(refused_until.map_or(until, |earlier: Instant| earlier.min(until)));
            }
            candidates.push(Standing { center: number, weight, rank, ..standing });
        }
        let class = Class { rule: rule.map(|(number, _)| number), label: label.cloned() };
        let mut current = self.current.lock();
        let choice = choose(&candidates, current.get(&class).copied(), self.hysteresis);
        if let Some(first) = choice.order.first() {
            current.insert(class.clone(), *first);
        }
        drop(current);
        let centers = choice.order.iter().map(|number| Arc::clone(&self.centers[*number])).collect();
        Chosen { centers, choice, rule: class.rule, label: class.label, refused, refused_until }
    }

    /// Lets a center be probed now: there is reason to doubt that it is there.
    pub(super) fn doubt(&self, center: &Center) {
        center.health.doubt(Instant::now(), self.probes.interval.get() / 5);
        self.probe_now.notify_one();
    }
}

/// Whether one of these centers may be asked in another's place, whose health this is: then its slowness need not be borne.
pub(super) fn has_other_than(health: &Arc<Health>, centers: &[Arc<Center>], now: Instant) -> bool {
    let mut others = centers.iter().filter(|center| !Arc::ptr_eq(&center.health, health));
    others.any(|other| other.health.vitals().breaker.admission(now) == Admission::Open)
}

impl Center {
    /// The center at `url`.
    pub(super) fn new(url: &str, config: &Config, before: Option<&Pool>) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| format!("centers: not a URL: {error}"))?;
        let settings = config.center(&url);
        let mut base = url;
        // Joining below a path needs the trailing slash; a query or a fragment would swallow what is joined.
        base.set_query(None);
        base.set_fragment(None);
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        let known = before.and_then(|before| before.centers.iter().find(|center| center.base == base));
        let health = known.map_or_else(|| Arc::new(Health::new(config.breaker)), |known| Arc::clone(&known.health));
        health.vitals().breaker.reconfigure(config.breaker);
        Ok(Self { name: settings.name, weight: settings.weight, labels: settings.labels, health, base })
    }

    /// `path` is [`shared::request::Request::to_path`]'s: canonical, and percent-encoded where a URL needs it.
    pub(super) fn repository_url(&self, repository: &str, path: &str) -> Url {
        self.url(&format!("api/go/{repository}/{path}"))
    }

    /// `path_and_query` below the repository in the center's administration.
    pub(super) fn api_url(&self, repository: &str, path_and_query: &str) -> Url {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let mut url = self.url(&format!("api/v1/repos/{repository}/{path}"));
        url.set_query(query);
        url
    }

    /// What a probe asks for.
    pub(super) fn probe_url(&self) -> Url {
        self.url("healthz")
    }

    /// The URL without what must not be shown.
    pub(super) fn public_url(&self) -> String {
        without_credential(&self.base).to_string()
    }

    /// Says in the log that the breaker changed.
    pub(super) fn tell(&self, changed: Option<Phase>) {
        match changed {
            Some(Phase::Open(until)) => {
                let for_ms = until.saturating_duration_since(Instant::now()).as_millis();
                tracing::warn!(center = self.name, for_ms, "the center is left alone");
            }
            Some(Phase::HalfOpen) => tracing::info!(center = self.name, "the center is tried again"),
            Some(Phase::Closed) => tracing::info!(center = self.name, "the center is asked again"),
            None => {}
        }
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }
}

#[cfg(test)]
mod tests;
