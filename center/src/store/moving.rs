//! Moving a whole store to another place: from RocksDB to PostgreSQL, from a directory to an object store, or back.
//!
//! Nobody may have either open. Everything is copied as it stands, the change logs with their epochs and numbers: whoever followed them
//! follows them on. So there must never be two stores that go on from there, and no store of which half is missing:
//!
//! ```text
//! mark the new one unfinished ─ bodies ─ records ─ logs ─ prove the copy ─ mark the old one moved ─ take the mark from the new one
//! ```
//! No center opens a store that bears either mark. What was begun is finished by moving again: bodies that are there are kept, records
//! are written anew.

mod bodies;
mod prove;

use serde::{Deserialize, Serialize};
use shared::digest::{Digest, Hasher};

use super::change_log::{LogHead, encode};
use super::engine::{Batch, Claim, Place};
use super::{StorageSettings, Store, StoreConfig, StoreError, family, now_ms};

/// How many entries or records are read at a time.
const PAGE: usize = 256;

/// What a move does just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Copying bodies above 32 KiB.
    Bodies,
    /// Copying records and smaller bodies.
    Records,
    /// Copying change logs.
    Changes,
    /// Reading everything again at the new place.
    Proof,
}

/// What was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// Records and smaller bodies.
    pub(crate) records: u64,
    /// Records of change logs.
    pub(crate) changes: u64,
    /// Bodies that are objects of their own, at the end.
    pub(crate) bodies: u64,
    /// Those of them that were written now.
    pub(crate) written: u64,
}

/// Is told of each step: of which stage it is, and how many steps that has.
pub(crate) type Watch<'a> = &'a mut (dyn FnMut(Stage, usize) + Send);

/// What a store bears whose contents are not, or no longer, a center's to go on with.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Mark {
    /// When the move began: Unix time in milliseconds. The same at both ends.
    id: u64,
}

/// On a store into which a move was begun.
const UNFINISHED: &[u8] = b"storage unfinished";
/// On a store that was moved.
const MOVED: &[u8] = b"storage moved";

/// What of a family, or of a log, was read: how many entries, and a digest over all of them in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sum {
    count: u64,
    digest: Digest,
}

/// Moves everything from one place to another, and proves that it is there.
pub(crate) async fn move_store(
    from: (&StoreConfig, &StorageSettings),
    to: (&StoreConfig, &StorageSettings),
    watch: Watch<'_>,
) -> Result<Moved, StoreError> {
    if !from.1.is_shared() && !from.0.data_dir.join("metadata/CURRENT").exists() {
        return Err(unusable(&format!("{}: there is no metadata database", from.0.data_dir.display())));
    }
    let source = Store::attach(from.0, from.1, Claim::Alone).await?;
    let target = Store::attach(to.0, to.1, Claim::Alone).await?;
    let is_same = bodies::place(from) == bodies::place(to);
    let mark = begin(&source, &target, is_same).await?;
    let mut moved = Moved::default();
    let referenced = bodies::referenced(&source).await?;
    moved.bodies = referenced.len() as u64;
    if !is_same {
        moved.written = bodies::copy(&source, &target, &referenced, watch).await?;
    }
    let records = copy_records(&source, &target, watch).await?;
    moved.records = records.iter().map(|(_, sum)| sum.count).sum();
    let logs = copy_logs(&source, &target, watch).await?;
    moved.changes = logs.iter().map(|(.., sum)| sum.count).sum();
    prove::records(&target, &records, &logs).await?;
    prove::bodies(&source, &target, &referenced, is_same, watch).await?;
    for store in [&source, &target] {
        store.inner.engine.still_alone().await?;
    }
    source.inner.engine.put(family::UPKEEP, MOVED, encode(&mark).into(), true).await?;
    write(&target, Batch { deletes: vec![at(UNFINISHED)], sync: true, ..Batch::default() }).await?;
    Ok(moved)
}

impl Store {
    /// Fails on a store that was moved, or into which a move was begun.
    pub(super) async fn refuse_moving(&self) -> Result<(), StoreError> {
        if self.mark(UNFINISHED).await?.is_some() {
            return Err(unusable("storage: a move into it was not finished; run `modtier-center move-storage` again"));
        }
        if self.mark(MOVED).await?.is_some() {
            return Err(unusable("storage: it was moved; configure the new one (its change log goes on there)"));
        }
        Ok(())
    }

    async fn mark(&self, name: &[u8]) -> Result<Option<Mark>, StoreError> {
        self.record(family::UPKEEP, name).await
    }
}

/// Marks the target, which must be empty or have been begun before; then it is emptied but for its bodies.
async fn begin(source: &Store, target: &Store, same_bodies: bool) -> Result<Mark, StoreError> {
    let begun = target.mark(UNFINISHED).await?;
    let moved = source.mark(MOVED).await?;
    if source.mark(UNFINISHED).await?.is_some() {
        return Err(unusable("the old storage: a move into it was not finished"));
    }
    if moved.is_some_and(|moved| begun.is_none_or(|begun| begun.id != moved.id)) {
        return Err(unusable("the old storage: it was moved already"));
    }
    if source.inner.engine.logs().await?.is_empty() {
        return Err(unusable("the old storage: it is empty"));
    }
    let mark = begun.unwrap_or_else(|| Mark { id: now_ms() });
    if begun.is_none() {
        if !is_empty(target).await? {
            return Err(unusable("the new storage: its metadata are not empty"));
        }
        if !same_bodies && bodies::are_there(target).await? {
            return Err(unusable("the new storage: storage.blobs.url is not empty"));
        }
        target.inner.engine.put(family::UPKEEP, UNFINISHED, encode(&mark).into(), true).await?;
        return Ok(mark);
    }
    for (log, _) in target.inner.engine.logs().await? {
        target.inner.engine.drop_log(&log).await?;
    }
    for family in records_of() {
        while let page @ [_, ..] = &*entries(target, family, &[]).await? {
            let deletes = page.iter().map(|(key, _)| (family, key.clone())).collect();
            write(target, Batch { deletes, ..Batch::default() }).await?;
        }
    }
    Ok(mark)
}

async fn is_empty(store: &Store) -> Result<bool, StoreError> {
    for family in records_of() {
        if !store.inner.engine.scan(family, &[], &[], 1).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(store.inner.engine.logs().await?.is_empty())
}

/// The families that are copied entry by entry: all but the logs, which an engine may keep elsewhere.
fn records_of() -> impl Iterator<Item = &'static str> {
    family::ALL.into_iter().filter(|family| ![family::CHANGES, family::LOGS].contains(family))
}

/// A page of a family beyond a key, without the marks of moves.
async fn entries(store: &Store, family: &'static str, after: &[u8]) -> Result<Vec<super::engine::Entry>, StoreError> {
    let mut page = store.inner.engine.scan(family, &[], after, PAGE).await?;
    if family == family::UPKEEP {
        page.retain(|(key, _)| key != UNFINISHED && key != MOVED);
    }
    Ok(page)
}

async fn copy_records(
    source: &Store,
    target: &Store,
    watch: Watch<'_>,
) -> Result<Vec<(&'static str, Sum)>, StoreError> {
    let mut sums = Vec::new();
    let all = records_of().count();
    for family in records_of() {
        let mut sum = Summing::default();
        let mut after = Vec::new();
        while let page @ [.., (last, _)] = &*entries(source, family, &after).await? {
            for (key, value) in page {
                prove::small(family, key, value)?;
                sum.add(&[key, value]);
            }
            after.clone_from(last);
            let puts = page.iter().map(|(key, value)| ((family, key.clone()), value.clone())).collect();
            write(target, Batch { puts, ..Batch::default() }).await?;
        }
        sums.push((family, sum.done()));
        watch(Stage::Records, all);
    }
    Ok(sums)
}

async fn copy_logs(
    source: &Store,
    target: &Store,
    watch: Watch<'_>,
) -> Result<Vec<(String, LogHead, Sum)>, StoreError> {
    let mut sums = Vec::new();
    let logs = source.inner.engine.logs().await?;
    let all = logs.len();
    for (log, head) in logs {
        let mut sum = Summing::default();
        let mut next = head.oldest;
        // Once at least: a log without records has an epoch all the same.
        loop {
            let page = source.inner.engine.changes(&log, next, head.seq, PAGE).await?;
            for change in &page {
                sum.add(&[&encode(change)]);
            }
            target.inner.engine.copy_log(&log, head, &page).await?;
            next += page.len() as u64;
            if page.is_empty() {
                break;
            }
        }
        if next != head.seq + 1 {
            return Err(unusable(&format!("the old storage: the change log of {log} has no record {next}")));
        }
        sums.push((log, head, sum.done()));
        watch(Stage::Changes, all);
    }
    Ok(sums)
}

async fn write(target: &Store, batch: Batch) -> Result<(), StoreError> {
    target.inner.engine.commit(&[], None, &mut |_| Ok(Some(batch.clone()))).await
}

/// Where a mark stands.
fn at(name: &[u8]) -> Place {
    (family::UPKEEP, name.to_vec())
}

fn unusable(why: &str) -> StoreError {
    StoreError::Unusable(why.to_owned())
}

/// A [`Sum`] while it is made.
#[derive(Default)]
struct Summing {
    count: u64,
    hasher: Hasher,
}

impl Summing {
    fn add(&mut self, parts: &[&[u8]]) {
        self.count += 1;
        for part in parts {
            self.hasher.update(&(part.len() as u64).to_be_bytes());
            self.hasher.update(part);
        }
    }

    fn done(self) -> Sum {
        Sum { count: self.count, digest: self.hasher.digest() }
    }
}
