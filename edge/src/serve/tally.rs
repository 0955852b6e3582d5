//! What is counted of every request: found by its labels once, not each time.

use std::sync::OnceLock;
use std::time::Duration;

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

/// The figures of all routes.
#[derive(Debug)]
pub(crate) struct Tally {
    metrics: Metrics,
    repo: String,
    routes: Vec<OfRoute>,
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
        Self { metrics: metrics.clone(), repo: repo.to_owned(), routes: ROUTES.map(of_route).into() }
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
