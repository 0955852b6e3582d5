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
use super::verdict::{Of, Verdict};

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
    /// Lists and latest versions that lacked a version.
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
            let (mut missed, mut verdicts) = (Vec::new(), Vec::new());
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
                let judged = self.verdicts(repo, module, &listed.versions)?;
                let news: Vec<&str> = judged.iter().flat_map(Verdict::news).collect();
                if !news.is_empty() {
                    // What a pseudo-version says of a module without tags is no more than a reason to ask.
                    repaired.lists += usize::from(news.iter().any(|version| !is_pseudo_version(version)));
                    missed.push(change(cursor, repo, module, EventType::Update, Kind::Module, None));
                }
                verdicts.extend(judged.into_iter().filter(Verdict::differs));
            }
            if missed.is_empty() && verdicts.is_empty() {
                return Ok(Some(repaired));
            }
            let mut plan = self.plan();
            for verdict in &verdicts {
                verdict.put(plan.batch());
            }
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

    /// What those of the list and the latest version that are held, and not stale already, leave out.
    fn verdicts(&self, repo: &str, module: &str, versions: &BTreeSet<String>) -> Result<Vec<Verdict>, CacheError> {
        let list = self.left_out_of_list(repo, module, versions)?.map(|lacks| (Of::List, lacks));
        let latest = self.later_than_latest(repo, module, versions)?.map(|lacks| (Of::Latest, lacks));
        let found = list.into_iter().chain(latest);
        found.map(|(of, lacks)| Verdict::of(&self.index, (repo, module, of), lacks)).collect()
    }

    /// Versions that the center holds and that are later than the latest version that is held; `None` where there is none.
    fn later_than_latest(
        &self,
        repo: &str,
        module: &str,
        versions: &BTreeSet<String>,
    ) -> Result<Option<BTreeSet<String>>, CacheError> {
        #[derive(serde::Deserialize)]
        struct Latest {
            #[serde(rename = "Version")]
            version: String,
        }
        let Some(body) = self.fresh_body(&key::latest_key(module, repo))? else { return Ok(None) };
        let Ok(Latest { version: latest }) = serde_json::from_slice(&body) else {
            return Ok(None);
        };
        Ok(Some(versions.iter().filter(|version| is_later(version, &latest)).cloned().collect()))
    }

    /// Versions that the center holds and the list that is held does not have; `None` where there is none.
    fn left_out_of_list(
        &self,
        repo: &str,
        module: &str,
        versions: &BTreeSet<String>,
    ) -> Result<Option<BTreeSet<String>>, CacheError> {
        let Some(list) = self.fresh_body(&key::list_key(module, repo))? else { return Ok(None) };
        let known: BTreeSet<&[u8]> = list.split(|byte| *byte == b'\n').collect();
        let is_left_out = |version: &&String| !is_pseudo_version(version) && !known.contains(version.as_bytes());
        Ok(Some(versions.iter().filter(is_left_out).cloned().collect()))
    }
}

/// Whether the `go` command takes this version for the latest one rather than the other: releases before pre-releases before
/// pseudo-versions.
fn is_later(version: &str, than: &str) -> bool {
    let rank = |version: &str| (semver::prerelease(version).is_empty(), !is_pseudo_version(version));
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
