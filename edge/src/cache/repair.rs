//! Repair: what is held, compared with what the center's manifest lists, and brought into line where a change was missed.
//!
//! Ids without holes find every change that does not arrive. What they cannot find is a change that was counted and not
//! carried out, or a disk that was put back to an older day. The manifest shows the outcome, whatever happened: versions that
//! were removed and are still served, versions that are back and still refused, and lists that lack a version.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use shared::change::{Change, ChangeId, EventType, Kind, anything_changed};
use shared::module::pseudo::is_pseudo_version;
use shared::module::semver;

use super::CacheError;
use super::entry::{EntryBody, Row};
use super::index::Family;
use super::key;
use super::lookup::Body;
use super::store::Store;
use super::tombstone;

/// What the manifest says of one module.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// Versions that the center holds.
    pub(crate) versions: BTreeSet<String>,
    /// Versions that were removed.
    pub(crate) removed: BTreeSet<String>,
}

/// What had to be mended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Repaired {
    /// Versions that were served and are removed.
    pub(crate) removed: usize,
    /// Versions that were refused and are there again.
    pub(crate) restored: usize,
    /// Lists that lacked a version.
    pub(crate) lists: usize,
}

impl Store {
    /// `None`: this edge has not yet applied the changes up to `head`, so what differs is only late.
    pub(super) fn repair(
        &self,
        repo: &str,
        (head, as_of): (ChangeId, ChangeId),
        listed: &BTreeMap<String, Listed>,
    ) -> Result<Option<Repaired>, CacheError> {
        let mut repaired = Repaired::default();
        let released = {
            let _writer = self.lock_writer();
            // What is mended counts as having happened now: a later change of the same version has a larger id and beats it.
            let cursor = self.cursor(repo);
            if cursor < head || cursor.epoch != head.epoch {
                return Ok(None);
            }
            let mut missed = Vec::new();
            for (module, listed) in listed {
                for version in &listed.removed {
                    let at = (repo, module.as_str(), version.as_str());
                    // What this edge has applied since may be newer than the line.
                    let is_newer = tombstone::changed_since(&self.index, at, as_of)?;
                    if !is_newer && !tombstone::stands(&self.index, at)? {
                        // Where nothing is held of it, nothing was served: it is noted, and was not missed.
                        let mut entries =
                            self.index.scan(Family::Entries, &key::version_prefix(module, repo, Some(version)));
                        repaired.removed += usize::from(entries.next().transpose()?.is_some());
                        missed.push(change(cursor, repo, module, EventType::Delete, Kind::Version, Some(version)));
                    }
                }
                for version in &listed.versions {
                    let at = (repo, module.as_str(), version.as_str());
                    if tombstone::stands(&self.index, at)? && !tombstone::changed_since(&self.index, at, as_of)? {
                        repaired.restored += 1;
                        missed.push(change(cursor, repo, module, EventType::Create, Kind::Version, Some(version)));
                    }
                }
                if self.list_lacks(repo, module, &listed.versions)?
                    || self.latest_is_older(repo, module, &listed.versions)?
                {
                    repaired.lists += 1;
                    missed.push(change(cursor, repo, module, EventType::Update, Kind::Module, None));
                }
            }
            if missed.is_empty() {
                return Ok(Some(repaired));
            }
            let mut plan = self.plan();
            for change in &missed {
                self.enact(repo, change, &mut plan)?;
            }
            self.write_plan(plan)?
        };
        self.release_all(&released);
        Ok(Some(repaired))
    }

    /// The body of a mutable that nothing has made stale yet, neither by itself nor with all others.
    fn fresh_body(&self, key: &[u8]) -> Result<Option<Bytes>, CacheError> {
        let is_fresh = |row: &Row| !row.stale && row.era >= self.eras.state().stale_before;
        let row = self.index.get(Family::Entries, key)?.and_then(|value| Row::decode(&value)).filter(is_fresh);
        let Some(row) = row else { return Ok(None) };
        match self.body(&row)? {
            Body::Whole(EntryBody::Memory(body)) => Ok(Some(body)),
            _ => Ok(None),
        }
    }

    /// Whether a latest version that is held, and not stale already, is older than one that the center holds.
    fn latest_is_older(&self, repo: &str, module: &str, versions: &BTreeSet<String>) -> Result<bool, CacheError> {
        #[derive(serde::Deserialize)]
        struct Latest {
            #[serde(rename = "Version")]
            version: String,
        }
        let Some(body) = self.fresh_body(&key::latest_key(module, repo))? else { return Ok(false) };
        let Ok(Latest { version: latest }) = serde_json::from_slice(&body) else {
            return Ok(false);
        };
        Ok(versions.iter().any(|version| is_later(version, &latest)))
    }

    /// Whether a list that is held, and not stale already, lacks a version that the center holds.
    fn list_lacks(&self, repo: &str, module: &str, versions: &BTreeSet<String>) -> Result<bool, CacheError> {
        let Some(list) = self.fresh_body(&key::list_key(module, repo))? else { return Ok(false) };
        let known: BTreeSet<&[u8]> = list.split(|byte| *byte == b'\n').collect();
        Ok(versions.iter().any(|version| !is_pseudo_version(version) && !known.contains(version.as_bytes())))
    }
}

/// Whether the `go` command takes this version for the latest one rather than the other: releases before others.
fn is_later(version: &str, than: &str) -> bool {
    let rank = |version: &str| semver::prerelease(version).is_empty();
    rank(version).cmp(&rank(than)).then_with(|| semver::compare(version, than)).is_gt()
}

fn change(
    id: ChangeId,
    repo: &str,
    module: &str,
    event_type: EventType,
    kind: Kind,
    version: Option<&String>,
) -> Change {
    Change {
        event_type,
        module_id: module.to_owned(),
        version: version.cloned(),
        kind,
        reason: "reconcile".to_owned(),
        ..anything_changed(id, repo)
    }
}
