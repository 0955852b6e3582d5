//! What is counted of every request: found by its labels once, not each time.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::IntCounter;
use shared::artefact::ArtefactKind;
use shared::request::Request;
use shared::telemetry::RouteMetrics;

use super::Target;
use crate::metrics::Metrics;
use crate::respond::XCache;

/// What a request is for, in figures and log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Nothing that this edge answers.
    Refused,
    /// The page at `/`.
    Front,
    /// `/healthz`.
    Health,
    /// `/readyz`.
    Ready,
    /// `/version`.
    Version,
    /// A part of a checksum database.
    Sumdb,
    /// An artefact.
    Artefact(ArtefactKind),
}

const ROUTES: [Route; 12] = [
    Route::Refused,
    Route::Front,
    Route::Health,
    Route::Ready,
    Route::Version,
    Route::Sumdb,
    Route::Artefact(ArtefactKind::List),
    Route::Artefact(ArtefactKind::Latest),
    Route::Artefact(ArtefactKind::Query),
    Route::Artefact(ArtefactKind::Info),
    Route::Artefact(ArtefactKind::Mod),
    Route::Artefact(ArtefactKind::Zip),
];

impl Route {
    /// The route of what was asked, if it is answered at all.
    pub(super) fn of(target: Option<&Target>) -> Self {
        match target {
            None => Self::Refused,
            Some(Target::Front) => Self::Front,
            Some(Target::Health) => Self::Health,
            Some(Target::Ready) => Self::Ready,
            Some(Target::Version) => Self::Version,
            Some(Target::Artefact(Request::Sumdb(_))) => Self::Sumdb,
            Some(Target::Artefact(Request::Module(module))) => Self::Artefact(module.artefact.kind()),
        }
    }

    /// Its name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Front => "front",
            Self::Health => "healthz",
            Self::Ready => "readyz",
            Self::Version => "version",
            Self::Sumdb => "sumdb",
            Self::Artefact(kind) => kind.as_str(),
        }
    }
}

/// How long ago the recent requests may have begun: between one and two of these.
const RECENT: Duration = Duration::from_mins(5);

/// The figures of all routes.
#[derive(Debug)]
pub(crate) struct Tally {
    metrics: Metrics,
    repo: String,
    routes: Vec<OfRoute>,
    marks: Mutex<Marks>,
}

/// Requests that the cache took part in.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hits {
    /// All of them.
    pub(crate) requests: u64,
    /// Those that were answered from what is held.
    pub(crate) hits: u64,
}

impl Hits {
    /// The part that was answered from what is held; none without a request.
    pub(crate) fn rate(self) -> Option<f64> {
        (self.requests > 0).then(|| self.hits as f64 / self.requests as f64)
    }

    const fn since(self, before: Self) -> Self {
        Self { requests: self.requests.saturating_sub(before.requests), hits: self.hits.saturating_sub(before.hits) }
    }
}

/// The counts as they were at the last two times that a period was over.
#[derive(Debug)]
struct Marks {
    at: Instant,
    last: Hits,
    before: Hits,
}

impl Marks {
    fn recent(&mut self, now: Instant, total: Hits) -> Hits {
        if now.duration_since(self.at) >= RECENT {
            self.before = std::mem::replace(&mut self.last, total);
            self.at = now;
        }
        total.since(self.before)
    }
}

#[derive(Debug)]
struct OfRoute {
    route: Route,
    http: RouteMetrics,
    cache: [OnceLock<IntCounter>; XCache::COUNT],
}

impl Tally {
    /// The figures of an edge that serves `repo`.
    pub(crate) fn new(metrics: &Metrics, repo: &str) -> Self {
        let of_route =
            |route: Route| OfRoute { route, http: metrics.of_route(route.as_str()), cache: Default::default() };
        let marks = Marks { at: Instant::now(), last: Hits::default(), before: Hits::default() };
        Self {
            metrics: metrics.clone(),
            repo: repo.to_owned(),
            routes: ROUTES.map(of_route).into(),
            marks: Mutex::new(marks),
        }
    }

    /// Requests of the last minutes and how many of them were answered from what is held.
    pub(crate) fn recent_hits(&self) -> Hits {
        let mut total = Hits::default();
        for x_cache in XCache::ALL {
            let counted = self.routes.iter().filter_map(|of_route| of_route.cache[x_cache as usize].get());
            let count = counted.map(IntCounter::get).sum();
            total.requests += count;
            total.hits += if x_cache.is_hit() { count } else { 0 };
        }
        self.marks.lock().recent(Instant::now(), total)
    }

    /// Counts an answered request.
    pub(super) fn request(&self, route: Route, x_cache: Option<XCache>, status: u16, took: Duration) {
        let Some(of_route) = self.routes.iter().find(|of_route| of_route.route == route) else {
            return;
        };
        of_route.http.observe(status, took);
        if let Some(x_cache) = x_cache {
            let find = || self.metrics.cache_requests(&self.repo, route.as_str(), x_cache.label());
            of_route.cache[x_cache as usize].get_or_init(find).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hit_rate_is_of_the_last_minutes() {
        let hits = |requests, hits| Hits { requests, hits };
        let start = Instant::now();
        let mut marks = Marks { at: start, last: hits(0, 0), before: hits(0, 0) };
        assert_eq!(marks.recent(start, hits(0, 0)).rate(), None);
        assert_eq!(marks.recent(start + RECENT / 2, hits(10, 5)).rate(), Some(0.5));
        marks.recent(start + RECENT, hits(10, 5));
        // What was two periods ago counts no more.
        assert_eq!(marks.recent(start + RECENT * 2, hits(20, 15)), hits(10, 10));
    }

    #[test]
    fn what_is_held_counts_as_a_hit() {
        let tally = Tally::new(&Metrics::new(), "tally-hits");
        for x_cache in XCache::ALL {
            tally.request(Route::Artefact(ArtefactKind::Zip), Some(x_cache), 219, Duration::from_millis(1));
        }
        tally.request(Route::Health, None, 219, Duration::from_millis(1));
        assert_eq!(tally.recent_hits(), Hits { requests: 6, hits: 4 });
    }

    #[test]
    fn every_route_is_counted_under_its_own_name() {
        let tally = Tally::new(&Metrics::new(), "tally-test");
        for route in ROUTES {
            tally.request(route, Some(XCache::Stale), 218, Duration::from_millis(1));
        }
        let text = shared::telemetry::render();
        for route in ROUTES {
            let name = route.as_str();
            let http = format!("modtier_http_requests_total{{code=\"218\",route=\"{name}\",tier=\"edge\"}} 1\n");
            let cache = format!("artefact=\"{name}\",repo=\"tally-test\",result=\"stale\",tier=\"edge\"}} 1\n");
            assert!(text.contains(&http) && text.contains(&cache), "{name}: {text}");
        }
    }
}
