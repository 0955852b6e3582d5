//! Changes: what the center's log, a gap in it, and an operator's purge do to what is held.
//!
//! All that a run of changes does goes into one batch with the cursor, under the writer's lock. The generations move after the write: a
//! reader that saw the row before it carries the old generation into memory, and is not believed there.

use std::collections::{BTreeSet, HashMap};

use shared::change::{Change, ChangeId, Kind};
use shared::digest::Digest;
use shared::module::ModulePath;
use shared::module::pseudo::is_pseudo_version;

use super::CacheError;
use super::entry::{EntryBody, Row};
use super::generation::{EraState, Touched};
use super::index::{Batch, Family, ref_key};
use super::key;
use super::lookup::Body;
use super::seen::Reach;
use super::store::{Store, put_cursor};
use super::tombstone::Pending;
use super::verdict::Verdict;
use crate::invalidation::apply::{Effect, effect};

/// What became of a run of changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Changes that were applied.
    pub(crate) count: usize,
    /// Changes that were known already.
    pub(crate) ignored: usize,
    /// UPDATEs of a version that contradict what is held; nothing was done for them, and an operator should know.
    pub(crate) refused: Vec<ChangeId>,
    /// The cursor after them.
    pub(crate) cursor: ChangeId,
}

/// Changes could not be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// Records are missing. What came before the hole was applied.
    #[error("change {found} does not follow {cursor}")]
    Gap {
        /// The last change that was applied.
        cursor: ChangeId,
        /// What came instead of the next one.
        found: ChangeId,
    },
    /// Nothing was applied.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// What a run of changes comes to.
pub(super) struct Plan<'a> {
    batch: Batch<'a>,
    tombstones: Pending,
    eras: EraState,
    touched: HashMap<u64, Touched>,
    released: BTreeSet<Digest>,
    refused: Vec<ChangeId>,
    /// Where in the manifest a version changed.
    moved: Reach,
}

impl Store {
    pub(super) fn apply(&self, repo: &str, changes: &[Change]) -> Result<Applied, ApplyError> {
        let applied = self.apply_run(repo, changes);
        match &applied {
            Ok(_) | Err(ApplyError::Gap { .. }) => self.note_write(None),
            Err(ApplyError::Cache(error)) => self.note_write(Some(&error.to_string())),
        }
        applied
    }

    fn apply_run(&self, repo: &str, changes: &[Change]) -> Result<Applied, ApplyError> {
        let mut done = Applied::default();
        let mut gap = None;
        let released = {
            let _writer = self.lock_writer();
            let mut plan = self.plan();
            let mut cursor = self.cursor(repo);
            for change in changes {
                if change.id <= cursor {
                    done.ignored += 1;
                    continue;
                }
                let is_first = cursor == ChangeId::ZERO && change.id.seq == 1;
                if !change.id.follows(cursor) && !is_first {
                    gap = Some(ApplyError::Gap { cursor, found: change.id });
                    break;
                }
                self.enact(repo, change, &mut plan)?;
                cursor = change.id;
                done.count += 1;
            }
            done.cursor = cursor;
            done.refused.clone_from(&plan.refused);
            if done.count == 0 { BTreeSet::new() } else { self.carry_out(repo, cursor, plan)? }
        };
        self.release_all(&released);
        gap.map_or(Ok(done), Err)
    }

    /// As [`Self::apply`] for changes that were applied before; the cursor stays where it is. Ids above it are left alone.
    pub(super) fn reapply(&self, repo: &str, changes: &[Change]) -> Result<usize, CacheError> {
        let (count, released) = {
            let _writer = self.lock_writer();
            let mut plan = self.plan();
            let cursor = self.cursor(repo);
            let known = changes.iter().filter(|change| change.id <= cursor && change.id.epoch == cursor.epoch);
            let mut count = 0;
            for change in known {
                self.enact(repo, change, &mut plan)?;
                count += 1;
            }
            (count, self.write_plan(plan)?)
        };
        self.release_all(&released);
        Ok(count)
    }

    pub(super) fn reset_after_gap(&self, repo: &str, head: ChangeId, removed: &[Change]) -> Result<(), CacheError> {
        let released = {
            let _writer = self.lock_writer();
            let mut plan = self.plan();
            plan.eras = plan.eras.all_stale();
            plan.tombstones.forget_all(&self.index, repo)?;
            plan.moved.add_all();
            for change in removed {
                self.enact(repo, change, &mut plan)?;
            }
            self.carry_out(repo, head, plan)?
        };
        self.release_all(&released);
        Ok(())
    }

    pub(super) fn purge(&self, module: Option<&ModulePath>) -> Result<u64, CacheError> {
        let mut count = 0;
        let released = {
            let _writer = self.lock_writer();
            let mut plan = self.plan();
            match module {
                None => {
                    count = self.disk_objects.load(std::sync::atomic::Ordering::Relaxed);
                    plan.eras = plan.eras.all_void();
                }
                Some(module) => {
                    let prefix = key::everywhere_prefix(module.as_str());
                    count += self.drop_entries(&prefix, &mut plan)?;
                    count += self.drop_negatives(&prefix, &mut plan)?;
                    plan.touch(module.as_str(), Touched { mutables: true, drops: true });
                }
            }
            self.write_plan(plan)?
        };
        self.release_all(&released);
        if module.is_none() {
            self.reclaim()?;
        }
        Ok(count)
    }

    pub(super) fn purge_version(&self, repo: &str, module: &ModulePath, version: &str) -> Result<u64, CacheError> {
        let (count, released) = {
            let _writer = self.lock_writer();
            let mut plan = self.plan();
            let count = self.drop_entries(&key::version_prefix(module.as_str(), repo, Some(version)), &mut plan)?;
            plan.touch(module.as_str(), Touched { mutables: false, drops: true });
            (count, self.write_plan(plan)?)
        };
        self.release_all(&released);
        Ok(count)
    }

    pub(super) fn release_all(&self, digests: &BTreeSet<Digest>) {
        for digest in digests {
            self.release_quietly(digest);
        }
    }

    pub(super) fn plan(&self) -> Plan<'_> {
        Plan {
            batch: self.index.batch(),
            tombstones: Pending::default(),
            eras: self.eras.state(),
            touched: HashMap::new(),
            released: BTreeSet::new(),
            refused: Vec::new(),
            moved: Reach::default(),
        }
    }

    /// Writes the plan with the cursor, then lets it be seen.
    fn carry_out(&self, repo: &str, cursor: ChangeId, mut plan: Plan<'_>) -> Result<BTreeSet<Digest>, CacheError> {
        put_cursor(&mut plan.batch, repo, cursor);
        let moved = std::mem::take(&mut plan.moved);
        moved.forget(&mut plan.batch, &self.index, repo)?;
        // Before it can be read: a comparison that began earlier does not count for these.
        self.moved.note(moved, cursor);
        self.write_plan_at(plan, Some((repo, cursor)))
    }

    pub(super) fn write_plan(&self, plan: Plan<'_>) -> Result<BTreeSet<Digest>, CacheError> {
        self.write_plan_at(plan, None)
    }

    fn write_plan_at(&self, plan: Plan<'_>, at: Option<(&str, ChangeId)>) -> Result<BTreeSet<Digest>, CacheError> {
        let Plan { mut batch, tombstones, eras, touched, released, refused: _, moved: _ } = plan;
        tombstones.put(&mut batch);
        if eras != self.eras.state() {
            eras.put(&mut batch);
        }
        batch.write()?;
        // First of all: a fill that begins in between asks for at least this, so what lacks the change is not taken for fresh.
        if let Some((repo, cursor)) = at {
            self.set_cursor(repo, cursor);
        }
        self.eras.set(eras);
        for (module_hash, touched) in touched {
            self.generations.bump(module_hash, touched);
        }
        Ok(released)
    }

    /// Adds to the plan what a change does.
    pub(super) fn enact(&self, repo: &str, change: &Change, plan: &mut Plan<'_>) -> Result<(), CacheError> {
        let module = change.module_id.as_str();
        match change.kind {
            Kind::Version | Kind::Module => plan.moved.add(module),
            Kind::All => plan.moved.add_all(),
            Kind::List | Kind::Latest | Kind::Query => {}
        }
        let stale = |mutables| Touched { mutables, drops: false };
        let touched = match effect(change) {
            Effect::Appears(version) => {
                plan.tombstones.restore(&self.index, (repo, module, version), change.id)?;
                let moved = self.has_list_changed(repo, change, version)?;
                if moved {
                    self.make_stale(&key::mutable_prefixes(module, repo), plan)?;
                }
                stale(moved)
            }
            Effect::Contradicts(version) => {
                self.contradict(repo, change, version, plan)?;
                stale(false)
            }
            Effect::Removed(version) => {
                plan.tombstones.remove(&self.index, (repo, module, version), change.id)?;
                self.drop_entries(&key::version_prefix(module, repo, Some(version)), plan)?;
                self.make_stale(&key::mutable_prefixes(module, repo), plan)?;
                Touched { mutables: true, drops: true }
            }
            Effect::ModuleRemoved => {
                Verdict::forget_module(&mut plan.batch, repo, module);
                plan.tombstones.remove(&self.index, (repo, module, ""), change.id)?;
                self.drop_entries(&key::version_prefix(module, repo, None), plan)?;
                self.make_stale(&key::mutable_prefixes(module, repo), plan)?;
                Touched { mutables: true, drops: true }
            }
            Effect::AllRemoved => {
                Verdict::forget_all(&mut plan.batch, &self.index, repo)?;
                plan.tombstones.remove(&self.index, (repo, "", ""), change.id)?;
                plan.eras = plan.eras.all_void();
                return Ok(());
            }
            Effect::AllMoved => {
                plan.eras = plan.eras.all_stale();
                return Ok(());
            }
            Effect::ListMoved => {
                self.make_stale(&[key::list_key(module, repo)], plan)?;
                stale(true)
            }
            Effect::LatestMoved => {
                self.make_stale(&[key::latest_key(module, repo)], plan)?;
                stale(true)
            }
            Effect::QueryMoved(query) => {
                self.make_stale(&[key::query_prefix(module, repo, query)], plan)?;
                stale(true)
            }
            Effect::ModuleMoved => {
                self.make_stale(&key::mutable_prefixes(module, repo), plan)?;
                stale(true)
            }
        };
        self.drop_negatives(&key::module_prefix(module, repo), plan)?;
        plan.touch(module, touched);
        Ok(())
    }

    /// A version that the center fetched for the first time may have been in the list all along.
    fn has_list_changed(&self, repo: &str, change: &Change, version: &str) -> Result<bool, CacheError> {
        if change.reason != "fill" {
            return Ok(true);
        }
        if is_pseudo_version(version) {
            return Ok(false);
        }
        let value = self.index.get(Family::Entries, &key::list_key(&change.module_id, repo))?;
        let Some(row) = value.and_then(|value| Row::decode(&value)) else {
            return Ok(true);
        };
        match self.body(&row)? {
            Body::Whole(EntryBody::Memory(list)) => {
                Ok(!list.split(|byte| *byte == b'\n').any(|line| line == version.as_bytes()))
            }
            Body::Whole(EntryBody::File(_) | EntryBody::Empty) | Body::Damaged(_) => Ok(true),
        }
    }

    /// An UPDATE of a version is refused, unless it names the zip that is held.
    fn contradict(&self, repo: &str, change: &Change, version: &str, plan: &mut Plan<'_>) -> Result<(), CacheError> {
        let zip = key::zip_key(&change.module_id, repo, version);
        let held = self.index.get(Family::Entries, &zip)?.and_then(|value| Row::decode(&value));
        if held.is_some_and(|held| change.sha256 != Some(held.digest)) {
            tracing::error!(
                id = %change.id, module = %change.module_id, version,
                "refused: a change says that a version is another one than before"
            );
            plan.refused.push(change.id);
        }
        Ok(())
    }

    fn make_stale(&self, prefixes: &[Vec<u8>], plan: &mut Plan<'_>) -> Result<(), CacheError> {
        for prefix in prefixes {
            for found in self.index.scan(Family::Entries, prefix) {
                let (key, value) = found?;
                match Row::decode(&value) {
                    Some(row) if row.stale => {}
                    Some(row) => plan.batch.put(Family::Entries, &key, &Row { stale: true, ..row }.encode()),
                    None => plan.batch.delete(Family::Entries, &key),
                }
            }
        }
        Ok(())
    }

    fn drop_entries(&self, prefix: &[u8], plan: &mut Plan<'_>) -> Result<u64, CacheError> {
        let mut count = 0;
        for found in self.index.scan(Family::Entries, prefix) {
            let (key, value) = found?;
            plan.batch.delete(Family::Entries, &key);
            plan.batch.delete(Family::Uses, &key);
            if let Some(row) = Row::decode(&value) {
                plan.batch.delete(Family::Refs, &ref_key(&row.digest, &key));
                plan.released.insert(row.digest);
            }
            count += 1;
        }
        Ok(count)
    }

    fn drop_negatives(&self, prefix: &[u8], plan: &mut Plan<'_>) -> Result<u64, CacheError> {
        let mut count = 0;
        for found in self.index.scan(Family::Negatives, prefix) {
            plan.batch.delete(Family::Negatives, &found?.0);
            count += 1;
        }
        Ok(count)
    }
}

impl<'a> Plan<'a> {
    /// What is written with the plan besides.
    pub(super) fn batch(&mut self) -> &mut Batch<'a> {
        &mut self.batch
    }

    fn touch(&mut self, module: &str, touched: Touched) {
        let sum = self.touched.entry(key::hash_of(module)).or_default();
        sum.mutables |= touched.mutables;
        sum.drops |= touched.drops;
    }
}
