//! The edge's settings: each is declared once here, with its meaning, its default and its type.
//!
//! They are read by [`shared::config::load`] from a YAML file and from `MODTIER_EDGE_…`; the reference page and the JSON
//! Schema are generated from the doc comments below.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::config::{ByteSize, Period};
use shared::telemetry::LogConfig;

use crate::cache::{CacheConfig, FreshnessPolicy};

/// Settings of `modtier-edge`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Address that `go` commands connect to; port 0 takes a free one.
    pub(crate) listen: String,
    /// Address of the administration listener (`/metrics`, `/readyz`, `/api/v1/…`). Keep it private.
    pub(crate) admin: String,
    /// Directory of the disk cache and of the cursor. One edge process per directory.
    pub(crate) data_dir: PathBuf,
    /// Base URLs of the centers that misses are fetched from, first one preferred.
    pub(crate) centers: Vec<String>,
    /// The center's repository that is served, usually its virtual one.
    pub(crate) repository: String,
    /// Name of the tenant that is served below `/` and below `/<tenant>/`. A tenant's name has no dot.
    pub(crate) tenant: String,
    /// Name of this edge in headers, in Redis groups and figures. Empty: one is made up once and kept in the data directory.
    pub(crate) edge_id: String,
    /// Redis, the fast way for changes. Without it, changes are taken from the center's feed.
    pub(crate) redis: RedisSettings,
    /// Sizes of the cache.
    pub(crate) cache: CacheSettings,
    /// How long answers stay fresh.
    pub(crate) freshness: FreshnessSettings,
    /// What one edge takes on at most.
    pub(crate) limits: LimitSettings,
    /// How the edge logs.
    pub(crate) log: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:3000".into(),
            admin: "127.0.0.1:9091".into(),
            data_dir: "data/edge".into(),
            centers: vec!["http://127.0.0.1:8081".into()],
            repository: "golang-virtual".into(),
            tenant: "default".into(),
            edge_id: String::new(),
            redis: RedisSettings::default(),
            cache: CacheSettings::default(),
            freshness: FreshnessSettings::default(),
            limits: LimitSettings::default(),
            log: LogConfig::default(),
        }
    }
}

/// Where Redis is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RedisSettings {
    /// `redis://[user:password@]host:port/[database]`; empty: no Redis.
    pub(crate) url: String,
}

/// Sizes of the cache's tiers.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CacheSettings {
    /// Bytes that the memory tier may hold.
    pub(crate) memory_bytes_max: ByteSize,
    /// Bytes that the disk tier may hold; the least recently used go first.
    pub(crate) disk_bytes_max: ByteSize,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { memory_bytes_max: ByteSize::mib(256), disk_bytes_max: ByteSize::gib(10) }
    }
}

/// How long answers that may change are served without asking again. Versions' own files never change and have no period.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FreshnessSettings {
    /// Longest time in the memory tier before the disk tier's record is looked at again.
    pub(crate) memory: Period,
    /// Lists and queries of a module that is asked often.
    pub(crate) hot: Period,
    /// Lists and queries of a module that has had no new version for a long time, see `stable_after`.
    pub(crate) stable: Period,
    /// For how long a module must have had no new version to count as stable.
    pub(crate) stable_after: Period,
    /// Lists and queries of any other module.
    pub(crate) other: Period,
    /// Lists and queries while changes do not arrive.
    pub(crate) unhealthy: Period,
    /// A recorded "not found".
    pub(crate) negative: Period,
    /// After its period, an answer is still given for this long while it is refreshed behind.
    pub(crate) stale_while_revalidate: Period,
    /// After its period, an answer is still given for this long while the center cannot be asked.
    pub(crate) stale_if_error: Period,
}

impl Default for FreshnessSettings {
    fn default() -> Self {
        Self {
            memory: Period::secs(30),
            hot: Period::secs(15 * 60),
            stable: Period::secs(72 * 3600),
            stable_after: Period::secs(30 * 24 * 3600),
            other: Period::secs(5 * 60),
            unhealthy: Period::secs(60),
            negative: Period::secs(60),
            stale_while_revalidate: Period::secs(3600),
            stale_if_error: Period::secs(7 * 24 * 3600),
        }
    }
}

/// What one edge takes on at most.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitSettings {
    /// Client connections; further ones wait in the kernel's queue.
    pub(crate) connections_max: usize,
    /// Requests to centers at one time; further ones wait.
    pub(crate) upstream_fetches_max: usize,
    /// How long a fetch waits for its turn before it is answered 503.
    pub(crate) upstream_queue: Period,
    /// How long a center may take to its first byte.
    pub(crate) upstream_first_byte: Period,
    /// How long a center may pause inside a body.
    pub(crate) upstream_stall: Period,
    /// Largest body that is taken from a center.
    pub(crate) body_bytes_max: ByteSize,
    /// How long a client may take to send a request's header.
    pub(crate) client_header: Period,
    /// How long an idle client connection is kept.
    pub(crate) client_idle: Period,
    /// How long one write to a client may take.
    pub(crate) client_write: Period,
    /// How long running downloads may go on after SIGTERM.
    pub(crate) shutdown_grace: Period,
    /// Threads that serve; 0: one for each core.
    pub(crate) serving_threads: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            upstream_fetches_max: 200,
            upstream_queue: Period::secs(10),
            upstream_first_byte: Period::secs(35),
            upstream_stall: Period::secs(30),
            body_bytes_max: ByteSize::gib(1),
            client_header: Period::secs(10),
            client_idle: Period::secs(60),
            client_write: Period::secs(120),
            shutdown_grace: Period::secs(10),
            serving_threads: 0,
        }
    }
}

impl Config {
    /// What the types cannot say; the answer names the setting.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.centers.is_empty() {
            return Err("centers: name at least one center's URL (MODTIER_EDGE_CENTERS)".into());
        }
        for center in &self.centers {
            let url =
                reqwest::Url::parse(center).map_err(|error| format!("centers: {center:?} is not a URL: {error}"))?;
            if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
                return Err(format!("centers: {center:?} is not an http or https URL with a host"));
            }
        }
        if self.tenant.is_empty() || self.tenant.contains(['.', '/']) {
            return Err(format!("tenant: {:?} must be a name without dot or slash", self.tenant));
        }
        if self.repository.is_empty() || self.repository.contains('/') {
            return Err(format!("repository: {:?} must be a repository's name", self.repository));
        }
        let id_is_plain = self.edge_id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !id_is_plain || self.edge_id.len() > 64 {
            return Err(format!("edge_id: {:?} must be at most 64 letters, digits, '-', '_' and '.'", self.edge_id));
        }
        if self.limits.connections_max == 0 || self.limits.upstream_fetches_max == 0 {
            return Err("limits: connections_max and upstream_fetches_max must be above 0".into());
        }
        Ok(())
    }

    /// What the cache is built from.
    pub(crate) fn cache_config(&self) -> CacheConfig {
        let freshness = &self.freshness;
        CacheConfig {
            dir: self.data_dir.clone(),
            memory_bytes_max: self.cache.memory_bytes_max.bytes(),
            disk_bytes_max: self.cache.disk_bytes_max.bytes(),
            policy: FreshnessPolicy {
                memory: freshness.memory.get(),
                hot: freshness.hot.get(),
                stable: freshness.stable.get(),
                stable_after: freshness.stable_after.get(),
                other: freshness.other.get(),
                unhealthy: freshness.unhealthy.get(),
                negative: freshness.negative.get(),
                stale_while_revalidate: freshness.stale_while_revalidate.get(),
                stale_if_error: freshness.stale_if_error.get(),
            },
        }
    }

    /// Redis's URL, if there is one.
    pub(crate) fn redis_url(&self) -> Option<&str> {
        Some(self.redis.url.as_str()).filter(|url| !url.is_empty())
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
            (Config { centers: vec!["center:8081".into()], ..Config::default() }, "centers"),
            (Config { tenant: "a.b".into(), ..Config::default() }, "tenant"),
            (Config { edge_id: "a b".into(), ..Config::default() }, "edge_id"),
        ];
        for (config, setting) in wrong {
            assert!(config.check().unwrap_err().starts_with(setting));
        }
    }
}
