//! The syncer's settings: each is declared once here, with its meaning, its default and its type.

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::telemetry::LogConfig;

use crate::prewarm::PrewarmSettings;

/// Settings of `modtier-syncer`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Address of the administration listener (`/metrics`, `/healthz`, `/readyz`); port 0 takes a free one.
    pub(crate) admin: String,
    /// Base URL of the center. A credential may stand in it, as in `http://user:token@host`.
    pub(crate) center: String,
    /// The center's repository whose changes are carried, usually its virtual one.
    pub(crate) repository: String,
    /// Redis, where the changes go. Without it the edges follow the center's feed and nothing is relayed.
    pub(crate) redis: RedisSettings,
    /// Base URLs of the edges' administration listeners, to see how far each is. With Redis and none named here, the
    /// edges' heartbeats in Redis are read instead.
    pub(crate) edges: Vec<String>,
    /// GOPROXY URLs of the edges that `once` and `prewarm FILE` warm; also who is pre-warmed where no administration is named.
    pub(crate) goproxy: Vec<String>,
    /// Modules that are fetched at one time through each GOPROXY.
    pub(crate) concurrency: usize,
    /// What is kept warm at the edges.
    pub(crate) prewarm: PrewarmSettings,
    /// How the syncer logs.
    pub(crate) log: LogConfig,
}

/// Where Redis is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RedisSettings {
    /// `redis://[user:password@]host:port/[database]`; empty: no Redis.
    pub(crate) url: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            admin: "127.0.0.1:9093".into(),
            center: "http://127.0.0.1:8081".into(),
            repository: "golang-virtual".into(),
            redis: RedisSettings::default(),
            edges: vec!["http://127.0.0.1:9091".into()],
            goproxy: vec!["http://127.0.0.1:3000".into()],
            concurrency: 8,
            prewarm: PrewarmSettings::default(),
            log: LogConfig::default(),
        }
    }
}

/// Largest number of modules fetched at one time: more than an edge fetches for all its clients helps nobody.
const CONCURRENCY_MAX: usize = 200;

impl Config {
    /// What the types cannot say; the answer names the setting, and never shows a URL, which may hold a credential.
    pub(crate) fn check(&self) -> Result<(), String> {
        http_url("center", &self.center)?;
        for (index, edge) in self.edges.iter().enumerate() {
            http_url(&format!("edges[{index}]"), edge)?;
        }
        for (index, goproxy) in self.goproxy.iter().enumerate() {
            http_url(&format!("goproxy[{index}]"), goproxy)?;
        }
        if let Some(url) = self.redis_url() {
            redis::Client::open(url).map_err(|_| "redis.url: expected redis://host:port".to_owned())?;
        }
        if self.repository.is_empty()
            || !self.repository.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        {
            return Err(format!("repository: {:?} is not a repository's name", self.repository));
        }
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            return Err(format!("concurrency: {} is not between 1 and {CONCURRENCY_MAX}", self.concurrency));
        }
        self.prewarm.check()
    }

    /// Redis's URL, if there is one.
    pub(crate) fn redis_url(&self) -> Option<&str> {
        Some(self.redis.url.as_str()).filter(|url| !url.is_empty())
    }
}

fn http_url(key: &str, text: &str) -> Result<(), String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() => Ok(()),
        Ok(_) => Err(format!("{key}: expected an http or https URL without a query")),
        Err(error) => Err(format!("{key}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_their_own_check() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn a_wrong_setting_is_named_and_a_credential_is_not_shown() {
        let wrong = [
            (Config { center: "center:8081".into(), ..Config::default() }, "center: "),
            (Config { center: "ftp://u:secret@h".into(), ..Config::default() }, "center: "),
            (Config { edges: vec!["http://a".into(), "secret".into()], ..Config::default() }, "edges[1]: "),
            (Config { goproxy: vec!["http://h/?secret".into()], ..Config::default() }, "goproxy[0]: "),
            (Config { redis: RedisSettings { url: "secret".into() }, ..Config::default() }, "redis.url: "),
            (Config { repository: "a/b".into(), ..Config::default() }, "repository: "),
            (Config { concurrency: 0, ..Config::default() }, "concurrency: "),
        ];
        for (config, key) in wrong {
            let error = config.check().unwrap_err();
            assert!(error.starts_with(key) && !error.contains("secret"), "{error}");
        }
    }
}
