//! One of several servers with the same content.

use std::sync::Arc;

use reqwest::Url;
use shared::request::ModuleRequest;
use tokio::time::Instant;

use super::breaker::Breaker;

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) base: Url,
    /// Whether it is the first that was named: only its validators are kept, as they would mean nothing to another.
    pub(super) is_first: bool,
    /// Whether there are no others.
    pub(super) is_only: bool,
    /// Shared with the server of before, where only settings were read again.
    pub(super) breaker: Arc<Breaker>,
}

impl Server {
    /// A request failed.
    pub(super) fn failed(&self) {
        self.breaker.failed(Instant::now(), rand::random_range(-1.0..=1.0));
    }

    /// Where it has an artefact.
    pub(super) fn url_of(&self, request: &ModuleRequest) -> Url {
        let mut url = self.base.clone();
        // `set_path` escapes what a path cannot hold, except the escape sign itself.
        let path = format!("{}/{}", request.module.escaped(), request.artefact.file_name()).replace('%', "%25");
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }
}

/// Tells a server's breaker that what the server sent is not what is recorded or proven.
#[derive(Debug)]
pub(crate) struct Sender<'a>(pub(super) &'a Server);

impl Sender<'_> {
    /// It is not asked again for a while, if there is another.
    pub(crate) fn lied(&self) {
        if self.0.is_only {
            return self.0.failed();
        }
        self.0.breaker.lied(Instant::now(), rand::random_range(-1.0..=1.0));
    }
}

/// The URL that artefacts lie below, with a slash at its end.
pub(super) fn base_url(text: &str) -> Result<Url, String> {
    let mut base = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(base.scheme(), "http" | "https") {
        return Err(format!("scheme {:?} is neither http nor https", base.scheme()));
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err("a base URL has no query and no fragment".to_owned());
    }
    let path = format!("{}/", base.path().trim_end_matches('/'));
    base.set_path(&path);
    Ok(base)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::breaker::BreakerPolicy;

    #[test]
    fn paths_are_escaped_below_the_base() {
        use shared::artefact::Artefact;
        use shared::module::{ModulePath, Version};
        let base = base_url("http://user:secret@origin.test/proxy/").unwrap();
        let policy = BreakerPolicy { failures: 5, open: Duration::ZERO, open_max: Duration::ZERO };
        let server = Server { base, is_first: true, is_only: true, breaker: Arc::new(Breaker::new(policy)) };
        let module = ModulePath::new("github.com/BurntSushi/toml").unwrap();
        let url = |artefact| server.url_of(&ModuleRequest { module: module.clone(), artefact }).path().to_owned();
        let version = Version::new(&module, "v1.0.0").unwrap();
        assert_eq!(url(Artefact::Zip(version)), "/proxy/github.com/!burnt!sushi/toml/@v/v1.0.0.zip");
        assert_eq!(url(Artefact::Latest), "/proxy/github.com/!burnt!sushi/toml/@latest");
        assert_eq!(url(Artefact::Query("a%b#c".to_owned())), "/proxy/github.com/!burnt!sushi/toml/@v/a%25b%23c.info");
    }

    #[test]
    fn unusable_bases_are_refused() {
        for base in ["", "origin.test", "ftp://origin.test", "http://origin.test/?x=1"] {
            assert!(base_url(base).is_err(), "{base}");
        }
    }
}
