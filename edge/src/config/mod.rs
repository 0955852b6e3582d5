//! The edge's settings: each is declared once here, with its meaning, its default and its type.
//!
//! They are read by [`shared::config::load`] from a YAML file and from `MODTIER_EDGE_…`; the reference page and the JSON
//! Schema are generated from the doc comments below.

mod admin;
mod cache;
mod centers;
mod limits;
mod serving;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::{Alias, ConfigError, Period};
use shared::redis::RedisSettings;
use shared::telemetry::LogConfig;
use shared::tls::TlsSettings;

pub(crate) use self::admin::AdminAccess;
use self::cache::{CacheSettings, FreshnessSettings};
pub(crate) use self::centers::{
    BreakerSettings, CenterSettings, ProbeSettings, RoutingSettings, RuleSettings, without_credential,
};
use self::limits::LimitSettings;
use self::serving::{H2cSettings, ServingSettings};
use crate::cache::CacheConfig;

/// First path elements that can be no tenant: they mean something else here or at the center.
pub(crate) const RESERVED: [&str; 10] =
    ["sumdb", "api", "artifactory", "catalog", "index", "ui", "healthz", "readyz", "version", "metrics"];

/// Settings of `modtier-edge`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Address that `go` commands connect to; port 0 takes a free one. Empty: only the other listeners.
    pub(crate) listen: String,
    /// The listener with TLS.
    pub(crate) tls: TlsSettings,
    /// The listener for HTTP/2 without TLS.
    pub(crate) h2c: H2cSettings,
    /// Address of the administration listener (`/metrics`, `/readyz`, `/api/v1/…`). Beyond this machine it needs `admin_access`.
    pub(crate) admin: String,
    /// Who may use the administration listener.
    pub(crate) admin_access: AdminAccess,
    /// Directory of the disk cache and of the cursor. One edge process per directory.
    pub(crate) data_dir: PathBuf,
    /// Base URLs of the centers that misses are fetched from; all are to have one change log. The cheapest one is asked.
    pub(crate) centers: Vec<String>,
    /// Token with the grant `read`, shown to the centers for requests, changes and the manifest. Whoever reaches the edge reads what
    /// it may read.
    pub(crate) centers_token: String,
    /// File with that token, read again when it changes.
    pub(crate) centers_token_file: PathBuf,
    /// What else is to be said of a center, by its URL.
    pub(crate) center_settings: BTreeMap<String, CenterSettings>,
    /// Which requests go to which centers.
    pub(crate) routing: RoutingSettings,
    /// How centers are probed.
    pub(crate) probes: ProbeSettings,
    /// When a center that fails is left alone.
    pub(crate) breaker: BreakerSettings,
    /// The center's repository that is served, usually its virtual one.
    pub(crate) repository: String,
    /// Name of the tenant that is served below `/` and below `/<tenant>/`. A tenant's name has no dot.
    pub(crate) tenant: String,
    /// Name of this edge in headers, in Redis groups and figures. Empty: one is made up once and kept in the data directory.
    pub(crate) edge_id: String,
    /// Where this edge stands, such as eu-west, for the tables and figures of the syncer. May be empty.
    pub(crate) region: String,
    /// Redis, the fast way for changes. Without it, changes are taken from the center's feed.
    pub(crate) redis: RedisSettings,
    /// How what is held is kept in step with the center, besides following its changes.
    pub(crate) sync: SyncSettings,
    /// Sizes of the cache.
    pub(crate) cache: CacheSettings,
    /// How long answers stay fresh.
    pub(crate) freshness: FreshnessSettings,
    /// What one edge takes on at most.
    pub(crate) limits: LimitSettings,
    /// What one client may take.
    pub(crate) serving: ServingSettings,
    /// How the edge logs.
    pub(crate) log: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:3000".into(),
            tls: TlsSettings::default(),
            h2c: H2cSettings::default(),
            admin: "127.0.0.1:9091".into(),
            admin_access: AdminAccess::default(),
            data_dir: "data/edge".into(),
            centers: vec!["http://127.0.0.1:8081".into()],
            centers_token: String::new(),
            centers_token_file: PathBuf::new(),
            center_settings: BTreeMap::new(),
            routing: RoutingSettings::default(),
            probes: ProbeSettings::default(),
            breaker: BreakerSettings::default(),
            repository: "golang-virtual".into(),
            tenant: "default".into(),
            edge_id: String::new(),
            region: String::new(),
            redis: RedisSettings::default(),
            sync: SyncSettings::default(),
            cache: CacheSettings::default(),
            freshness: FreshnessSettings::default(),
            limits: LimitSettings::default(),
            serving: ServingSettings::default(),
            log: LogConfig::default(),
        }
    }
}

/// How what is held is kept in step with the center, besides following its changes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SyncSettings {
    /// How often what is held is compared with the center's manifest, give or take a fifth.
    pub(crate) reconcile: Period,
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self { reconcile: Period::secs(5 * 60) }
    }
}

/// Variables that begin like settings and are none: the token is the subcommands'.
pub(crate) const ALIASES: &[Alias<'_>] = &[("MODTIER_EDGE_TOKEN", "")];

/// Reads and checks the settings: `file` if there is one, then the environment.
pub(crate) fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    let config: Config = shared::config::load("edge", file, ALIASES)?;
    config.check().map_err(ConfigError::Invalid)?;
    Ok(config)
}

impl Config {
    /// What the types cannot say; the answer names the setting.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_centers()?;
        self.check_admin()?;
        if self.tenant.is_empty() || self.tenant.contains(['.', '/']) {
            return Err(format!("tenant: {:?} must be a name without dot or slash", self.tenant));
        }
        if RESERVED.contains(&self.tenant.as_str()) {
            return Err(format!("tenant: {:?} is the first part of paths of its own", self.tenant));
        }
        if self.repository.is_empty() || self.repository.contains('/') {
            return Err(format!("repository: {:?} must be a repository's name", self.repository));
        }
        for (setting, name) in [("edge_id", &self.edge_id), ("region", &self.region)] {
            let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            if !is_plain || name.len() > 64 {
                return Err(format!("{setting}: {name:?} must be at most 64 letters, digits, '-', '_' and '.'"));
            }
        }
        self.redis.check()?;
        self.limits.check()?;
        if [&self.listen, &self.tls.listen, &self.h2c.listen].iter().all(|address| address.is_empty()) {
            return Err("listen: name an address here, at tls.listen or at h2c.listen".into());
        }
        self.tls.check()?;
        self.serving.check()
    }

    /// What the cache is built from.
    pub(crate) fn cache_config(&self) -> CacheConfig {
        CacheConfig {
            dir: self.data_dir.clone(),
            memory_bytes_max: self.cache.memory_bytes_max.bytes(),
            disk_bytes_max: self.cache.disk_bytes_max.bytes(),
            scrub_bytes_per_second: self.cache.scrub_bytes_per_second.bytes(),
            policy: self.freshness.policy(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_their_own_check() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let wrong = [
            (Config { centers: vec![], ..Config::default() }, "centers"),
            (
                Config { centers_token: "a".into(), centers_token_file: "f".into(), ..Config::default() },
                "centers_token_file",
            ),
            (Config { admin: "0.0.0.0:9091".into(), ..Config::default() }, "admin"),
            (Config { tenant: "a.b".into(), ..Config::default() }, "tenant"),
            (Config { tenant: "sumdb".into(), ..Config::default() }, "tenant"),
            (
                Config {
                    limits: LimitSettings { serving_threads: 1_000_000, ..LimitSettings::default() },
                    ..Config::default()
                },
                "limits",
            ),
            (Config { edge_id: "a b".into(), ..Config::default() }, "edge_id"),
            (Config { region: "eu/1".into(), ..Config::default() }, "region"),
        ];
        for (config, setting) in wrong {
            assert!(config.check().unwrap_err().starts_with(setting));
        }
    }
}
