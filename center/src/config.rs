//! The center's configuration: every setting with its default, and what must fit together.

mod serving;
mod upkeep;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::access::AccessConfig;
use shared::config::{ByteSize, Period};
use shared::module::Patterns;
use shared::telemetry::LogConfig;
use shared::tls::TlsSettings;

pub(crate) use self::serving::{MetricsSettings, ServingSettings};
pub(crate) use self::upkeep::{GRACE_MIN, UpkeepSettings};
use crate::egress::EgressSettings;
use crate::repository::retention::RetentionRule;
use crate::repository::{RepositoryKind, RepositorySettings, default_repositories};
use crate::store::StorageSettings;
use crate::sumdb::{DatabaseConfig, Outage, PUBLIC_KEY, name_of_key};
use crate::upstream::outbound::OutboundSettings;

/// Variables that set something deep in the default repositories without writing YAML.
pub(crate) const ALIASES: [(&str, &str); 3] = [
    ("MODTIER_UPSTREAM", "repositories.golang-remote.upstream"),
    ("MODTIER_CENTER_UPSTREAM", "repositories.golang-remote.upstream"),
    ("MODTIER_CENTER_OWNS", "repositories.golang-local.owns"),
];

/// Configuration of `modtier-center`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Address and port of the service; port 0 takes a free one.
    pub(crate) listen: String,
    /// The listener with TLS.
    pub(crate) tls: TlsSettings,
    /// What one client may take.
    pub(crate) serving: ServingSettings,
    /// Where figures are shown.
    pub(crate) metrics: MetricsSettings,
    /// Directory for metadata, modules and temporary files. Only one center may use it at a time.
    pub(crate) data_dir: PathBuf,
    /// Where metadata and bodies are kept.
    pub(crate) storage: StorageSettings,
    /// By repository, which versions go because nobody needs them any more. Without a rule nothing does.
    pub(crate) retention: BTreeMap<String, RetentionRule>,
    /// What the center does by itself.
    pub(crate) upkeep: UpkeepSettings,
    /// The repositories by name.
    pub(crate) repositories: BTreeMap<String, RepositorySettings>,
    /// Where the commands that fetch private modules may connect to.
    pub(crate) egress: EgressSettings,
    /// How other servers are asked.
    pub(crate) outbound: OutboundSettings,
    /// Checksum databases.
    pub(crate) sumdb: SumdbSettings,
    /// Who may do what.
    pub(crate) access: AccessConfig,
    /// Sizes, counts and times beyond which a client is refused.
    pub(crate) limits: LimitSettings,
    /// Logging.
    pub(crate) log: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8081".to_owned(),
            tls: TlsSettings::default(),
            serving: ServingSettings::default(),
            metrics: MetricsSettings::default(),
            data_dir: PathBuf::from("data/center"),
            storage: StorageSettings::default(),
            retention: BTreeMap::new(),
            upkeep: UpkeepSettings::default(),
            repositories: default_repositories(),
            egress: EgressSettings::default(),
            outbound: OutboundSettings::default(),
            sumdb: SumdbSettings::default(),
            access: AccessConfig::default(),
            limits: LimitSettings::default(),
            log: LogConfig::default(),
        }
    }
}

/// Which checksum databases are proxied, and whether modules are verified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SumdbSettings {
    /// Names of the proxied databases, or `name+hash+key` as in GOSUMDB; `off` for none.
    pub(crate) names: Vec<String>,
    /// Whether public modules are verified against the first of them before they are kept. Go's toolchains always are.
    pub(crate) verify: bool,
    /// While that database cannot be asked: `wait` (503), or `unverified`: serve once, marked, and keep nothing.
    pub(crate) outage: Outage,
    /// Public keys by name, `name+hash+key`; the one of the public database is built in.
    pub(crate) public_keys: BTreeMap<String, String>,
    /// URL of a database by name. Default: the first remote repository's upstream, followed by `/sumdb/<name>`.
    pub(crate) upstreams: BTreeMap<String, String>,
    /// GOPRIVATE patterns of modules in remote repositories that no database knows.
    pub(crate) exempt: Patterns,
}

impl Default for SumdbSettings {
    fn default() -> Self {
        Self {
            names: vec!["sum.golang.org".to_owned()],
            verify: true,
            outage: Outage::Wait,
            public_keys: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            exempt: Patterns::default(),
        }
    }
}

/// Limits of the HTTP service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitSettings {
    /// Largest module zip that is taken; the `go` command takes no larger one than the default.
    pub(crate) upload_size_max: ByteSize,
    /// Open connections; more wait to be accepted.
    pub(crate) connections_max: usize,
    /// How long a client may take to send the head of a request.
    pub(crate) header_timeout: Period,
    /// How long a client that uploads may send nothing.
    pub(crate) upload_stall_timeout: Period,
    /// How long a client may take nothing of an answer that is ready for it (HTTP/2: give its stream no window).
    pub(crate) client_write: Period,
    /// How long running requests may take after a stop was asked for.
    pub(crate) drain_timeout: Period,
    /// How long they may take once another process has taken over.
    pub(crate) handover_grace: Period,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            upload_size_max: ByteSize::mib(500),
            connections_max: 8192,
            header_timeout: Period::secs(15),
            upload_stall_timeout: Period::secs(30),
            client_write: Period::secs(60),
            drain_timeout: Period::secs(9),
            handover_grace: Period::secs(600),
        }
    }
}

impl Config {
    /// What the types cannot say. The message names the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_listen(&self.listen)?;
        self.tls.check()?;
        self.serving.check()?;
        for (key, address) in [("tls.listen", &self.tls.listen), ("metrics.listen", &self.metrics.listen)] {
            if !address.is_empty() {
                check_listen(address).map_err(|why| why.replacen("listen", key, 1))?;
            }
        }
        self.storage.check().map_err(|why| format!("storage.{why}"))?;
        if self.repositories.is_empty() {
            return Err("repositories: there must be at least one".to_owned());
        }
        self.upkeep.check()?;
        if let Some(name) = self.retention.keys().find(|name| !self.repositories.contains_key(*name)) {
            return Err(format!("retention.{name}: there is no repository {name:?}"));
        }
        for (name, repository) in &self.repositories {
            self.check_repository(name, repository).map_err(|why| format!("repositories.{name}: {why}"))?;
        }
        if self.limits.connections_max == 0 {
            return Err("limits.connections_max: must be at least 1".to_owned());
        }
        self.egress.check()?;
        self.databases().map(|_| ())
    }

    fn check_repository(&self, name: &str, repository: &RepositorySettings) -> Result<(), String> {
        let is_name = !name.is_empty()
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !is_name {
            return Err("a name is made of letters, digits, `-`, `_` and `.`".to_owned());
        }
        for upstream in repository.servers() {
            let url = http_url(upstream).map_err(|why| format!("upstream: {why}"))?;
            if self.is_own_address(&url) {
                return Err(format!(
                    "upstream: {upstream} is this center's own address {}; it would ask itself",
                    self.listen
                ));
            }
        }
        repository.fetcher.check()?;
        for member in &repository.members {
            match self.repositories.get(member) {
                None => return Err(format!("members: there is no repository {member:?}")),
                Some(_) if self.leads_to(member, name, self.repositories.len()) => {
                    return Err(format!("members: it is a member of itself, by {member:?}"));
                }
                Some(_) => {}
            }
        }
        if let Some(target) = &repository.default_deployment {
            let is_local = self.repositories.get(target).is_some_and(|found| found.kind == RepositoryKind::Local);
            if !is_local || !repository.members.contains(target) {
                return Err(format!("default_deployment: {target:?} is not a local member of it"));
            }
        }
        Ok(())
    }

    /// Whether `target` is `from` or somewhere below it. `depth` ends the search where a circle goes through others alone.
    fn leads_to(&self, from: &str, target: &str, depth: usize) -> bool {
        let below = || self.repositories.get(from).map(|found| found.members.as_slice()).unwrap_or_default();
        from == target || (depth > 0 && below().iter().any(|member| self.leads_to(member, target, depth - 1)))
    }

    /// Whether a URL leads to where this center listens.
    fn is_own_address(&self, url: &Url) -> bool {
        let Some((host, port)) = self.listen.rsplit_once(':') else { return false };
        let Ok(port) = port.parse::<u16>() else { return false };
        if port == 0 || url.port_or_known_default() != Some(port) {
            return false;
        }
        let own = Reach::of(host);
        let theirs = Reach::of(url.host_str().unwrap_or_default());
        match (&own, &theirs) {
            (Reach::Everywhere | Reach::Loopback, Reach::Loopback | Reach::Everywhere) => true,
            _ => own == theirs,
        }
    }

    /// The proxied databases with their URLs and keys.
    pub(crate) fn databases(&self) -> Result<Vec<DatabaseConfig>, String> {
        let upstream = self.repositories.values().find_map(|repository| repository.servers().next());
        let mut databases = Vec::new();
        for entry in self.sumdb.names.iter().filter(|entry| !entry.is_empty() && *entry != "off") {
            let inline = entry.contains('+');
            let name = if inline {
                name_of_key(entry).map_err(|error| format!("sumdb.names: {error}"))?
            } else {
                entry.trim_matches('/').to_owned()
            };
            let built_in = (name == "sum.golang.org").then_some(PUBLIC_KEY);
            let configured = self.sumdb.public_keys.get(&name).map(String::as_str);
            let public_key = if inline { Some(entry.as_str()) } else { configured.or(built_in) };
            if let Some(key) = public_key {
                let signer = name_of_key(key).map_err(|error| format!("sumdb.public_keys.{name}: {error}"))?;
                if signer != name {
                    return Err(format!("sumdb.public_keys.{name}: this is the key of {signer:?}"));
                }
            }
            let base = match self.sumdb.upstreams.get(&name) {
                Some(url) => Some(http_url(url).map_err(|why| format!("sumdb.upstreams.{name}: {why}"))?.to_string()),
                None => upstream.map(|upstream| format!("{}/sumdb/{name}", upstream.trim_end_matches('/'))),
            };
            databases.push(DatabaseConfig { name, base, public_key: public_key.map(str::to_owned) });
        }
        if self.sumdb.verify && !databases.is_empty() && databases.iter().all(|database| database.public_key.is_none())
        {
            return Err(
                "sumdb: modules cannot be verified without the public key of a database; set sumdb.public_keys, or sumdb.verify to off"
                    .to_owned(),
            );
        }
        Ok(databases)
    }
}

/// Where a host name or address leads, as far as it can be told without asking.
#[derive(PartialEq)]
enum Reach {
    Loopback,
    Everywhere,
    Host(String),
}

impl Reach {
    fn of(host: &str) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        match host.parse::<IpAddr>() {
            Ok(address) if address.is_loopback() => Self::Loopback,
            Ok(address) if address.is_unspecified() => Self::Everywhere,
            Err(_) if host == "localhost" => Self::Loopback,
            Ok(_) | Err(_) => Self::Host(host),
        }
    }
}

fn check_listen(listen: &str) -> Result<(), String> {
    let named_host = || {
        let (host, port) = listen.rsplit_once(':')?;
        (!host.is_empty() && port.parse::<u16>().is_ok()).then_some(())
    };
    if listen.parse::<SocketAddr>().is_ok() || named_host().is_some() {
        return Ok(());
    }
    Err(format!("listen: {listen:?} is not an address with a port, such as 127.0.0.1:8081"))
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("a URL that begins with http:// or https:// is needed".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the URL must have no query and no fragment".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
