//! The versions that the `go` command would load for a project: its module graph and the versions that minimal version
//! selection takes from it (Go modules reference, "Minimal version selection" and "Module graph pruning").
//!
//! It is reckoned here from the go.mod files, as `cmd/go/internal/modload` does (`readModGraph`), so that no Go need be
//! installed. A graph is walked in one of three ways:
//!
//! | way | of a module's requirements |
//! |---|---|
//! | pruned | all count for the selection; they are loaded themselves only if the module is older than Go 1.17 |
//! | unpruned | all are loaded, and so is everything below |
//! | workspace | all are loaded, each in the way of the module that requires it |

mod graph;
mod mods;
mod project;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(crate) use self::mods::Mods;
pub(crate) use self::project::{Project, read_text};
use super::wanted::{Key, Parts};

/// What a project needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Closure {
    /// Which artefacts of which versions.
    pub(crate) wanted: BTreeMap<Key, Parts>,
    /// What could not be found out; empty when the closure is whole.
    pub(crate) flaws: Vec<String>,
    /// The toolchain that the project asks for.
    pub(crate) toolchain: Option<String>,
}

impl Closure {
    /// Adds artefacts of versions.
    pub(crate) fn add_all(&mut self, keys: Vec<Key>, parts: Parts) {
        for key in keys {
            self.add(key, parts);
        }
    }

    /// Adds artefacts of a version.
    pub(crate) fn add(&mut self, key: Key, parts: Parts) {
        let held = self.wanted.entry(key).or_default();
        *held = *held | parts;
    }
}

/// The closure of a project: of its graph the go.mod files, of what is selected the zips, and all that its go.sum names.
pub(crate) async fn resolve(mods: &Mods, project: &Project) -> Closure {
    let mut closure = graph::walk(mods, project, graph::VERSIONS_MAX).await;
    closure.flaws.extend(project.flaws.iter().cloned());
    closure.toolchain.clone_from(&project.toolchain);
    for entry in &project.sums {
        let parts = if entry.zip.is_empty() { Parts::GRAPH } else { Parts::ALL };
        closure.add(Key { module: entry.module.clone(), version: entry.version.clone() }, parts);
    }
    closure
}
