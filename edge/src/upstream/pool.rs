//! The centers as they are configured, and what is counted of each.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Url;

/// One center.
#[derive(Debug)]
pub(super) struct Center {
    base: Url,
    pub(super) in_flight: AtomicUsize,
    requests: AtomicU64,
    failures: AtomicU64,
    /// Time to the first byte of the last answer, in microseconds; 0: none yet.
    first_byte_us: AtomicU64,
}

/// One center's figures, for `/api/v1/upstreams`.
#[derive(Debug, serde::Serialize)]
pub(crate) struct CenterFigures {
    url: String,
    in_flight: usize,
    requests: u64,
    failures: u64,
    first_byte_ms: Option<f64>,
}

impl Center {
    /// A center at `url`.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let mut base = Url::parse(url).map_err(|error| format!("centers: {url:?}: {error}"))?;
        // Joining below a path needs the trailing slash; a query or a fragment would swallow what is joined.
        base.set_query(None);
        base.set_fragment(None);
        let path = format!("{}/", base.path().trim_end_matches('/'));
        base.set_path(&path);
        Ok(Self {
            base,
            in_flight: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            first_byte_us: AtomicU64::new(0),
        })
    }

    /// `path` is [`shared::request::Request::to_path`]'s: canonical, and percent-encoded where a URL needs it.
    pub(super) fn repository_url(&self, repository: &str, path: &str) -> Url {
        let mut url = self.base.clone();
        let whole = format!("{}api/go/{repository}/{}", self.base.path(), path);
        url.set_path(&whole);
        url
    }

    /// `path_and_query` below the repository in the center's administration.
    pub(super) fn api_url(&self, repository: &str, path_and_query: &str) -> Url {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        let mut url = self.base.clone();
        url.set_path(&format!("{}api/v1/repos/{repository}/{path}", self.base.path()));
        url.set_query(query);
        url
    }

    /// Its name in figures.
    pub(super) fn name(&self) -> &str {
        self.base.host_str().unwrap_or("center")
    }

    /// Counts the first byte of an answer, or its failure to come.
    pub(super) fn first_byte(&self, failed: bool, took: Duration) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.first_byte_us.store(took.max(1), Ordering::Relaxed);
    }

    /// What is counted of it.
    pub(super) fn figures(&self) -> CenterFigures {
        let mut url = self.base.clone();
        // Never a credential in an answer; a URL without a host, where this fails, has none.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let first_byte = self.first_byte_us.load(Ordering::Relaxed);
        CenterFigures {
            url: url.to_string(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            first_byte_ms: (first_byte > 0).then(|| first_byte as f64 / 1000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_joined_below_the_centers_path() {
        let center = Center::new("http://center:1/base?x=1").unwrap();
        let url = center.repository_url("golang-virtual", "github.com/!burnt!sushi/toml/@v/v1.0.0.zip");
        assert_eq!(
            url.as_str(),
            "http://center:1/base/api/go/golang-virtual/github.com/!burnt!sushi/toml/@v/v1.0.0.zip"
        );
        let url = center.api_url("golang-virtual", "changes?after=1-2&wait=30s");
        assert_eq!(url.as_str(), "http://center:1/base/api/v1/repos/golang-virtual/changes?after=1-2&wait=30s");
    }

    #[test]
    fn a_path_cannot_become_a_query() {
        let center = Center::new("http://center:1").unwrap();
        let url = center.repository_url("r", "example.com/a/@v/a?b#c%20d.info");
        assert_eq!(url.as_str(), "http://center:1/api/go/r/example.com/a/@v/a%3Fb%23c%20d.info");
    }
}
