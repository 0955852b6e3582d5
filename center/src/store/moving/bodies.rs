//! Bodies above 32 KiB, from one object store to another.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use futures_util::{StreamExt as _, TryStreamExt as _};
use shared::digest::Hasher;
use tokio::io::AsyncWriteExt as _;

use super::{Stage, Watch, unusable};
use crate::store::{NewBody, StorageSettings, Store, StoreConfig, StoreError, Stored};

/// How many bodies are copied at a time.
const IN_FLIGHT: usize = 8;

/// Where bodies lie, as far as settings tell: equal places are one.
pub(super) fn place(
    (config, settings): (&StoreConfig, &StorageSettings),
) -> (String, BTreeMap<String, String>, Option<PathBuf>) {
    let blobs = settings.blobs.clone();
    if blobs.url.is_empty() {
        let directory = config.data_dir.join("blobs");
        let directory = std::path::absolute(&directory).unwrap_or(directory);
        return (format!("file://{}", directory.display()), blobs.options, blobs.options_file);
    }
    (blobs.url, blobs.options, blobs.options_file)
}

/// Whether an object store holds bodies.
pub(super) async fn are_there(store: &Store) -> Result<bool, StoreError> {
    Ok(store.blobs().list().try_next().await?.is_some())
}

/// The bodies that records refer to and that are objects of their own, each once.
pub(super) async fn referenced(source: &Store) -> Result<Vec<Stored>, StoreError> {
    let mut bodies = HashMap::new();
    source
        .for_each_body(|_, stored| {
            if !stored.is_small() {
                bodies.insert(*stored.digest.as_bytes(), stored);
            }
        })
        .await?;
    Ok(bodies.into_values().collect())
}

/// Copies what is not there; how many were.
pub(super) async fn copy(
    source: &Store,
    target: &Store,
    referenced: &[Stored],
    watch: Watch<'_>,
) -> Result<u64, StoreError> {
    let mut written = 0;
    let copies = referenced.iter().map(|stored| copy_one(source, target, stored));
    let mut copies = futures_util::stream::iter(copies).buffer_unordered(IN_FLIGHT);
    while let Some(was_written) = copies.try_next().await? {
        written += u64::from(was_written);
        watch(Stage::Bodies, referenced.len());
    }
    Ok(written)
}

/// Copies a body unless it is there. What is not what its record says is not copied.
pub(super) async fn copy_one(source: &Store, target: &Store, stored: &Stored) -> Result<bool, StoreError> {
    let blob = stored.blob();
    if target.blobs().is_there(&blob).await? {
        return Ok(false);
    }
    let digest = stored.digest;
    let damaged = |what| {
        let advice = "heal it there first (`modtier-center verify --heal`)";
        unusable(&format!("the old storage: body {digest} is {what}; {advice}"))
    };
    if !source.blobs().is_there(&blob).await? {
        return Err(damaged("missing"));
    }
    let io_failed = |error: std::io::Error| StoreError::Blob(error.to_string());
    let spooled = tempfile::NamedTempFile::new_in(target.spool_dir()).map_err(io_failed)?;
    let mut file = tokio::fs::File::from_std(spooled.reopen().map_err(io_failed)?);
    let mut hasher = Hasher::default();
    let mut stream = source.blobs().read(&blob, 0..blob.len).await?;
    while let Some(part) = stream.next().await {
        let part = part?;
        hasher.update(&part);
        file.write_all(&part).await.map_err(io_failed)?;
    }
    file.flush().await.map_err(io_failed)?;
    if hasher.digest() != digest {
        return Err(damaged("damaged"));
    }
    let body = NewBody::File { path: spooled.path().to_owned(), len: blob.len, digest };
    target.blobs().put(&body, &blob).await?;
    Ok(true)
}
