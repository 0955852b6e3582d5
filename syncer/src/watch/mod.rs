//! Upstream watching: new versions of hot modules are found before anybody asks for them.
//!
//! ```text
//! hot lists of the edges ─▶ schedule ─▶ the center asks its upstream ─▶ its change record tells every edge
//!                             ▲    how often it changes │
//!                             └──────────────────────────┴─▶ the new versions are wanted on the edges
//! ```

mod deliver;
mod refresh;
mod schedule;
mod settings;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

pub(crate) use self::deliver::{deliver, warm};
use self::refresh::{Refreshed, refresh};
use self::schedule::{Pace, Schedule};
pub(crate) use self::settings::WatchSettings;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::metrics::Metrics;
use crate::popularity::hottest;

/// Modules that the center is asked to refresh at a time.
const BATCH_MAX: usize = 20;

/// How often it is looked whose turn it is.
const TICK: Duration = Duration::from_secs(1);

/// How often the hot lists are read.
const HOT_EVERY: Duration = Duration::from_secs(30);

/// New versions of one module that are wanted at once, the newest: who releases fifty in a night is not built with all of them.
const NEW_VERSIONS_MAX: usize = 5;

/// A version that appeared upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct NewVersion {
    /// The module's path.
    pub(crate) module: String,
    /// The version.
    pub(crate) version: String,
}

/// What one pass came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Looks {
    /// Modules that were asked for.
    pub(crate) asked: usize,
    /// Those that could not be.
    pub(crate) failed: usize,
    /// What appeared.
    pub(crate) new: Vec<NewVersion>,
}

/// Watches the upstreams of one repository.
pub(crate) struct Watcher {
    fleet: Arc<Fleet>,
    center: String,
    settings: WatchSettings,
    schedule: Schedule,
    /// The versions of each watched module when they were last seen.
    seen: HashMap<String, BTreeSet<String>>,
    metrics: Metrics,
}

impl Watcher {
    /// Watches what the edges of `fleet` are asked for.
    pub(crate) fn new(fleet: Arc<Fleet>, config: &Config, metrics: Metrics) -> Self {
        let settings = config.watch.clone();
        let pace = Pace {
            interval_min: settings.interval_min.get(),
            interval_max: settings.interval_max.get(),
            rate_per_minute: settings.rate_per_minute,
        };
        let schedule = Schedule::new(pace);
        Self { fleet, center: config.center.clone(), settings, schedule, seen: HashMap::new(), metrics }
    }

    /// Watches until the process ends; what appears goes to `wanted`.
    pub(crate) async fn run(mut self, wanted: mpsc::Sender<NewVersion>) {
        let mut ticks = interval(TICK.min(self.settings.interval_min.get()));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hot_read: Option<Instant> = None;
        loop {
            ticks.tick().await;
            if hot_read.is_none_or(|at| at.elapsed() >= HOT_EVERY.min(self.settings.interval_min.get())) {
                hot_read = Some(Instant::now());
                self.read_hot().await;
            }
            let mut pass = Looks::default();
            self.look(&mut pass).await;
            for version in pass.new {
                // Who pre-warms is slower than upstreams release only for a while.
                if wanted.send(version).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Looks at every hot module once; none if nobody tells what is hot.
    pub(crate) async fn once(&mut self) -> Option<Looks> {
        if !self.read_hot().await {
            return None;
        }
        self.schedule.all_due(Instant::now());
        let mut pass = Looks::default();
        loop {
            self.look(&mut pass).await;
            if !self.schedule.has_due(Instant::now()) {
                return Some(pass);
            }
            // The upstreams' rate is used up for the moment.
            sleep(TICK).await;
        }
    }

    async fn read_hot(&mut self) -> bool {
        let Ok(hot) = hottest(&self.fleet, self.settings.modules).await else { return false };
        let hot = hot.into_iter().filter(|hot| hot.requests >= self.settings.requests_min);
        self.schedule.watch(hot.map(|hot| (hot.module, hot.requests)), Instant::now());
        self.seen.retain(|module, _| self.schedule.knows(module));
        true
    }

    async fn look(&mut self, pass: &mut Looks) {
        loop {
            let due = self.schedule.take_due(BATCH_MAX, Instant::now());
            if due.is_empty() {
                return;
            }
            pass.asked += due.len();
            match refresh(self.fleet.center(), &self.center, self.fleet.repository(), &due).await {
                Ok(refreshed) => {
                    for module in refreshed {
                        self.take(module, pass);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, modules = due.len(), "the center could not be asked to look upstream");
                    self.metrics.watch_requests.with_label_values(&["failed"]).inc_by(due.len() as u64);
                    pass.failed += due.len();
                }
            }
        }
    }

    fn take(&mut self, refreshed: Refreshed, pass: &mut Looks) {
        let Refreshed { module, versions, new, sources, error } = refreshed;
        let now = Instant::now();
        if let Some(error) = error {
            tracing::debug!(module, error, "no list from upstream");
            self.metrics.watch_requests.with_label_values(&["failed"]).inc();
            pass.failed += 1;
            return self.schedule.looked(&module, false, sources, now);
        }
        let appeared = appeared(self.seen.get(&module), &versions, &new);
        let outcome = if appeared.is_empty() { "unchanged" } else { "changed" };
        self.metrics.watch_requests.with_label_values(&[outcome]).inc();
        self.metrics.watch_versions.inc_by(appeared.len() as u64);
        self.schedule.looked(&module, !appeared.is_empty(), sources, now);
        for version in appeared {
            tracing::info!(module, version, "a new version upstream");
            pass.new.push(NewVersion { module: module.clone(), version });
        }
        self.seen.insert(module, versions.into_iter().collect());
    }
}

/// What is new in a list: what the center had not known, and what we had not seen because somebody else had the center ask before us. The
/// newest come last and count.
fn appeared(seen: Option<&BTreeSet<String>>, versions: &[String], new: &[String]) -> Vec<String> {
    let is_new = |version: &&String| new.contains(version) || seen.is_some_and(|seen| !seen.contains(*version));
    let all: Vec<_> = versions.iter().filter(is_new).cloned().collect();
    all[all.len().saturating_sub(NEW_VERSIONS_MAX)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_version_is_new_to_the_center_or_to_us() {
        let list = names(&["v1.0.0", "v1.1.0", "v1.2.0"]);
        assert!(appeared(None, &list, &[]).is_empty(), "what was there when we came is not new");
        assert_eq!(appeared(None, &list, &list[2..]), ["v1.2.0"]);
        let seen: BTreeSet<String> = list[..1].iter().cloned().collect();
        assert_eq!(appeared(Some(&seen), &list, &[]), ["v1.1.0", "v1.2.0"]);
        assert_eq!(
            appeared(Some(&BTreeSet::new()), &names(&["1", "2", "3", "4", "5", "6"]), &[]).first().unwrap(),
            "2"
        );
    }
}
