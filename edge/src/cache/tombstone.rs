//! Tombstones: versions that an administrator removed. They beat every fill.
//!
//! A record names when (by change id) something was last removed and last brought back. It stands for a version, for all versions of a
//! module, or for all of a repository. Records outlive their being lifted: a fill that began before a removal is refused also when the
//! version was brought back since.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use shared::change::ChangeId;

use super::CacheError;
use super::index::{Batch, Family, Index};
use super::key::Key;

/// When something was removed, and brought back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tombstone {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    removed: Option<ChangeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restored: Option<ChangeId>,
}

impl Tombstone {
    fn stands(self) -> bool {
        self.removed.is_some() && self.restored < self.removed
    }
}

const PREFIX: &[u8] = b"tombstone\0";

/// What a tombstone stands for. Empty strings: all of them.
fn key_of(repo: &str, module: &str, version: &str) -> Vec<u8> {
    [PREFIX, repo.as_bytes(), &[0], module.as_bytes(), &[0], version.as_bytes()].concat()
}

fn read(index: &Index, key: &[u8]) -> Result<Tombstone, CacheError> {
    let value = index.get(Family::State, key)?;
    Ok(value.and_then(|value| serde_json::from_slice(&value).ok()).unwrap_or_default())
}

/// Whether a fill of `key` that began when `began` was the cursor must be refused; `after_removal`: of what was removed before, it
/// brings only what is back.
pub(super) fn refuses(index: &Index, key: &Key, began: ChangeId, after_removal: bool) -> Result<bool, CacheError> {
    let Some(version) = key.version() else {
        return Ok(false);
    };
    let whole = over(index, (key.repo(), key.module_path(), version))?;
    Ok(whole.removed.is_some_and(|removed| removed > began) || (whole.stands() && !after_removal))
}

/// Whether a version counts as removed now.
pub(super) fn stands(index: &Index, version: (&str, &str, &str)) -> Result<bool, CacheError> {
    Ok(over(index, version)?.stands())
}

/// Whether a removal or a restoration of a version was applied that is newer than `since`.
pub(super) fn changed_since(index: &Index, version: (&str, &str, &str), since: ChangeId) -> Result<bool, CacheError> {
    let whole = over(index, version)?;
    Ok(whole.removed.max(whole.restored).is_some_and(|last| last > since))
}

/// All that lies over a version: its own record, its module's, its repository's.
fn over(index: &Index, (repo, module, version): (&str, &str, &str)) -> Result<Tombstone, CacheError> {
    let records = [
        read(index, &key_of(repo, module, version))?,
        read(index, &key_of(repo, module, ""))?,
        read(index, &key_of(repo, "", ""))?,
    ];
    Ok(Tombstone {
        removed: records.iter().filter_map(|record| record.removed).max(),
        restored: records.iter().filter_map(|record| record.restored).max(),
    })
}

/// Changes of tombstones that are on their way into the index.
#[derive(Default)]
pub(super) struct Pending(HashMap<Vec<u8>, Tombstone>);

impl Pending {
    /// Notes a removal: of a version, of a module (`version` empty), of everything (both empty).
    pub(super) fn remove(
        &mut self,
        index: &Index,
        (repo, module, version): (&str, &str, &str),
        id: ChangeId,
    ) -> Result<(), CacheError> {
        self.at(index, key_of(repo, module, version))?.removed = Some(id);
        Ok(())
    }

    /// Notes that a version is there, if something says that it was removed before `id`.
    pub(super) fn restore(
        &mut self,
        index: &Index,
        (repo, module, version): (&str, &str, &str),
        id: ChangeId,
    ) -> Result<(), CacheError> {
        let mut was_removed = false;
        for key in [key_of(repo, module, version), key_of(repo, module, ""), key_of(repo, "", "")] {
            let record = match self.0.get(&key) {
                Some(record) => *record,
                None => read(index, &key)?,
            };
            was_removed |= record.removed.is_some_and(|removed| removed < id);
        }
        if was_removed {
            self.at(index, key_of(repo, module, version))?.restored = Some(id);
        }
        Ok(())
    }

    /// Forgets all of the repository's in the index; removals noted afterwards take their place.
    pub(super) fn forget_all(&mut self, index: &Index, repo: &str) -> Result<(), CacheError> {
        let prefix = [PREFIX, repo.as_bytes(), &[0]].concat();
        for row in index.scan(Family::State, &prefix) {
            self.0.insert(row?.0.into(), Tombstone::default());
        }
        Ok(())
    }

    pub(super) fn put(self, batch: &mut Batch<'_>) {
        for (key, record) in self.0 {
            if record == Tombstone::default() {
                batch.delete(Family::State, &key);
            } else {
                let value = serde_json::to_vec(&record).expect("two optional strings always serialise");
                batch.put(Family::State, &key, &value);
            }
        }
    }

    fn at(&mut self, index: &Index, key: Vec<u8>) -> Result<&mut Tombstone, CacheError> {
        match self.0.entry(key) {
            std::collections::hash_map::Entry::Occupied(known) => Ok(known.into_mut()),
            std::collections::hash_map::Entry::Vacant(new) => {
                let record = read(index, new.key())?;
                Ok(new.insert(record))
            }
        }
    }
}
