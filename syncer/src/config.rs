//! The syncer's settings: each is declared once here, with its meaning, its default and its type.

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::Period;
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
    /// Base URLs of the edges' administration listeners, to see how far each is; a credential may stand in them. Edges that are not
    /// named here are known by their heartbeats, where there is Redis.
    pub(crate) edges: Vec<String>,
    /// GOPROXY URLs of the edges that `once` and `prewarm FILE` warm; also who is pre-warmed where no administration is named.
    pub(crate) goproxy: Vec<String>,
    /// Modules that are fetched at one time through each GOPROXY.
    pub(crate) concurrency: usize,
    /// Looking for new versions of the modules that are asked for most.
    pub(crate) watch: WatchSettings,
    /// What is kept warm at the edges.
    pub(crate) prewarm: PrewarmSettings,
    /// How the syncer logs.
    pub(crate) log: LogConfig,
}

/// Looking for new versions of the modules that are asked for most.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WatchSettings {
    /// How many modules are watched; 0: none.
    pub(crate) modules: usize,
    /// A module is watched once it has been asked for so often lately, by all edges together.
    pub(crate) requests_min: u64,
    /// Between two looks at a module that changes often.
    pub(crate) interval_min: Period,
    /// Between two looks at a module that does not change.
    pub(crate) interval_max: Period,
    /// Modules that each upstream is asked for in a minute at most.
    pub(crate) rate_per_minute: u32,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            modules: 100,
            requests_min: 10,
            interval_min: Period::secs(60),
            interval_max: Period::secs(3600),
            rate_per_minute: 60,
        }
    }
}

impl WatchSettings {
    fn check(&self) -> Result<(), String> {
        if self.interval_min.get().is_zero() || self.interval_max < self.interval_min {
            return Err("watch.interval_min: must be above 0 and not above watch.interval_max".to_owned());
        }
        if self.rate_per_minute == 0 {
            return Err("watch.rate_per_minute: must be above 0; watch.modules: 0 turns watching off".to_owned());
        }
        Ok(())
    }
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
            watch: WatchSettings::default(),
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
        self.watch.check()?;
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
        let watch = |watch| Config { watch, ..Config::default() };
        let wrong = [
            (Config { center: "center:8081".into(), ..Config::default() }, "center: "),
            (Config { center: "ftp://u:secret@h".into(), ..Config::default() }, "center: "),
            (Config { edges: vec!["http://a".into(), "secret".into()], ..Config::default() }, "edges[1]: "),
            (Config { goproxy: vec!["http://h/?secret".into()], ..Config::default() }, "goproxy[0]: "),
            (Config { redis: RedisSettings { url: "secret".into() }, ..Config::default() }, "redis.url: "),
            (Config { repository: "a/b".into(), ..Config::default() }, "repository: "),
            (Config { concurrency: 0, ..Config::default() }, "concurrency: "),
            (watch(WatchSettings { interval_max: Period::secs(1), ..WatchSettings::default() }), "watch.interval_min: "),
            (watch(WatchSettings { rate_per_minute: 0, ..WatchSettings::default() }), "watch.rate_per_minute: "),
        ];
        for (config, key) in wrong {
            let error = config.check().unwrap_err();
            assert!(error.starts_with(key) && !error.contains("secret"), "{error}");
        }
    }
}
