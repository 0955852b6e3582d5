//! Other settings for a running center: everything that is built from them is built anew beside what runs, and takes its place
//! at once for the requests that come from then on. What runs goes on as it began, fills included.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use shared::reload::{Outcome, Reloads, Watch, plan};

use crate::BINARY;
use crate::app::App;
use crate::config::{ALIASES, Config};
use crate::router::Routes;

/// Settings that are used once, at the start: a change of them waits for the next one. With all that lies below them.
const NEEDS_RESTART: [&str; 12] = [
    "listen",
    "tls",
    "serving",
    "metrics.listen",
    "data_dir",
    "storage",
    "log",
    "limits.connections_max",
    "limits.header_timeout",
    "limits.client_write",
    "limits.drain_timeout",
    "limits.handover_grace",
];

/// How soon a token counts, or no longer does, that was issued or revoked at another replica.
const TOKENS_PAUSE: Duration = Duration::from_secs(2);

/// The center as it is now.
pub(crate) struct Live {
    now: ArcSwap<Built>,
    reloads: Reloads,
}

struct Built {
    config: Config,
    app: Arc<App>,
    routes: Arc<Routes>,
}

impl Live {
    /// What was built at the start from `config`, which came from `file` if there is one.
    pub(crate) fn new(config: Config, app: Arc<App>, file: Option<PathBuf>) -> Self {
        let routes = Arc::new(Routes::new(&app));
        Self { now: ArcSwap::from_pointee(Built { config, app, routes }), reloads: Reloads::new(file) }
    }

    /// What answers a request that comes now.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.now.load().routes)
    }

    /// What the settings of the moment made.
    pub(crate) fn app(&self) -> Arc<App> {
        Arc::clone(&self.now.load().app)
    }

    /// Reads the settings again and applies them; `asked_by` is for the log. Files that they name (credentials, authorities) are
    /// read again too, whether a setting differs or not.
    pub(crate) async fn reload(&self, asked_by: &str) -> Outcome {
        let _turn = self.reloads.turn().await;
        let file = self.reloads.file().map(std::path::Path::to_owned);
        let loaded =
            tokio::task::spawn_blocking(move || shared::config::load::<Config>(BINARY, file.as_deref(), &ALIASES))
                .await;
        let outcome = match loaded {
            Ok(Ok(new)) => self.change(&new).await.unwrap_or_else(Outcome::Refused),
            Ok(Err(error)) => Outcome::Refused(error.to_string()),
            Err(error) => Outcome::Refused(format!("reading the settings: {error}")),
        };
        self.reloads.note(&outcome, asked_by);
        outcome
    }

    async fn change(&self, new: &Config) -> Result<Outcome, String> {
        new.check()?;
        let running = self.now.load_full();
        let (config, outcome) = match plan(&running.config, new, &NEEDS_RESTART)? {
            Some((effective, differences)) => (effective, Outcome::Applied(differences)),
            None => (running.config.clone(), Outcome::Unchanged),
        };
        // What waits for a restart may be what made the new settings a whole.
        config.check().map_err(|error| format!("{error} (with what needs a restart left as it is)"))?;
        let app = running.app.rebuild(&config).await.map_err(|error| format!("{error:#}"))?;
        let routes = Arc::new(Routes::new(&app));
        self.now.store(Arc::new(Built { config, app, routes }));
        Ok(outcome)
    }

    /// Takes over which tokens were issued and revoked, by other replicas or while the settings changed.
    pub(crate) async fn follow_tokens(&self) {
        loop {
            tokio::time::sleep(TOKENS_PAUSE).await;
            if let Err(error) = self.app().read_issued().await {
                tracing::warn!(%error, "tokens that were issued or revoked meanwhile are not known");
            }
        }
    }

    /// Reloads whenever the configuration file has changed.
    pub(crate) async fn follow_file(&self) {
        let Some(file) = self.reloads.file() else { return std::future::pending().await };
        let mut watch = Watch::new(file.to_owned());
        loop {
            watch.changed().await;
            self.reload("the file has changed").await;
        }
    }
}
