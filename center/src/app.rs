//! Everything a running center consists of, built once.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use shared::access::Access;
use shared::client::{ClientOptions, http_client};
use tokio::sync::watch;

use crate::config::{Config, LimitSettings};
use crate::envelope::Via;
use crate::error::Failure;
use crate::metrics::Metrics;
use crate::repository::retention::RetentionRule;
use crate::repository::{Repositories, Repository};
use crate::store::{Store, StoreConfig};
use crate::sumdb::Sumdb;

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
    /// Tokens and grants.
    pub(crate) access: Access,
    /// Counts and durations of requests.
    pub(crate) metrics: Metrics,
    /// Our name in `Via`.
    pub(crate) via: Via,
    /// True once a stop was asked for: long polls end, `/readyz` says so.
    pub(crate) stopping: watch::Sender<bool>,
}

impl App {
    /// Opens the store and builds everything on it, on the runtime it is called from. Asks nobody upstream.
    pub(crate) async fn build(config: &Config) -> anyhow::Result<Arc<Self>> {
        let access = Access::open(&config.access)?;
        let store = Store::connect(&StoreConfig { data_dir: config.data_dir.clone() }, &config.storage).await?;
        store.write_uses_behind();
        let via = Via::new();
        let client = http_client(ClientOptions { redirects_max: 3, ..ClientOptions::default() })
            .context("the HTTP client cannot be set up")?;
        let databases = config.databases().map_err(anyhow::Error::msg)?;
        let sumdb = Arc::new(Sumdb::new(
            &databases,
            config.sumdb.verify,
            config.sumdb.exempt.clone(),
            &client,
            &via.value(),
            &store,
        )?);
        if config.sumdb.verify && databases.is_empty() {
            tracing::warn!("no checksum database is configured: public modules are not verified");
        }
        let repositories =
            Repositories::build(&config.repositories, &store, Arc::clone(&sumdb) as _, &via.value()).await?;
        Ok(Arc::new(Self {
            limits: config.limits.clone(),
            store,
            repositories,
            retention: config.retention.clone(),
            sumdb,
            access,
            metrics: Metrics::new(),
            via,
            stopping: watch::Sender::new(false),
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
