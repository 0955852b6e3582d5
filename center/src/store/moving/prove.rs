//! Whether a copy is one.

use futures_util::TryStreamExt as _;
use shared::digest::Digest;

use super::bodies::copy_one;
use super::{PAGE, Stage, Sum, Summing, Watch, entries, unusable};
use crate::store::change_log::{LogHead, encode};
use crate::store::{Store, StoreError, Stored, family};

/// How many bodies are read at a time.
const IN_FLIGHT: usize = 4;

/// Fails if a smaller body is not the one whose name it bears.
pub(super) fn small(family: &str, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    if family != family::SMALL || Digest::of(value).hex().as_bytes() == key {
        return Ok(());
    }
    let name = String::from_utf8_lossy(key);
    Err(unusable(&format!(
        "the old storage: body {name} is damaged; heal it there first (`modtier-center verify --heal`); if nothing refers to it, `modtier-center gc` collects it"
    )))
}

/// Reads all records and change logs at the new place, which must be those of the old one.
pub(super) async fn records(
    target: &Store,
    records: &[(&'static str, Sum)],
    logs: &[(String, LogHead, Sum)],
) -> Result<(), StoreError> {
    for (family, expected) in records {
        let mut sum = Summing::default();
        let mut after = Vec::new();
        while let page @ [.., (last, _)] = &*entries(target, family, &after).await? {
            for (key, value) in page {
                sum.add(&[key, value]);
            }
            after.clone_from(last);
        }
        if sum.done() != *expected {
            return Err(differs(family));
        }
    }
    let heads: Vec<_> = logs.iter().map(|(log, head, _)| (log.clone(), *head)).collect();
    if target.inner.engine.logs().await? != heads {
        return Err(differs("logs"));
    }
    for (log, head, expected) in logs {
        let mut sum = Summing::default();
        let mut next = head.oldest;
        while let page @ [_, ..] = &*target.inner.engine.changes(log, next, head.seq, PAGE).await? {
            for change in page {
                sum.add(&[&encode(change)]);
            }
            next += page.len() as u64;
        }
        if sum.done() != *expected {
            return Err(differs(log));
        }
    }
    Ok(())
}

/// Reads all bodies at the new place. What lay there before and is damaged is copied again. Bodies that stayed where they are need only
/// be there.
pub(super) async fn bodies(
    source: &Store,
    target: &Store,
    referenced: &[Stored],
    stayed: bool,
    watch: Watch<'_>,
) -> Result<(), StoreError> {
    let proofs = referenced.iter().map(|stored| body(source, target, stored, stayed));
    let mut proofs = futures_util::StreamExt::buffer_unordered(futures_util::stream::iter(proofs), IN_FLIGHT);
    while let Some(()) = proofs.try_next().await? {
        watch(Stage::Proof, referenced.len());
    }
    Ok(())
}

async fn body(source: &Store, target: &Store, stored: &Stored, stayed: bool) -> Result<(), StoreError> {
    if stayed {
        let is_there = target.blobs().is_there(&stored.blob()).await?;
        return if is_there { Ok(()) } else { Err(differs(&format!("body {}", stored.digest))) };
    }
    if target.examine(stored).await?.is_none() {
        return Ok(());
    }
    target.blobs().remove(&stored.blob()).await?;
    copy_one(source, target, stored).await?;
    match target.examine(stored).await? {
        None => Ok(()),
        Some(_) => Err(differs(&format!("body {}", stored.digest))),
    }
}

fn differs(what: &str) -> StoreError {
    unusable(&format!("the new storage: {what} cannot be read there as it was written"))
}
