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
}

/// Walks the graph of a project.
pub(super) async fn walk(mods: &Mods, project: &Project) -> Closure {
    let mut walk = Walk {
        mods,
        project,
        selected: HashMap::new(),
        summaries: HashMap::new(),
        begun: HashSet::new(),
        loading: FuturesUnordered::new(),
        flaws: Vec::new(),
    };
    for main in &project.mains {
        for key in &main.require {
            walk.require(key, Some(Way::of(main.is_pruned)));
        }
    }
    walk.finish_loading().await;
    if project.is_workspace {
        walk.raise_workspace().await;
    } else {
        walk.raise_roots().await;
    }
    walk.closure()
}

impl<'a> Walk<'a> {
    /// Somebody requires a version, which is to be loaded in this way, if at all.
    fn require(&mut self, key: &Key, way: Option<Way>) {
        if self.project.excludes(key) {
            return;
        }
        match self.selected.get_mut(&key.module) {
            Some(version) if *version >= key.version => {}
            Some(version) => *version = key.version.clone(),
            None => {
                self.selected.insert(key.module.clone(), key.version.clone());
            }
        }
        if let Some(way) = way {
            self.load(key, way);
        }
    }

    fn load(&mut self, key: &Key, way: Way) {
        if !self.begun.insert((key.clone(), way)) {
            return;
        }
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
        let next = if way == Way::Unpruned { Way::Unpruned } else { Way::of(summary.is_pruned) };
        let is_followed = way != Way::Pruned || !summary.is_pruned;
        for key in &summary.require {
            self.require(key, is_followed.then_some(next));
        }
    }

    /// A main module that requires less than what is selected is brought up to it, as `go mod tidy` and `go get` leave it.
    async fn raise_roots(&mut self) {
        let Some(main) = self.project.mains.first() else { return };
        loop {
            let raised: Vec<Key> = main.require.iter().filter_map(|key| self.raised(key)).collect();
            let before = self.begun.len();
            for key in raised {
                self.load(&key, Way::of(main.is_pruned));
            }
            if self.begun.len() == before {
                return;
            }
            self.finish_loading().await;
        }
    }

    /// In a workspace a module may get more than it requires; then what it gets is loaded, and so on from there.
    async fn raise_workspace(&mut self) {
        let mut watched: Vec<Vec<Key>> = self.project.mains.iter().map(|main| main.require.clone()).collect();
        let mut seen: HashSet<Key> = HashSet::new();
        loop {
            let raised: HashSet<Key> =
                watched.iter().flatten().filter_map(|key| self.raised(key)).filter(|key| !seen.contains(key)).collect();
            if raised.is_empty() {
                return;
            }
            for key in &raised {
                self.load(key, Way::Workspace);
            }
            self.finish_loading().await;
            watched.extend(raised.iter().filter_map(|key| self.summaries.get(key)).map(|s| s.require.clone()));
            seen.extend(raised);
        }
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

    fn closure(self) -> Closure {
        let mut closure = Closure::default();
        for (key, _) in &self.begun {
            if let Some(actual) = self.actual(key) {
                closure.add(actual, Parts::GRAPH);
            }
        }
        for (module, version) in &self.selected {
            if !self.is_main(module)
                && let Some(actual) = self.actual(&Key { module: module.clone(), version: version.clone() })
            {
                closure.add(actual, Parts::ALL);
            }
        }
        closure.flaws = self.flaws;
        closure
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
