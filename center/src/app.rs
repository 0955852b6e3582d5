//! Everything a running center consists of, built once.

use std::collections::BTreeMap;
use std::sync::Arc;

use shared::access::Access;
use tokio::sync::watch;

use crate::config::{Config, LimitSettings, MetricsSettings, SumdbSettings, UpkeepSettings};
use crate::envelope::Via;
use crate::error::Failure;
use crate::finding::{Downloads, Indexer};
use crate::metrics::Metrics;
use crate::repository::retention::RetentionRule;
use crate::repository::{Repositories, Repository};
use crate::store::{Store, StoreConfig, StoreError};
use crate::sumdb::{DatabaseConfig, Line, Policy, Sumdb};
use crate::upstream::outbound::{Outbound, OutboundSettings};

/// What stays when the settings change.
struct Common {
    store: Store,
    metrics: Metrics,
    downloads: Arc<Downloads>,
    indexer: Arc<Indexer>,
    via: Via,
    stopping: Arc<watch::Sender<bool>>,
}

/// The center. Handlers borrow it.
pub(crate) struct App {
    /// Limits of the HTTP service.
    pub(crate) limits: LimitSettings,
    /// Who sees the figures.
    pub(crate) shown: MetricsSettings,
    /// Metadata, change logs, blobs.
    pub(crate) store: Store,
    /// The repositories by name.
    pub(crate) repositories: Repositories,
    /// What of the repositories goes.
    pub(crate) retention: BTreeMap<String, RetentionRule>,
    /// What is done by itself.
    pub(crate) upkeep: UpkeepSettings,
    /// The checksum databases.
    pub(crate) sumdb: Arc<Sumdb>,
    /// What they were built from.
    sumdb_of: (SumdbSettings, Vec<DatabaseConfig>),
    outbound: OutboundSettings,
    /// Tokens and grants.
    pub(crate) access: Access,
    /// Counts and durations of requests.
    pub(crate) metrics: Metrics,
    /// How often versions were asked for.
    pub(crate) downloads: Arc<Downloads>,
    /// Lists what comes.
    indexer: Arc<Indexer>,
    /// Our name in `Via`.
    pub(crate) via: Via,
    /// True once a stop was asked for: long polls end, `/readyz` says so.
    pub(crate) stopping: Arc<watch::Sender<bool>>,
    reading_issued: tokio::sync::Mutex<()>,
}

impl App {
    /// Opens the store and builds everything on it, on the runtime it is called from. Asks nobody upstream. With `takes_over`, a
    /// process that ran before on the same data directory still ends what it has begun.
    pub(crate) async fn build(config: &Config, takes_over: bool) -> anyhow::Result<Arc<Self>> {
        let at = StoreConfig { takes_over, ..StoreConfig::new(config.data_dir.clone()) };
        let store = Store::connect(&at, &config.storage).await?;
        store.write_uses_behind();
        let common = Common {
            store,
            metrics: Metrics::new(),
            downloads: Arc::default(),
            indexer: Arc::default(),
            via: Via::new(),
            stopping: Arc::new(watch::Sender::new(false)),
        };
        let app = Self::assemble(config, common, None).await?;
        tokio::spawn(Downloads::keep_writing(Arc::clone(&app)));
        Ok(app)
    }

    /// The same center under other settings. What runs goes on in the one of before; nobody upstream is asked.
    pub(crate) async fn rebuild(&self, config: &Config) -> anyhow::Result<Arc<Self>> {
        let common = Common {
            store: self.store.clone(),
            metrics: self.metrics.clone(),
            downloads: Arc::clone(&self.downloads),
            indexer: Arc::clone(&self.indexer),
            via: self.via.clone(),
            stopping: Arc::clone(&self.stopping),
        };
        Self::assemble(config, common, Some(self)).await
    }

    async fn assemble(config: &Config, common: Common, before: Option<&Self>) -> anyhow::Result<Arc<Self>> {
        let Common { store, metrics, downloads, indexer, via, stopping } = common;
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
        let app = Arc::new(Self {
            limits: config.limits.clone(),
            shown: config.metrics.clone(),
            repositories,
            retention: config.retention.clone(),
            upkeep: config.upkeep.clone(),
            store,
            sumdb,
            sumdb_of: (config.sumdb.clone(), databases),
            outbound: config.outbound.clone(),
            access,
            metrics,
            downloads,
            indexer,
            via,
            stopping,
            reading_issued: tokio::sync::Mutex::default(),
        });
        app.read_issued().await?;
        app.indexer.follow(&app);
        Ok(app)
    }

    /// A repository by its name in the URL.
    pub(crate) fn repository(&self, name: &str) -> Result<&Arc<Repository>, Failure> {
        self.repositories.get(name).ok_or_else(|| Failure::NoRepository(name.to_owned()))
    }

    /// Notes in the audit what somebody did. It is done already: that it cannot be noted does not undo it.
    pub(crate) async fn note(&self, by: &str, action: &str, subject: (&str, &str, &str)) {
        if let Err(error) = self.store.note(by, action, subject).await {
            tracing::error!(%error, by, action, ?subject, "the audit lacks an entry");
        }
    }

    /// Takes over which tokens were issued, here or at another replica.
    pub(crate) async fn read_issued(&self) -> Result<(), StoreError> {
        // One after another: what was read earlier must not come later.
        let _turn = self.reading_issued.lock().await;
        self.access.set_issued(Arc::new(self.store.tokens().await?));
        Ok(())
    }

    /// Completes when a stop is asked for.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Completes when the stop that was asked for is taken back: a hand-over has failed.
    pub(crate) async fn resumed(&self) {
        let mut stopping = self.stopping.subscribe();
        let _ = stopping.wait_for(|stopping| !*stopping).await;
    }
}
