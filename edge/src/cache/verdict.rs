//! Verdicts: what the manifest lists and the center's own list or latest version leaves out, as it was last found.
//!
//! Some of it is left out for good: versions that upstream has retracted or deleted and the center still holds, `+incompatible` ones
//! below a module that has a go.mod. The manifest cannot tell them from a version that was missed. So the first time the answer is
//! made stale, which asks the center; what its new answer leaves out as well is as it should be, and no longer counts.

use std::collections::BTreeSet;

use super::CacheError;
use super::index::{Batch, Family, Index};

const PREFIX: &[u8] = b"verdict\0";

/// The answer that leaves something out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// The list of versions.
    List,
    /// The latest version: later ones are left out.
    Latest,
}

/// What one answer leaves out, against what it was known to.
#[derive(Debug)]
pub(super) struct Verdict {
    key: Vec<u8>,
    known: BTreeSet<String>,
    lacks: BTreeSet<String>,
}

impl Verdict {
    /// On an answer about a module that is held, and fresh: a stale one shows nothing.
    pub(super) fn of(
        index: &Index,
        (repo, module, of): (&str, &str, Of),
        lacks: BTreeSet<String>,
    ) -> Result<Self, CacheError> {
        let key = key(repo, module, of);
        let value = index.get(Family::State, &key)?.unwrap_or_default();
        let known = String::from_utf8_lossy(&value).lines().map(ToOwned::to_owned).collect();
        Ok(Self { key, known, lacks })
    }

    /// What is left out and was not when the center was last asked because of it.
    pub(super) fn news(&self) -> impl Iterator<Item = &str> {
        self.lacks.difference(&self.known).map(String::as_str)
    }

    /// Forgets those on a module of which nothing is left.
    pub(super) fn forget_module(batch: &mut Batch<'_>, repo: &str, module: &str) {
        for of in [Of::List, Of::Latest] {
            batch.delete(Family::State, &key(repo, module, of));
        }
    }

    /// Forgets all of a repository.
    pub(super) fn forget_all(batch: &mut Batch<'_>, index: &Index, repo: &str) -> Result<(), CacheError> {
        for row in index.scan(Family::State, &[PREFIX, repo.as_bytes(), &[0]].concat()) {
            batch.delete(Family::State, &row?.0);
        }
        Ok(())
    }

    /// Whether there is anything to remember.
    pub(super) fn differs(&self) -> bool {
        self.lacks != self.known
    }

    /// Remembers it. Goes into the batch that makes the answer stale.
    pub(super) fn put(&self, batch: &mut Batch<'_>) {
        if self.lacks.is_empty() {
            batch.delete(Family::State, &self.key);
        } else {
            let lines: Vec<&str> = self.lacks.iter().map(String::as_str).collect();
            batch.put(Family::State, &self.key, lines.join("\n").as_bytes());
        }
    }
}

fn key(repo: &str, module: &str, of: Of) -> Vec<u8> {
    let of: &[u8] = match of {
        Of::List => b"list",
        Of::Latest => b"latest",
    };
    [PREFIX, repo.as_bytes(), &[0], module.as_bytes(), &[0], of].concat()
}
