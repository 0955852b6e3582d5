//! What is to be asked anew because an event said that it changed.
//!
//! From an event until a fetch that began after it, requests wait for that fetch instead of taking what is held.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use shared::artefact::Artefact;
use shared::module::{ModulePath, Version};
use tokio::sync::Semaphore;

use super::{Flight, Private};
use crate::repository::{RepoError, list};
use crate::store::MutableOutcome;

/// How many new versions of a module are fetched after an event before anybody asked: for a first import of a repository with
/// thousands of tags nobody waits.
const VERSIONS_AHEAD_MAX: usize = 20;

/// How many events of one repository are read at a time: nobody has shown a signature before the last byte.
const EVENTS_MAX: usize = 4;

/// Where events arrive.
pub(crate) struct Webhook {
    /// What they are signed with.
    pub(crate) secret: String,
    /// Who may read one now.
    pub(crate) readers: Semaphore,
}

impl Webhook {
    pub(super) fn new(secret: String) -> Self {
        Self { secret, readers: Semaphore::new(EVENTS_MAX) }
    }
}

/// The flights that are awaited, by the number of the last event about them.
#[derive(Debug, Default)]
pub(super) struct Renewals(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    events: u64,
    awaited: HashMap<Flight, u64>,
}

impl Renewals {
    /// Something changed at these.
    fn announce(&self, flights: impl IntoIterator<Item = Flight>) {
        let mut state = self.0.lock();
        state.events += 1;
        let event = state.events;
        state.awaited.extend(flights.into_iter().map(|flight| (flight, event)));
    }

    /// Whether what is held is known to be old.
    pub(super) fn awaits(&self, flight: &Flight) -> bool {
        self.0.lock().awaited.contains_key(flight)
    }

    /// For a flight that begins now.
    pub(super) fn mark(&self) -> u64 {
        self.0.lock().events
    }

    /// A flight that began at `mark` has brought its answer.
    pub(super) fn done(&self, flight: &Flight, mark: u64) {
        let mut state = self.0.lock();
        if state.awaited.get(flight).is_some_and(|&event| event <= mark) {
            state.awaited.remove(flight);
        }
    }
}

/// What is known of a module, by the names of the recorded answers.
#[derive(Debug, Default)]
struct Known {
    queries: BTreeSet<String>,
    latest: Option<crate::store::Stored>,
}

impl Private {
    /// An event about the repositories at these places, `host/path`. Returns how many modules are asked anew; that goes on
    /// when this has returned.
    pub(in crate::repository) async fn renew(self: &Arc<Self>, places: &[String]) -> Result<usize, RepoError> {
        let mut concerned = Vec::new();
        for (module, known) in self.known().await? {
            if is_below(module.as_str(), places) || self.comes_from(&known, places).await? {
                concerned.push((module, known.queries));
            }
        }
        for (module, queries) in &concerned {
            let queries = queries.iter().map(|query| Flight::Query(module.clone(), query.clone()));
            self.renewals.announce(queries.chain([Flight::Listing(module.clone())]));
        }
        let count = concerned.len();
        let this = Arc::clone(self);
        tokio::spawn(async move {
            for (module, queries) in concerned {
                this.renew_module(&module, queries).await;
            }
        });
        Ok(count)
    }

    /// Every module of which an answer or an absence is recorded.
    async fn known(&self) -> Result<BTreeMap<ModulePath, Known>, RepoError> {
        let mut modules: BTreeMap<String, Known> = BTreeMap::new();
        self.store
            .for_each_mutable(&self.name, |module, name, record| {
                let known = modules.entry(module.to_owned()).or_default();
                if let MutableOutcome::Found(stored) = record.outcome
                    && name == Artefact::Latest.file_name()
                {
                    known.latest = Some(stored);
                }
                known.queries.extend(query_of(name));
            })
            .await?;
        // A version's recorded absence has the form of a query; it ends by the list.
        let parsed = modules.into_iter().filter_map(|(module, mut known)| {
            let module = ModulePath::new(&module).ok()?;
            known.queries.retain(|query| Version::new(&module, query).is_err());
            Some((module, known))
        });
        Ok(parsed.collect())
    }

    /// Whether the module's code was last found at one of these places: its path need not say so.
    async fn comes_from(&self, known: &Known, places: &[String]) -> Result<bool, RepoError> {
        #[derive(Deserialize)]
        struct Info {
            #[serde(rename = "Origin")]
            origin: Option<Origin>,
        }
        #[derive(Deserialize)]
        struct Origin {
            #[serde(rename = "URL", default)]
            url: String,
        }
        let Some(latest) = &known.latest else { return Ok(false) };
        let Some(body) = self.store.load(latest).await? else { return Ok(false) };
        let origin = serde_json::from_slice::<Info>(&body).ok().and_then(|info| info.origin);
        Ok(origin.and_then(|origin| place_of(&origin.url)).is_some_and(|place| places.contains(&place)))
    }

    async fn renew_module(self: &Arc<Self>, module: &ModulePath, queries: BTreeSet<String>) {
        let before = self.listed(module).await;
        let flights = queries.into_iter().map(|query| Flight::Query(module.clone(), query));
        for flight in std::iter::once(Flight::Listing(module.clone())).chain(flights) {
            while self.renewals.awaits(&flight) {
                if let Err(error) = self.join(&flight).done().await {
                    // It stays awaited: whoever asks next tries again.
                    tracing::warn!(%module, %error, "what changed could not be fetched");
                    break;
                }
            }
        }
        let new = self.listed(module).await.into_iter().filter(|version| !before.contains(version));
        for version in new.rev().take(VERSIONS_AHEAD_MAX) {
            // Its commit tells the log of the version.
            if let Err(error) = self.join(&Flight::Metadata(module.clone(), version)).done().await {
                tracing::warn!(%module, %error, "a new version could not be fetched");
            }
        }
    }

    async fn listed(&self, module: &ModulePath) -> Vec<Version> {
        let Ok(Some(record)) = self.recorded(module, &Artefact::List).await else { return Vec::new() };
        let MutableOutcome::Found(stored) = record.outcome else { return Vec::new() };
        let body = self.store.load(&stored).await.ok().flatten();
        body.map_or_else(Vec::new, |body| list::read_own(module, &body))
    }
}

/// The query of a recorded answer's file name, if it is one.
fn query_of(name: &str) -> Option<String> {
    let escaped = name.strip_prefix("@v/")?.strip_suffix(".info")?;
    shared::module::unescape_version(escaped).ok()
}

fn is_below(module: &str, places: &[String]) -> bool {
    places
        .iter()
        .any(|place| module.strip_prefix(place.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// `host/path` of a repository's URL, however it is written: the same for `https://u@h/a/b.git`, `ssh://git@h:22/a/b` and
/// `git@h:a/b.git`.
pub(crate) fn place_of(url: &str) -> Option<String> {
    let (host, path) = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?,
        None => url.split_once(':').or_else(|| url.split_once('/'))?,
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (!host.is_empty() && !path.is_empty()).then(|| format!("{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_repository_has_one_place_however_it_is_written() {
        for url in [
            "https://git.corp.test/team/lib.git",
            "https://user:x@Git.Corp.Test:443/team/lib",
            "ssh://git@git.corp.test:22/team/lib.git",
            "git@git.corp.test:team/lib.git",
            "git.corp.test/team/lib/",
        ] {
            assert_eq!(place_of(url).as_deref(), Some("git.corp.test/team/lib"), "{url}");
        }
        for url in ["", "https://git.corp.test", "https://git.corp.test/", "nonsense"] {
            assert_eq!(place_of(url), None, "{url}");
        }
    }

    #[test]
    fn modules_lie_below_by_whole_elements() {
        let places = ["git.corp.test/team/lib".to_owned()];
        assert!(is_below("git.corp.test/team/lib", &places));
        assert!(is_below("git.corp.test/team/lib/sub/v2", &places));
        assert!(!is_below("git.corp.test/team/library", &places));
        assert!(!is_below("git.corp.test/team", &places));
    }

    #[test]
    fn a_flight_that_began_before_an_event_does_not_answer_it() {
        let renewals = Renewals::default();
        let flight = Flight::Listing(ModulePath::new("a.test/m").unwrap());
        let early = renewals.mark();
        renewals.announce([flight.clone()]);
        let late = renewals.mark();
        renewals.done(&flight, early);
        assert!(renewals.awaits(&flight));
        renewals.done(&flight, late);
        assert!(!renewals.awaits(&flight));
    }
}
