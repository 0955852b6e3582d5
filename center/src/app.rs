//! Everything a running center consists of, built once.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared::access::Access;
use tokio::sync::watch;

use crate::config::{Config, LimitSettings, SumdbSettings};
use crate::envelope::Via;
use crate::error::Failure;
use crate::metrics::Metrics;
use crate::repository::retention::RetentionRule;
use crate::repository::{Repositories, Repository};
use crate::store::{Store, StoreConfig};
use crate::sumdb::{DatabaseConfig, Line, Policy, Sumdb};
use crate::upstream::outbound::{Outbound, OutboundSettings};

/// What stays when the settings change.
struct Common {
    store: Store,
    metrics: Metrics,
    via: Via,
    stopping: Arc<watch::Sender<bool>>,
}

/// The center. Handlers borrow it.
pub(crate) struct App {
    /// Limits of the HTTP service.
    pub(crate) limits: LimitSettings,
    /// Metadata, change logs, blobs.
    pub(crate) store: Store,
    /// The repositories by name.
    pub(crate) repositories: Repositories,
    /// What of the repositories goes.
    pub(crate) retention: BTreeMap<String, RetentionRule>,
    /// The checksum databases.
    pub(crate) sumdb: Arc<Sumdb>,
    /// What they were built from.
    sumdb_of: (SumdbSettings, Vec<DatabaseConfig>),
    outbound: OutboundSettings,
    /// Tokens and grants.
    pub(crate) access: Access,
    /// Counts and durations of requests.
    pub(crate) metrics: Metrics,
    /// Our name in `Via`.
    pub(crate) via: Via,
    /// True once a stop was asked for: long polls end, `/readyz` says so.
    pub(crate) stopping: Arc<watch::Sender<bool>>,
}

impl App {
    /// Opens the store and builds everything on it, on the runtime it is called from. Asks nobody upstream.
    pub(crate) async fn build(config: &Config) -> anyhow::Result<Arc<Self>> {
        let store = Store::connect(&StoreConfig { data_dir: config.data_dir.clone() }, &config.storage).await?;
        store.write_uses_behind();
        let common =
            Common { store, metrics: Metrics::new(), via: Via::new(), stopping: Arc::new(watch::Sender::new(false)) };
        Self::assemble(config, common, None).await
    }

    /// The same center under other settings. What runs goes on in the one of before; nobody upstream is asked.
    pub(crate) async fn rebuild(&self, config: &Config) -> anyhow::Result<Arc<Self>> {
        let common = Common {
            store: self.store.clone(),
            metrics: self.metrics.clone(),
            via: self.via.clone(),
            stopping: Arc::clone(&self.stopping),
        };
        Self::assemble(config, common, Some(self)).await
    }

    async fn assemble(config: &Config, common: Common, before: Option<&Self>) -> anyhow::Result<Arc<Self>> {
        let Common { store, metrics, via, stopping } = common;
        let access = Access::open(&config.access)?;
        let outbound = Arc::new(Outbound::read(&config.outbound).map_err(anyhow::Error::msg)?);
        let name = via.value();
        let databases = config.databases().map_err(anyhow::Error::msg)?;
        let sumdb = match before.filter(|before| before.sumdb_of == (config.sumdb.clone(), databases.clone())) {
            // It knows what it has proven so far.
            Some(before) if before.outbound == config.outbound && !config.outbound.has_files() => {
                Arc::clone(&before.sumdb)
            }
            _ => {
                let (verify, exempt, outage) = (config.sumdb.verify, config.sumdb.exempt.clone(), config.sumdb.outage);
                let line = Line { outbound: &outbound, via: &name };
                let sumdb = Sumdb::new(&databases, Policy { verify, exempt, outage }, &line, &store);
                Arc::new(sumdb.map_err(anyhow::Error::msg)?)
            }
        };
        if config.sumdb.verify && databases.is_empty() {
            tracing::warn!("no checksum database is configured: public modules are not verified");
        }
        let before = before.map(|before| &before.repositories);
        let verifier = Arc::clone(&sumdb) as _;
        let repositories =
            Repositories::build(&config.repositories, &store, verifier, &name, &outbound, &config.egress, before)
                .await?;
        Ok(Arc::new(Self {
            limits: config.limits.clone(),
            repositories,
            retention: config.retention.clone(),
            store,
            sumdb,
            sumdb_of: (config.sumdb.clone(), databases),
            outbound: config.outbound.clone(),
            access,
            metrics,
            via,
            stopping,
        }))
    }

    /// A repository by its name in the URL.
    pub(crate) fn repository(&self, name: &str) -> Result<&Arc<Repository>, Failure> {
        self.repositories.get(name).ok_or_else(|| Failure::NoRepository(name.to_owned()))
    }

    /// Completes when a stop is asked for.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}
