//! The go.mod files of the graph, fetched once each.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use shared::module::gomod;
use shared::module::{ModulePath, Version};
use tokio::sync::Semaphore;

use super::project;
use crate::prewarm::fetch::Fetcher;
use crate::prewarm::wanted::Key;

/// Fetches at one time.
const AT_ONCE: usize = 32;

/// Most summaries that are kept: each is some hundred bytes, and a large project has a thousand.
const KEPT_MAX: usize = 50_000;

/// What a go.mod says to the graph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// What it requires.
    pub(crate) require: Vec<Key>,
    /// Whether the graph below it is pruned.
    pub(crate) is_pruned: bool,
}

/// Where they come from.
#[derive(Debug)]
pub(crate) struct Mods {
    fetcher: Fetcher,
    turns: Semaphore,
    kept: Mutex<HashMap<Key, Arc<Summary>>>,
}

impl Mods {
    /// From this GOPROXY.
    pub(crate) fn new(fetcher: Fetcher) -> Self {
        Self { fetcher, turns: Semaphore::new(AT_ONCE), kept: Mutex::default() }
    }

    /// The summary of a version's go.mod.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) async fn summary(&self, key: &Key) -> Result<Arc<Summary>, String> {
        if let Some(kept) = self.kept.lock().get(key) {
            return Ok(Arc::clone(kept));
        }
        let text = {
            // It is never closed.
            let _turn = self.turns.acquire().await.map_err(|error| error.to_string())?;
            self.fetcher.gomod(key).await.map_err(|error| format!("{key}: {error}"))?
        };
        let file = gomod::file(&text).ok_or_else(|| format!("{key}: its go.mod is malformed"))?;
        let summary = Arc::new(Summary { require: project::keys(&file, &mut Vec::new()), is_pruned: file.is_pruned() });
        let mut kept = self.kept.lock();
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(key.clone(), Arc::clone(&summary));
        Ok(summary)
    }

    /// The summary of the go.mod in a folder.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) fn of_folder(folder: &Path) -> Result<Arc<Summary>, String> {
        let file = project::read(&folder.join("go.mod"))?;
        Ok(Arc::new(Summary { require: project::keys(&file, &mut Vec::new()), is_pruned: file.is_pruned() }))
    }

    /// The version that `@latest` stands for.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) async fn latest(&self, module: &ModulePath) -> Result<Version, String> {
        self.fetcher.latest(module).await.map_err(|error| format!("{module}@latest: {error}"))
    }
}
