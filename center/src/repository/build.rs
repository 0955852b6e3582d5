//! Building the repositories from what an operator said of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use http::HeaderValue;
use shared::change::{EventType, Kind};
use shared::digest::Digest;
use shared::fill::Flights;
use shared::module::Patterns;
use tokio::runtime::Handle;

use super::figures::Figures;
use super::local::Local;
use super::owner::{Owners, Published};
use super::private::{self, Private};
use super::quarantine::Quarantine;
use super::remote::{Heat, Periods, Remote};
use super::scope::Scope;
use super::virtual_::{Memo, Virtual, local_of};
use super::{Inner, Repository, RepositoryKind, RepositorySettings, Verifier};
use crate::egress::{Egress, EgressSettings};
use crate::store::{Event, MutableEffects, MutableOutcome, MutableRecord, Store, StoreError, Subject, now_ms};
use crate::upstream::outbound::Outbound;
use crate::upstream::{Manners, Patience, Upstream};

/// All repositories of a center.
pub(crate) struct Repositories {
    by_name: BTreeMap<String, Arc<Repository>>,
    owners: Arc<Owners>,
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
    /// The egress proxy cannot be started.
    #[error("egress: {0}")]
    Egress(std::io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Repositories {
    /// Builds them; `via` is how this center calls itself to upstreams. Fills run on the runtime on which this is called. With
    /// `before`, the repositories that ran under other settings, nothing is forgotten that was published meanwhile.
    pub(crate) async fn build(
        settings: &BTreeMap<String, RepositorySettings>,
        store: &Store,
        verifier: Arc<dyn Verifier>,
        via: &HeaderValue,
        outbound: &Arc<Outbound>,
        egress: &EgressSettings,
        before: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let owners = Arc::new(before.map_or_else(Owners::default, |before| Owners::new(before.owners.published())));
        for name in settings.keys() {
            store.open_log(name).await?;
        }
        learn_published(settings, store, &owners, before.is_none()).await?;
        let has_private = settings.values().any(|settings| settings.kind == RepositoryKind::Private);
        let egress =
            if has_private { Some(Arc::new(Egress::start(egress).map_err(BuildError::Egress)?)) } else { None };
        let figures = Figures::new();
        let parts = Parts { settings, store, owners: &owners, verifier, via, outbound, egress, figures, before };
        let mut by_name = BTreeMap::new();
        for name in settings.keys() {
            parts.add(name, &mut by_name, &mut Vec::new())?;
        }
        tell_of_settings(settings, store).await?;
        Ok(Self { by_name, owners })
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

/// Records what the settings are. Where they are not those of before, lists and all else that may change is no longer what it
/// was, and every edge must hear of it.
async fn tell_of_settings(settings: &BTreeMap<String, RepositorySettings>, store: &Store) -> Result<(), StoreError> {
    let digest = Digest::of(&serde_json::to_vec(settings).unwrap_or_default());
    let record = MutableRecord {
        outcome: MutableOutcome::NotFound(digest.hex()),
        fetched_ms: now_ms(),
        etag: None,
        last_modified: None,
        pseudo: None,
    };
    for name in settings.keys() {
        let logs = [name.clone()];
        let subject = Subject { repository: name, logs: &logs, module: "" };
        let event = || Event {
            event_type: EventType::Update,
            kind: Kind::All,
            version: None,
            sha256: None,
            h1: None,
            reason: "settings",
        };
        let effects = |before: Option<&MutableRecord>| MutableEffects {
            events: before.filter(|before| before.outcome != record.outcome).map(|_| event()).into_iter().collect(),
            present: Vec::new(),
        };
        store.commit_mutable(subject, "settings", &record, None, effects).await?;
    }
    Ok(())
}

/// What every repository is built from.
struct Parts<'a> {
    settings: &'a BTreeMap<String, RepositorySettings>,
    store: &'a Store,
    owners: &'a Arc<Owners>,
    verifier: Arc<dyn Verifier>,
    via: &'a HeaderValue,
    /// The way out for fetches, where there is a private repository.
    egress: Option<Arc<Egress>>,
    outbound: &'a Arc<Outbound>,
    figures: Figures,
    /// The repositories under the settings of before.
    before: Option<&'a Repositories>,
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
        settings.check_keys().map_err(wrong)?;
        let owns = Patterns::new(settings.owns.iter().cloned()).map_err(|error| wrong(format!("owns: {error}")))?;
        let inner = match settings.kind {
            RepositoryKind::Local => Inner::Local(Arc::new(self.local(name, &owns)?)),
            RepositoryKind::Private => {
                self.owners.add(name, &owns);
                Inner::Private(Arc::new(self.private(name, settings)?))
            }
            RepositoryKind::Remote => {
                self.owners.add_open(name, &owns);
                Inner::Remote(Arc::new(self.remote(name, settings)?))
            }
            RepositoryKind::Virtual => {
                above.push(name.to_owned());
                let members = settings.members.iter().map(|member| self.add(member, built, above));
                let members = members.collect::<Result<Vec<_>, _>>()?;
                above.pop();
                let virtual_ = self.merge(name, settings, members)?;
                self.owners.add_group(name, &owns, virtual_.leaves());
                Inner::Virtual(virtual_)
            }
        };
        let repository = Arc::new(Repository {
            name: name.to_owned(),
            store: self.store.clone(),
            owners: Arc::clone(self.owners),
            scope: Scope { include: settings.include.clone(), exclude: settings.exclude.clone() },
            priority: settings.priority,
            hard_fail: settings.hard_fail,
            rules: Digest::of(format!("{:?}", self.settings).as_bytes()),
            inner,
        });
        built.insert(name.to_owned(), Arc::clone(&repository));
        Ok(repository)
    }

    fn local(&self, name: &str, owns: &Patterns) -> Result<Local, BuildError> {
        self.owners.add(name, owns);
        Ok(Local {
            name: name.to_owned(),
            store: self.store.clone(),
            owners: Arc::clone(self.owners),
            figures: self.figures.clone(),
            logs: self.logs_of(name),
            log: self.store.change_log(name)?,
        })
    }

    fn private(&self, name: &str, settings: &RepositorySettings) -> Result<Private, BuildError> {
        let wrong = |reason: String| BuildError::Settings { name: name.to_owned(), reason };
        let parts = private::Parts {
            name: name.to_owned(),
            store: self.store.clone(),
            owners: Arc::clone(self.owners),
            figures: self.figures.clone(),
            logs: self.logs_of(name),
            log: self.store.change_log(name)?,
            egress: self.egress.clone().ok_or_else(|| wrong("the egress proxy is not running".to_owned()))?,
        };
        Private::new(parts, settings).map_err(wrong)
    }

    fn remote(&self, name: &str, settings: &RepositorySettings) -> Result<Remote, BuildError> {
        let patience = Patience {
            connect: settings.connect_timeout.get(),
            first_byte: settings.first_byte_timeout.get(),
            stall: settings.stall_timeout.get(),
        };
        let upstream = if settings.servers().next().is_none() {
            None
        } else {
            let manners = Manners { patience, via: self.via.clone(), held_first: settings.held_first };
            let before = self.before.and_then(|before| before.get(name)).and_then(|before| match &before.inner {
                Inner::Remote(remote) => remote.upstream.as_ref(),
                Inner::Local(_) | Inner::Private(_) | Inner::Virtual(_) => None,
            });
            let upstream = Upstream::new(settings.servers(), manners, self.outbound, before);
            Some(upstream.map_err(|reason| BuildError::Settings {
                name: name.to_owned(),
                reason: format!("upstream: {reason}"),
            })?)
        };
        Ok(Remote {
            name: name.to_owned(),
            store: self.store.clone(),
            owners: Arc::clone(self.owners),
            figures: self.figures.clone(),
            logs: self.logs_of(name),
            log: self.store.change_log(name)?,
            upstream,
            offline: settings.offline,
            periods: Periods {
                assumed_offline: settings.assumed_offline_period.get(),
                metadata: settings.metadata_period.get(),
                negative: settings.negative_period.get(),
                stale_if_error: settings.stale_if_error.get(),
            },
            verifier: Arc::clone(&self.verifier),
            quarantine: Quarantine::beside(self.store.spool_dir()),
            flights: Flights::new(self.store.spool_dir(), Handle::current()),
            heat: Heat::default(),
            cooling_until_ms: AtomicU64::new(0),
        })
    }

    fn merge(
        &self,
        name: &str,
        settings: &RepositorySettings,
        mut members: Vec<Arc<Repository>>,
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
        // Of equals, the order in which they were named.
        members.sort_by_key(|member| std::cmp::Reverse(member.priority));
        Ok(Virtual {
            store: self.store.clone(),
            log: self.store.change_log(name)?,
            owners: Arc::clone(self.owners),
            members,
            default_deployment,
            merge_timeout: settings.merge_timeout.get(),
            memo: Memo::default(),
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

/// Learns what was published to the local repositories that are new. Other replicas are followed (`is_first`: from now on) before
/// anything is read: what they publish behind the reading is told.
async fn learn_published(
    settings: &BTreeMap<String, RepositorySettings>,
    store: &Store,
    owners: &Owners,
    is_first: bool,
) -> Result<(), StoreError> {
    let locals = settings.iter().filter(|(_, settings)| settings.kind == RepositoryKind::Local).map(|(name, _)| name);
    let new: Vec<&String> = locals.filter(|name| !owners.knows_published(name)).collect();
    for name in &new {
        // Only what has an entry is followed.
        owners.know_published(name, BTreeSet::new());
    }
    if is_first {
        follow_replicas(store, owners.published());
    }
    let read = read_published(&new, store, owners).await;
    if read.is_err() {
        // Whoever builds next must not take what was not read for nothing.
        let published = owners.published();
        let mut published = published.write();
        for name in new {
            published.remove(name);
        }
    }
    read
}

async fn read_published(names: &[&String], store: &Store, owners: &Owners) -> Result<(), StoreError> {
    for name in names {
        // What was once published stays owned, also when every version of it is tombstoned.
        let mut published = BTreeSet::new();
        store
            .for_each_module(name, |module| {
                published.insert(module.to_owned());
            })
            .await?;
        owners.know_published(name, published);
    }
    Ok(())
}

/// What is published at another replica is owned from then on here too, and the manifests follow. Behind: the head that tells of it
/// need not wait.
fn follow_replicas(store: &Store, published: Published) {
    let open = store.weak();
    store.observe(move |change| {
        let is_new =
            published.write().get_mut(&change.repo).is_some_and(|known| known.insert(change.module_id.clone()));
        let Some(store) = open().filter(|_| is_new) else { return };
        let path = change.module_id.clone();
        tokio::spawn(async move {
            if let Err(error) = store.renew_manifests(&path).await {
                tracing::warn!(path, %error, "the manifests could not be renewed");
            }
        });
    });
}

#[cfg(test)]
mod tests;
