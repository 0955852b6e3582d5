//! A private repository: modules that are fetched from version control, and kept here for good.
//!
//! ```text
//! fetch ─▶ does the path belong here? ─▶ no: not found
//!       ─▶ held, and fresh if it may change? ─▶ answer      (immutable.rs, mutable.rs)
//!       ─▶ held, but old ─▶ answer, and ask behind it
//!       ─▶ join the flight ─▶ a turn in the pool ─▶ fetcher ─▶ checks ─▶ commit ─▶ answer   (flight.rs, commit.rs)
//! webhook ─▶ what the event is about is asked anew at once  (renewal.rs)
//! ```
//!
//! What belongs here, the patterns `owns` say, and nobody else is asked for it: neither another proxy nor the checksum
//! database. The fetcher is the `go` command (`go/`) or one of the operator's (`external/`).

mod command;
mod commit;
mod external;
mod fetcher;
mod flight;
mod go;
mod immutable;
mod incidents;
mod mutable;
mod pool;
mod renewal;
mod settings;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use shared::artefact::Artefact;
use shared::fill::Flights;
use shared::module::{ModulePath, Version};
use shared::request::ModuleRequest;
use tokio::runtime::Handle;

use self::external::{External, Transport};
use self::fetcher::Fetcher;
use self::flight::Flight;
use self::go::Go;
use self::renewal::Renewals;
pub(crate) use self::renewal::{Webhook, place_of};
use self::settings::FetcherKind;
pub(crate) use self::settings::FetcherSettings;
use super::figures::Figures;
use super::owner::Owners;
use super::{Answer, FetchOptions, RepoError, RepositorySettings};
use crate::egress::Egress;
use crate::store::{ChangeLog, MutableRecord, Store, StoreError, Subject};

/// How long answers count.
#[derive(Debug, Clone, Copy)]
struct Periods {
    metadata: Duration,
    negative: Duration,
    stale_if_error: Duration,
    assumed_offline: Duration,
    /// Beyond `metadata`: answered at once, and asked for anew behind that.
    refresh_behind: Duration,
}

/// Modules out of version control.
pub(super) struct Private {
    name: String,
    store: Store,
    owners: Arc<Owners>,
    figures: Figures,
    /// Its own log and those of the virtual repositories above it.
    logs: Vec<String>,
    log: ChangeLog,
    fetcher: Box<dyn Fetcher>,
    periods: Periods,
    flights: Flights<Flight, ()>,
    renewals: Renewals,
    /// Until when nothing is asked behind an answer: Unix time in milliseconds.
    cooling_until_ms: AtomicU64,
    webhook: Option<Webhook>,
}

/// What a private repository is built from, besides its settings.
pub(super) struct Parts {
    pub(super) name: String,
    pub(super) store: Store,
    pub(super) owners: Arc<Owners>,
    pub(super) figures: Figures,
    pub(super) logs: Vec<String>,
    pub(super) log: ChangeLog,
    pub(super) egress: Arc<Egress>,
}

impl Private {
    /// Fetches on the runtime on which this is called. The message of an error names the key.
    pub(super) fn new(parts: Parts, settings: &RepositorySettings) -> Result<Self, String> {
        let Parts { name, store, owners, figures, logs, log, egress } = parts;
        let of = &settings.fetcher;
        let fetcher: Box<dyn Fetcher> = match of.kind {
            FetcherKind::Go => Box::new(Go::new(of, &folder_of(&store, &name)?, egress)?),
            FetcherKind::Http => Box::new(External::new(of, Transport::http(of)?, store.spool_dir())),
            FetcherKind::Command => Box::new(External::new(of, Transport::command(of, egress)?, store.spool_dir())),
        };
        Ok(Self {
            flights: Flights::new(store.spool_dir(), Handle::current()),
            name,
            store,
            owners,
            figures,
            logs,
            log,
            fetcher,
            periods: Periods {
                metadata: settings.metadata_period.get(),
                negative: settings.negative_period.get(),
                stale_if_error: settings.stale_if_error.get(),
                assumed_offline: settings.assumed_offline_period.get(),
                refresh_behind: of.refresh_behind.get(),
            },
            renewals: Renewals::default(),
            cooling_until_ms: AtomicU64::new(0),
            webhook: of.webhook_secret()?.map(Webhook::new),
        })
    }

    /// Whether a path belongs here.
    pub(super) fn owns(&self, module: &ModulePath) -> bool {
        self.owners.owns(&self.name, module.as_str())
    }

    /// Its webhook, if it has one.
    pub(super) const fn webhook(&self) -> Option<&Webhook> {
        self.webhook.as_ref()
    }

    pub(super) async fn fetch(
        self: &Arc<Self>,
        request: &ModuleRequest,
        options: &FetchOptions,
    ) -> Result<Answer, RepoError> {
        let module = &request.module;
        if !self.owns(module) {
            return Err(match self.owners.owner_of(module) {
                Some(owner) => RepoError::Blocked(format!("{module} belongs to repository {owner:?}")),
                None => RepoError::NotFound(format!("{module} does not belong to this repository")),
            });
        }
        check_host(module)?;
        let answer = match &request.artefact {
            Artefact::List | Artefact::Latest => self.mutable(request, Flight::Listing(module.clone()), options).await,
            Artefact::Query(query) => {
                check_query(query)?;
                self.mutable(request, Flight::Query(module.clone(), query.clone()), options).await
            }
            Artefact::Info(version) | Artefact::Mod(version) => {
                let flight = Flight::Metadata(module.clone(), version.clone());
                self.immutable(request, version, flight, options).await
            }
            Artefact::Zip(version) => {
                let flight = Flight::Zip(module.clone(), version.clone());
                self.immutable(request, version, flight, options).await
            }
        };
        Ok(Answer { private: true, ..answer? })
    }

    async fn recorded(&self, module: &ModulePath, artefact: &Artefact) -> Result<Option<MutableRecord>, StoreError> {
        self.store.mutable(&self.name, module.as_str(), &artefact.file_name()).await
    }

    fn subject<'a>(&'a self, module: &'a ModulePath) -> Subject<'a> {
        Subject { repository: &self.name, logs: &self.logs, module: module.as_str() }
    }
}

/// Where a repository keeps what is its fetcher's alone.
fn folder_of(store: &Store, name: &str) -> Result<PathBuf, String> {
    let folder = store.spool_dir().with_file_name("private").join(name);
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

/// A module path begins with the host that `go` asks, and `go` asks a literal loopback address without any proxy.
fn check_host(module: &ModulePath) -> Result<(), RepoError> {
    let host = module.as_str().split('/').next().unwrap_or_default();
    if host.parse::<IpAddr>().is_ok() {
        return Err(RepoError::Blocked(format!("{module}: an address is no host of modules")));
    }
    Ok(())
}

/// A query travels to the command lines of version control: what could be an option or a path there is refused, and so is
/// what means something to `go` alone (a comparison, or the main module's own version).
fn check_query(query: &str) -> Result<(), RepoError> {
    let is_plain = query.bytes().all(|b| b.is_ascii_graphic() && !b"@:\\'\"`$;|&*?<>=(){}[]^~!#%".contains(&b));
    let is_word = !["upgrade", "patch", "none"].contains(&query);
    let has_dots = query.split('/').any(|element| element.is_empty() || element.starts_with('.'));
    if query.is_empty() || !is_plain || !is_word || has_dots || query.starts_with('-') || query.contains("..") {
        return Err(RepoError::Blocked(format!("{query:?} is not a revision that is asked for")));
    }
    Ok(())
}

/// `module@version`, for messages.
fn name_of(module: &ModulePath, version: &Version) -> String {
    format!("{module}@{version}")
}
