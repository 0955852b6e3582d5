//! The walk over the module graph.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use shared::module::{ModulePath, Version};

use super::Closure;
use super::mods::{Mods, Summary};
use super::project::{Project, Replacement};
use crate::prewarm::wanted::{Key, Parts};

/// Most versions that are loaded in one walk, and most modules that one may know of: a large project has a thousand of them, but a
/// chain of unpruned modules may be written that has no end.
pub(super) const VERSIONS_MAX: usize = 50_000;

/// How often the roots may be brought up to what is selected, and a workspace's requirements likewise.
const ROUNDS_MAX: usize = 1_000;

/// What is said of a graph beyond these bounds.
const TOO_LARGE: &str = "the module graph is too large: the rest of it is not followed";

/// How the requirements of a module are followed; see the table above.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Way {
    Pruned,
    Unpruned,
    Workspace,
}

impl Way {
    fn of(is_pruned: bool) -> Self {
        if is_pruned { Self::Pruned } else { Self::Unpruned }
    }
}

type Loaded = (Key, Way, Result<Arc<Summary>, String>);
type Loading<'a> = Pin<Box<dyn Future<Output = Loaded> + Send + 'a>>;

/// One walk.
struct Walk<'a> {
    mods: &'a Mods,
    project: &'a Project,
    /// The greatest version that anything asks for, of each module.
    selected: HashMap<ModulePath, Version>,
    summaries: HashMap<Key, Arc<Summary>>,
    begun: HashSet<(Key, Way)>,
    loading: FuturesUnordered<Loading<'a>>,
    flaws: Vec<String>,
    versions_max: usize,
    is_too_large: bool,
}

/// Walks the graph of a project, `versions_max` versions of it at most.
pub(super) async fn walk(mods: &Mods, project: &Project, versions_max: usize) -> Closure {
    let mut roots: Vec<(Key, Way)> = Vec::new();
    for main in &project.mains {
        roots.extend(main.require.iter().map(|key| (key.clone(), Way::of(main.is_pruned))));
    }
    let is_pruned = project.mains.iter().all(|main| main.is_pruned);
    let mut closure = Closure::default();
    let mut rounds = 0;
    loop {
        rounds += 1;
        let mut walk = Walk::new(mods, project, versions_max);
        for (key, way) in &roots {
            walk.require(key, Some(*way));
        }
        walk.finish_loading().await;
        if project.is_workspace {
            walk.raise_workspace().await;
        } else if rounds == ROUNDS_MAX {
            walk.stop();
        } else if is_pruned && !walk.is_too_large && walk.raise(&mut roots) {
            // As `go` does: what the lower versions of the roots required counts no more, though it was read. Before go 1.17 it
            // goes on counting.
            closure.add_all(walk.read(), Parts::GRAPH);
            continue;
        }
        closure.add_all(walk.read(), Parts::GRAPH);
        closure.add_all(walk.taken(), Parts::ALL);
        closure.flaws = walk.flaws;
        return closure;
    }
}

impl<'a> Walk<'a> {
    fn new(mods: &'a Mods, project: &'a Project, versions_max: usize) -> Self {
        Self {
            mods,
            project,
            selected: HashMap::new(),
            summaries: HashMap::new(),
            begun: HashSet::new(),
            loading: FuturesUnordered::new(),
            flaws: Vec::new(),
            versions_max,
            is_too_large: false,
        }
    }

    /// Somebody requires a version, which is to be loaded in this way, if at all.
    fn require(&mut self, key: &Key, way: Option<Way>) {
        if self.project.excludes(key) {
            return;
        }
        let is_full = self.selected.len() >= self.versions_max;
        match self.selected.get_mut(&key.module) {
            Some(version) if *version >= key.version => {}
            Some(version) => *version = key.version.clone(),
            None if is_full => return self.stop(),
            None => {
                self.selected.insert(key.module.clone(), key.version.clone());
            }
        }
        if let Some(way) = way {
            self.load(key, way);
        }
    }

    fn load(&mut self, key: &Key, way: Way) {
        if self.is_too_large || self.begun.contains(&(key.clone(), way)) {
            return;
        }
        if self.begun.len() >= self.versions_max {
            return self.stop();
        }
        self.begun.insert((key.clone(), way));
        let (mods, project, key) = (self.mods, self.project, key.clone());
        let known = self.summaries.get(&key).cloned();
        self.loading.push(Box::pin(async move {
            let summary = match (known, project.replacement(&key)) {
                (Some(known), _) => Ok(known),
                (None, None) => mods.summary(&key).await,
                (None, Some(Replacement::Module(other))) => mods.summary(other).await,
                (None, Some(Replacement::Folder(folder))) => Mods::of_folder(folder),
            };
            (key, way, summary)
        }));
    }

    /// Nothing more is loaded.
    fn stop(&mut self) {
        if !self.is_too_large {
            self.is_too_large = true;
            self.flaws.push(TOO_LARGE.to_owned());
        }
    }

    async fn finish_loading(&mut self) {
        while let Some((key, way, summary)) = self.loading.next().await {
            match summary {
                Ok(summary) => {
                    self.follow(&summary, way);
                    self.summaries.insert(key, summary);
                }
                Err(flaw) => self.flaws.push(flaw),
            }
        }
    }

    fn follow(&mut self, summary: &Summary, way: Way) {
        if self.is_too_large {
            return;
        }
        let next = if way == Way::Unpruned { Way::Unpruned } else { Way::of(summary.is_pruned) };
        let is_followed = way != Way::Pruned || !summary.is_pruned;
        for key in &summary.require {
            self.require(key, is_followed.then_some(next));
        }
    }

    /// A main module that requires less than what is selected is brought up to it, as `go get` leaves it. Whether one was.
    fn raise(&self, roots: &mut [(Key, Way)]) -> bool {
        let mut is_raised = false;
        for (root, _) in roots {
            if let Some(raised) = self.raised(root) {
                *root = raised;
                is_raised = true;
            }
        }
        is_raised
    }

    /// In a workspace a module may get more than it requires; then what it gets is loaded, and so on from there.
    async fn raise_workspace(&mut self) {
        let mut watched: Vec<Vec<Key>> = self.project.mains.iter().map(|main| main.require.clone()).collect();
        let mut seen: HashSet<Key> = HashSet::new();
        for _ in 0..ROUNDS_MAX {
            let raised: HashSet<Key> =
                watched.iter().flatten().filter_map(|key| self.raised(key)).filter(|key| !seen.contains(key)).collect();
            if raised.is_empty() || self.is_too_large {
                return;
            }
            for key in &raised {
                self.load(key, Way::Workspace);
            }
            self.finish_loading().await;
            watched.extend(raised.iter().filter_map(|key| self.summaries.get(key)).map(|s| s.require.clone()));
            seen.extend(raised);
        }
        self.stop();
    }

    /// What is selected instead of a version, if it is another one.
    fn raised(&self, key: &Key) -> Option<Key> {
        let version = self.selected.get(&key.module)?;
        (!self.is_main(&key.module) && *version > key.version)
            .then(|| Key { module: key.module.clone(), version: version.clone() })
    }

    fn is_main(&self, module: &ModulePath) -> bool {
        self.project.mains.iter().any(|main| main.path == module.as_str())
    }

    /// Whose go.mod files were read.
    fn read(&self) -> Vec<Key> {
        self.begun.iter().filter_map(|(key, _)| self.actual(key)).collect()
    }

    /// What is selected.
    fn taken(&self) -> Vec<Key> {
        let selected = self.selected.iter().filter(|(module, _)| !self.is_main(module));
        let keys = selected.map(|(module, version)| Key { module: module.clone(), version: version.clone() });
        keys.filter_map(|key| self.actual(&key)).collect()
    }

    /// What is downloaded for a version; nothing for a folder.
    fn actual(&self, key: &Key) -> Option<Key> {
        match self.project.replacement(key) {
            None => Some(key.clone()),
            Some(Replacement::Module(other)) => Some(other.clone()),
            Some(Replacement::Folder(_)) => None,
        }
    }
}
