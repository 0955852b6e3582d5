//! Where it comes from what is to be warm: each source is read, its closure is reckoned, and the queue is told.

mod changes;
mod directories;
mod git;
mod hot;
mod named;
mod sbom;
pub(crate) mod toolchain;
pub(crate) mod tree;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use self::git::Repository;
use self::tree::Unit;
use super::closure::{self, Closure, Mods, Project};
use super::metrics::PrewarmMetrics;
use super::queue::Queue;
use super::settings::PrewarmSettings;
use super::wanted::{Cause, CauseKind, Parts, Wanted};
use crate::feed::Feed;
use crate::tier::TierClient;

/// How often files that are known are looked at, and requests to try again are followed.
pub(super) const GLANCE: Duration = Duration::from_secs(1);

/// The wait before a source is read again of which a part could not be found out.
const MEND_FIRST: Duration = Duration::from_secs(5);

/// All sources of the configuration, and where they lead.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(super) settings: PrewarmSettings,
    pub(super) queue: Arc<Queue>,
    pub(super) mods: Mods,
    pub(super) metrics: PrewarmMetrics,
    pub(super) client: TierClient,
    /// Labels and base URLs of the edges' administrations.
    pub(super) edges: Vec<(String, String)>,
    /// Paths of the modules that were hot when the edges were last asked.
    pub(super) hot: Mutex<HashSet<String>>,
}

impl Sources {
    /// Watches all of them for good.
    pub(crate) async fn watch(&self, feed: &Feed) {
        let git = futures_util::future::join_all(self.settings.git.iter().map(|git| self.watch_git(git)));
        tokio::join!(
            self.watch_directories(),
            git,
            self.watch_names(),
            self.watch_hot(),
            self.watch_changes(feed),
            self.follow_requests()
        );
    }

    /// Reads all of them once. Whether each could be read whole.
    pub(crate) async fn read_once(&self) -> bool {
        self.queue.follow_requests().await;
        let mut is_whole = true;
        for folder in &self.settings.directories {
            for unit in directories::search(folder).await {
                is_whole &= self.want_unit(&unit, None, false).await;
            }
        }
        for settings in &self.settings.git {
            let repository = Repository::new(settings, &self.settings.state_dir);
            is_whole &= match repository.fetch().await {
                Ok(fetched) => self.want_tree(&repository, &fetched.tree, false).await,
                Err(reason) => self.fail(CauseKind::Project, &reason),
            };
        }
        is_whole &= self.want_names(false).await;
        is_whole & self.want_hot(false).await
    }

    /// Reads a unit and wants its closure, under another name than its file's if one is given. Whether it was whole.
    pub(super) async fn want_unit(&self, unit: &Unit, name: Option<&str>, anew: bool) -> bool {
        let file = unit.file().display().to_string();
        let name = name.unwrap_or(&file);
        let kind = match unit {
            Unit::Module(_) | Unit::Workspace(_) | Unit::Sums(_) => CauseKind::Project,
            Unit::Sbom(_) => CauseKind::Sbom,
            Unit::List(_) => CauseKind::List,
        };
        match self.closure_of(unit).await {
            Ok(closure) => self.want(closure, &Cause::new(kind, name), anew).await,
            Err(reason) => self.fail(kind, &reason),
        }
    }

    /// What a unit's files ask for.
    async fn closure_of(&self, unit: &Unit) -> Result<Closure, String> {
        let own = unit.clone();
        let read = move || -> Result<Read, String> {
            let text = |file: &Path| closure::read_text(file).map_err(|error| format!("{}: {error}", file.display()));
            Ok(match &own {
                Unit::Module(folder) => Read::Project(Project::of_module(folder)?),
                Unit::Workspace(folder) => Read::Project(Project::of_workspace(folder)?),
                Unit::Sums(file) => {
                    let sums = shared::go_sum::parse(&text(file)?);
                    let sums = sums.map_err(|error| format!("{}:{error}", file.display()))?;
                    Read::Project(Project::of_sums(sums))
                }
                Unit::Sbom(file) => {
                    Read::Keys(sbom::parse(&text(file)?).map_err(|error| format!("{}: {error}", file.display()))?)
                }
                Unit::List(file) => Read::Names(named::lines(&text(file)?)),
            })
        };
        match tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?? {
            Read::Project(project) => Ok(closure::resolve(&self.mods, &project).await),
            Read::Keys(keys) => {
                let mut closure = Closure::default();
                closure.add_all(keys, Parts::ALL);
                Ok(closure)
            }
            Read::Names(names) => Ok(self.closure_of_names(&names).await),
        }
    }

    /// Wants a closure and the toolchain that it asks for. Whether it was whole.
    pub(super) async fn want(&self, mut closure: Closure, cause: &Cause, anew: bool) -> bool {
        let toolchain = closure.toolchain.take().filter(|_| self.settings.toolchains.of_projects);
        if let Some(name) = toolchain {
            closure.add_all(toolchain::keys(&name, &self.settings.toolchains), Parts::ALL);
        }
        for flaw in &closure.flaws {
            tracing::warn!(%cause, %flaw, "a part of what is to be warm cannot be found out");
        }
        let versions = closure.wanted.len();
        let each = closure.wanted.into_iter();
        let wanted = each.map(|(key, parts)| Wanted { key, parts, cause: cause.clone(), anew }).collect();
        let added = self.queue.want(wanted).await;
        tracing::info!(%cause, versions, added, "to be warm");
        let is_whole = closure.flaws.is_empty();
        let result = if is_whole { "whole" } else { "partly" };
        self.metrics.sources.with_label_values(&[cause.kind.name(), result]).inc();
        is_whole
    }

    /// Wants what the files below a repository's tree ask for. Whether that was whole.
    async fn want_tree(&self, repository: &Repository, tree: &Path, anew: bool) -> bool {
        let mut is_whole = true;
        for unit in directories::search(tree).await {
            let file = unit.file();
            let below = file.strip_prefix(tree).unwrap_or(&file).display();
            is_whole &= self.want_unit(&unit, Some(&format!("{}#{below}", repository.shown())), anew).await;
        }
        is_whole
    }

    async fn watch_git(&self, settings: &super::settings::GitSettings) {
        let repository = Repository::new(settings, &self.settings.state_dir);
        let every = settings.every.unwrap_or(self.settings.look_every).get();
        let mut rounds = Rounds::new(self.settings.again_every.get(), every);
        let mut known = None;
        loop {
            let is_whole = match repository.fetch().await {
                Ok(fetched) => {
                    let anew = rounds.is_anew();
                    let is_new = known.as_ref() != Some(&fetched.commit);
                    let is_whole = !(is_new || anew) || self.want_tree(&repository, &fetched.tree, anew).await;
                    known = is_whole.then_some(fetched.commit);
                    is_whole
                }
                Err(reason) => self.fail(CauseKind::Project, &reason),
            };
            sleep(rounds.wait(is_whole)).await;
        }
    }

    async fn follow_requests(&self) {
        loop {
            let revived = self.queue.follow_requests().await;
            if revived > 0 {
                tracing::info!(revived, "what was given up is tried again");
            }
            sleep(GLANCE).await;
        }
    }

    /// A source cannot be read.
    pub(super) fn fail(&self, kind: CauseKind, reason: &str) -> bool {
        tracing::warn!(kind = kind.name(), %reason, "a source of pre-warming cannot be read");
        self.metrics.sources.with_label_values(&[kind.name(), "failed"]).inc();
        false
    }
}

/// What a unit's files hold.
enum Read {
    Project(Project),
    Keys(Vec<super::wanted::Key>),
    Names(BTreeSet<String>),
}

/// When a source is read next, and whether everything is asked anew then.
#[derive(Debug)]
pub(super) struct Rounds {
    again_every: Duration,
    every: Duration,
    again_at: Instant,
    mend: Duration,
}

impl Rounds {
    /// From now on.
    pub(super) fn new(again_every: Duration, every: Duration) -> Self {
        Self { again_every, every, again_at: Instant::now() + again_every, mend: MEND_FIRST }
    }

    /// Whether everything is to be asked anew in this round.
    pub(super) fn is_anew(&mut self) -> bool {
        let is_due = Instant::now() >= self.again_at;
        if is_due {
            self.again_at = Instant::now() + self.again_every;
        }
        is_due
    }

    /// How long until the next round; sooner after one that was not whole, but less and less so.
    pub(super) fn wait(&mut self, is_whole: bool) -> Duration {
        if is_whole {
            self.mend = MEND_FIRST;
            return self.every;
        }
        let wait = self.mend.min(self.every);
        self.mend = self.mend.saturating_mul(2).min(self.every.max(MEND_FIRST));
        wait
    }
}
