//! The syncer's settings: each is declared once here, with its meaning, its default and its type.

use std::path::{Path, PathBuf};

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::access::Bearer;
use shared::config::Period;
use shared::redis::RedisSettings;
use shared::sync::{Keep, RelaySettings};
use shared::telemetry::LogConfig;

use crate::prewarm::PrewarmSettings;
use crate::watch::WatchSettings;

/// Settings of `modtier-syncer`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Address of the administration listener (`/metrics`, `/healthz`, `/readyz`); port 0 takes a free one.
    pub(crate) admin: String,
    /// Base URL of the center. A credential may stand in it, as in `http://user:token@host`.
    pub(crate) center: String,
    /// Token with the grant `read` for a center that asks for one.
    pub(crate) center_token: String,
    /// File with that token, read again when it changes.
    pub(crate) center_token_file: PathBuf,
    /// The center's repository whose changes are carried, usually its virtual one.
    pub(crate) repository: String,
    /// Redis, where the changes go. Without it the edges follow the center's feed and nothing is relayed.
    pub(crate) redis: RedisSettings,
    /// How much the stream in Redis keeps.
    pub(crate) trimming: RelayTrimming,
    /// Base URLs of the edges' administration listeners, to see how far each is. Edges that are not named here are known by their
    /// heartbeats, where there is Redis.
    pub(crate) edges: Vec<String>,
    /// Token with the grant `admin` for edges whose administration listener asks for one.
    pub(crate) edges_token: String,
    /// File with that token, read again when it changes.
    pub(crate) edges_token_file: PathBuf,
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

/// How the stream in Redis is kept small.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RelayTrimming {
    /// Changes that the stream keeps where every edge has read them; the center's log keeps older ones.
    pub(crate) entries: u64,
    /// Changes that the stream keeps at most for an edge that lives and is slow. At about 500 bytes each they bound Redis's memory.
    pub(crate) entries_max: u64,
    /// Changes older than this go, unless an edge that lives has yet to read them.
    pub(crate) age: Period,
    /// How long the consumer group of an edge that gives no sign of life is kept.
    pub(crate) groups: Period,
    /// How often all this is looked at.
    pub(crate) every: Period,
}

impl Default for RelayTrimming {
    fn default() -> Self {
        let (keep, settings) = (Keep::default(), RelaySettings::default());
        Self {
            entries: keep.entries,
            entries_max: keep.entries_max,
            age: Period::secs(keep.age.as_secs()),
            groups: Period::secs(keep.group.as_secs()),
            every: Period::secs(settings.tidy.as_secs()),
        }
    }
}

impl RelayTrimming {
    fn check(&self) -> Result<(), String> {
        if self.entries == 0 || self.entries_max < self.entries {
            return Err("trimming.entries_max: it must be at least trimming.entries, and both above 0".into());
        }
        if self.every.get().is_zero() {
            return Err("trimming.every: it must be longer than nothing".into());
        }
        Ok(())
    }

    /// The relay's times and bounds.
    pub(crate) fn relay(&self) -> RelaySettings {
        let keep = Keep {
            entries: self.entries,
            entries_max: self.entries_max,
            age: self.age.get(),
            group: self.groups.get(),
        };
        RelaySettings { tidy: self.every.get(), keep, ..RelaySettings::default() }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            admin: "127.0.0.1:9093".into(),
            center: "http://127.0.0.1:8081".into(),
            center_token: String::new(),
            center_token_file: PathBuf::new(),
            repository: "golang-virtual".into(),
            redis: RedisSettings::default(),
            trimming: RelayTrimming::default(),
            edges: vec!["http://127.0.0.1:9091".into()],
            edges_token: String::new(),
            edges_token_file: PathBuf::new(),
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
        self.redis.check()?;
        self.trimming.check()?;
        Bearer::check("center_token", &self.center_token, &self.center_token_file)?;
        Bearer::check("edges_token", &self.edges_token, &self.edges_token_file)?;
        let has_token = |token: &str, file: &Path| !token.is_empty() || !file.as_os_str().is_empty();
        if has_token(&self.center_token, &self.center_token_file) && has_credential(&self.center) {
            return Err("center: the URL has a credential, and center_token is named as well".into());
        }
        if has_token(&self.edges_token, &self.edges_token_file)
            && let Some(index) = self.edges.iter().position(|edge| has_credential(edge))
        {
            return Err(format!("edges[{index}]: the URL has a credential, and edges_token is named as well"));
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
}

fn has_credential(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
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
            (
                Config {
                    redis: RedisSettings { url: "secret".into(), ..RedisSettings::default() },
                    ..Config::default()
                },
                "redis.url: ",
            ),
            (
                Config { trimming: RelayTrimming { entries_max: 5, ..RelayTrimming::default() }, ..Config::default() },
                "trimming.entries_max: ",
            ),
            (
                Config { edges_token: "secret".into(), edges_token_file: "f".into(), ..Config::default() },
                "edges_token_file: ",
            ),
            (
                Config { center: "http://u:secret@h".into(), center_token: "secret".into(), ..Config::default() },
                "center: ",
            ),
            (Config { repository: "a/b".into(), ..Config::default() }, "repository: "),
            (Config { concurrency: 0, ..Config::default() }, "concurrency: "),
            (
                watch(WatchSettings { interval_max: Period::secs(1), ..WatchSettings::default() }),
                "watch.interval_min: ",
            ),
            (watch(WatchSettings { rate_per_minute: 0, ..WatchSettings::default() }), "watch.rate_per_minute: "),
        ];
        for (config, key) in wrong {
            let error = config.check().unwrap_err();
            assert!(error.starts_with(key) && !error.contains("secret"), "{error}");
        }
    }
}
