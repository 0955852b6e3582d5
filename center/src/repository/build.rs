//! Building the repositories from what an operator said of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::HeaderValue;
use shared::digest::Digest;
use shared::fill::Flights;
use shared::module::Patterns;
use tokio::runtime::Handle;

use super::figures::Figures;
use super::local::Local;
use super::owner::Owners;
use super::remote::{Periods, Remote};
use super::virtual_::{Virtual, local_of};
use super::{Inner, Repository, RepositoryKind, RepositorySettings, Verifier};
use crate::store::{Store, StoreError};
use crate::upstream::{Patience, Upstream};

/// All repositories of a center.
pub(crate) struct Repositories {
    by_name: BTreeMap<String, Arc<Repository>>,
}

/// Why the repositories cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// What is configured makes no sense.
    #[error("repositories.{name}: {reason}")]
    Settings {
        /// The repository.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Repositories {
    /// Builds them; `via` is how this center calls itself to upstreams. Fills run on the runtime on which this is called.
    pub(crate) async fn build(
        settings: &BTreeMap<String, RepositorySettings>,
        store: &Store,
        verifier: Arc<dyn Verifier>,
        via: &HeaderValue,
    ) -> Result<Self, BuildError> {
        let owners = Arc::new(Owners::default());
        for (name, settings) in settings {
            store.open_log(name).await?;
            if settings.kind == RepositoryKind::Local {
                // What was once published stays owned, also when every version of it is tombstoned.
                store.for_each_module(name, |module| owners.claim(name, module)).await?;
            }
        }
        let (locals, known, renewed) = (locals_of(settings), Arc::clone(&owners), store.weak());
        // What is published at another replica is owned from then on here too.
        store.observe(move |change| {
            if locals.contains(&change.repo) && !known.owns(&change.repo, &change.module_id) {
                known.claim(&change.repo, &change.module_id);
                if let Some(store) = renewed() {
                    renew(store, change.module_id.clone());
                }
            }
        });
        let parts = Parts { settings, store, owners: &owners, verifier, via, figures: Figures::new() };
        let mut by_name = BTreeMap::new();
        for name in settings.keys() {
            parts.add(name, &mut by_name, &mut Vec::new())?;
        }
        Ok(Self { by_name })
    }

    /// A repository by its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Repository>> {
        self.by_name.get(name)
    }

    /// All of them, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Repository>> {
        self.by_name.values()
    }
}

/// What every repository is built from.
struct Parts<'a> {
    settings: &'a BTreeMap<String, RepositorySettings>,
    store: &'a Store,
    owners: &'a Arc<Owners>,
    verifier: Arc<dyn Verifier>,
    via: &'a HeaderValue,
    figures: Figures,
}

impl Parts<'_> {
    /// Builds a repository after its members. `above` are the virtual repositories that are waiting for it.
    fn add(
        &self,
        name: &str,
        built: &mut BTreeMap<String, Arc<Repository>>,
        above: &mut Vec<String>,
    ) -> Result<Arc<Repository>, BuildError> {
        let wrong = |reason: String| BuildError::Settings { name: name.to_owned(), reason };
        if let Some(repository) = built.get(name) {
            return Ok(Arc::clone(repository));
        }
        let Some(settings) = self.settings.get(name) else {
            let of = above.last().cloned().unwrap_or_default();
            return Err(BuildError::Settings { name: of, reason: format!("member {name:?} is not configured") });
        };
        if above.iter().any(|waiting| waiting == name) {
            return Err(wrong("it is a member of itself".to_owned()));
        }
        check_keys(settings).map_err(wrong)?;
        let inner = match settings.kind {
            RepositoryKind::Local => Inner::Local(Arc::new(self.local(name, settings)?)),
            RepositoryKind::Remote => Inner::Remote(Arc::new(self.remote(name, settings)?)),
            RepositoryKind::Virtual => {
                above.push(name.to_owned());
                let members = settings.members.iter().map(|member| self.add(member, built, above));
                let members = members.collect::<Result<Vec<_>, _>>()?;
                above.pop();
                Inner::Virtual(self.merge(name, settings, members)?)
            }
        };
        let (store, owners) = (self.store.clone(), Arc::clone(self.owners));
        let rules = Digest::of(format!("{:?}", self.settings).as_bytes());
        let repository = Arc::new(Repository { name: name.to_owned(), store, owners, rules, inner });
        built.insert(name.to_owned(), Arc::clone(&repository));
        Ok(repository)
    }

    fn local(&self, name: &str, settings: &RepositorySettings) -> Result<Local, BuildError> {
        let patterns = Patterns::new(settings.owns.iter().cloned())
            .map_err(|error| BuildError::Settings { name: name.to_owned(), reason: format!("owns: {error}") })?;
        self.owners.add(name, &patterns);
        Ok(Local {
            name: name.to_owned(),
            store: self.store.clone(),
            owners: Arc::clone(self.owners),
            figures: self.figures.clone(),
            logs: self.logs_of(name),
            log: self.store.change_log(name)?,
        })
    }

    fn remote(&self, name: &str, settings: &RepositorySettings) -> Result<Remote, BuildError> {
        let patience = Patience {
            connect: settings.connect_timeout.get(),
            first_byte: settings.first_byte_timeout.get(),
            stall: settings.stall_timeout.get(),
        };
        let base = settings.upstream.as_deref().filter(|base| !base.is_empty());
        let upstream = base.map(|base| Upstream::new(base, patience, self.via.clone())).transpose();
        let upstream = upstream
            .map_err(|reason| BuildError::Settings { name: name.to_owned(), reason: format!("upstream: {reason}") })?;
        Ok(Remote {
            name: name.to_owned(),
            store: self.store.clone(),
            owners: Arc::clone(self.owners),
            figures: self.figures.clone(),
            logs: self.logs_of(name),
            log: self.store.change_log(name)?,
            upstream,
            periods: Periods {
                metadata: settings.metadata_period.get(),
                negative: settings.negative_period.get(),
                stale_if_error: settings.stale_if_error.get(),
            },
            verifier: Arc::clone(&self.verifier),
            flights: Flights::new(self.store.spool_dir(), Handle::current()),
            cooling_until_ms: AtomicU64::new(0),
        })
    }

    fn merge(
        &self,
        name: &str,
        settings: &RepositorySettings,
        members: Vec<Arc<Repository>>,
    ) -> Result<Virtual, BuildError> {
        let default_deployment = match &settings.default_deployment {
            None => None,
            Some(target) => {
                let member = members.iter().find(|member| member.name() == target);
                let local = member.and_then(|member| local_of(member)).ok_or_else(|| BuildError::Settings {
                    name: name.to_owned(),
                    reason: format!("default_deployment: {target:?} is not a local member"),
                })?;
                Some(local)
            }
        };
        Ok(Virtual {
            store: self.store.clone(),
            log: self.store.change_log(name)?,
            members,
            default_deployment,
            merge_timeout: settings.merge_timeout.get(),
        })
    }

    /// The logs that tell of a repository's changes: its own, and those of every virtual repository above it.
    fn logs_of(&self, name: &str) -> Vec<String> {
        let mut logs = vec![name.to_owned()];
        let mut next = 0;
        while let Some(member) = logs.get(next).cloned() {
            next += 1;
            let above = self
                .settings
                .iter()
                .filter(|(_, settings)| settings.kind == RepositoryKind::Virtual && settings.members.contains(&member));
            for (name, _) in above {
                if !logs.contains(name) {
                    logs.push(name.clone());
                }
            }
        }
        logs
    }
}

/// Has the manifests follow a path's new owner. Behind: the head that tells of it need not wait.
fn renew(store: Store, path: String) {
    tokio::spawn(async move {
        if let Err(error) = store.renew_manifests(&path).await {
            tracing::warn!(path, %error, "the manifests could not be renewed");
        }
    });
}

fn locals_of(settings: &BTreeMap<String, RepositorySettings>) -> BTreeSet<String> {
    let locals = settings.iter().filter(|(_, settings)| settings.kind == RepositoryKind::Local);
    locals.map(|(name, _)| name.clone()).collect()
}

/// A key that its kind does not know would be a misunderstanding in silence.
fn check_keys(settings: &RepositorySettings) -> Result<(), String> {
    let kind = settings.kind;
    let keys = [
        ("owns", !settings.owns.is_empty(), RepositoryKind::Local),
        ("upstream", settings.upstream.is_some(), RepositoryKind::Remote),
        ("members", !settings.members.is_empty(), RepositoryKind::Virtual),
        ("default_deployment", settings.default_deployment.is_some(), RepositoryKind::Virtual),
    ];
    for (key, is_set, of) in keys {
        if is_set && kind != of {
            return Err(format!("{key}: a {} repository has no such key", kind.as_str()));
        }
    }
    if kind == RepositoryKind::Virtual && settings.members.is_empty() {
        return Err("members: a virtual repository needs at least one".to_owned());
    }
    Ok(())
}
