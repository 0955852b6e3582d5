//! Catching up without a log: what the center holds now, compared with what was applied here.
//!
//! The head is taken first, so a change that happens meanwhile comes again through the feed. Whatever may change is then
//! marked stale, and the tombstones that the manifest lists are applied: a version's own files never change, so removal
//! is all that can have happened to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use shared::change::{Change, ChangeId, EventType, Kind, anything_changed};
use shared::digest::Digest;
use shared::manifest::parts;
use shared::sync::SourceError;

use super::feed::read_text;
use crate::app::App;
use crate::cache::{Cache, Listed};

/// How long the center may take over a manifest: it may have to compute it.
const PATIENCE: Duration = Duration::from_mins(1);

/// The center's manifest without its lines.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    /// The log's head, at least of which it is true.
    pub(super) head: ChangeId,
    #[expect(dead_code, reason = "part of the document; the buckets say more")]
    root: Digest,
    /// SHA-256 of each bucket's lines.
    pub(super) buckets: Vec<Digest>,
}

/// Brings the cache to the manifest's head.
pub(super) async fn reconcile(app: &Arc<App>) -> Result<ChangeId, SourceError> {
    let manifest = manifest(app).await?;
    let listed = tombstones(app, &manifest).await?;
    let count = listed.as_ref().map_or(0, |(removed, _)| removed.len());
    let (repo, head, buckets) = (app.config().repository.clone(), manifest.head, manifest.buckets);
    let reset = move |cache: &Cache| {
        let (removed, parts) = listed.unzip();
        cache.reset_after_gap(&repo, head, removed.as_deref().unwrap_or_default())?;
        // Where all of it was read, nothing need be compared again until it moves.
        let mut read = buckets.iter().enumerate().zip(parts.unwrap_or_default());
        read.try_for_each(|(bucket, parts)| cache.note_seen(&repo, bucket, &parts, head))
    };
    app.with_cache(reset)
        .await
        .map_err(|error| SourceError(format!("reconciling: {error}")))?
        .map_err(|error| SourceError(format!("reconciling: {error}")))?;
    app.sync.reconciled();
    tracing::info!(%head, tombstones = count, "reconciled with the center's manifest");
    Ok(head)
}

/// The removals in every bucket, and how its parts stand; none where they were not asked for: an edge that starts with nothing has
/// nothing that could have been removed.
async fn tombstones(
    app: &Arc<App>,
    manifest: &Manifest,
) -> Result<Option<(Vec<Change>, Vec<BTreeMap<u8, Digest>>)>, SourceError> {
    let is_new = app.cache.cursor(&app.config().repository) == ChangeId::ZERO;
    if is_new && app.cache.stats().disk_objects == 0 {
        return Ok(None);
    }
    let empty = Digest::of(b"");
    let (mut removed, mut read) = (Vec::new(), Vec::new());
    for (number, digest) in manifest.buckets.iter().enumerate() {
        let lines = if *digest == empty { String::new() } else { get(app, &format!("manifest/{number}")).await? };
        removed.extend(removals(&lines, &app.config().repository, manifest.head));
        read.push(parts(&lines));
    }
    Ok(Some((removed, read)))
}

fn removals(lines: &str, repo: &str, head: ChangeId) -> Vec<Change> {
    let mut removals = Vec::new();
    for (module, listed) in listed(lines) {
        removals.extend(listed.removed.into_iter().map(|version| Change {
            event_type: EventType::Delete,
            module_id: module.clone(),
            version: Some(version),
            kind: Kind::Version,
            reason: "reconcile".to_owned(),
            ..anything_changed(head, repo)
        }));
    }
    removals
}

/// What a bucket's lines say of each module. A line is `<kind> <module> <version> <sha256>`.
pub(super) fn listed(lines: &str) -> BTreeMap<String, Listed> {
    let mut modules: BTreeMap<String, Listed> = BTreeMap::new();
    for line in lines.lines() {
        let mut words = line.split(' ');
        let (Some(kind), Some(module), Some(version)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        match kind {
            "tombstone" => modules.entry(module.to_owned()).or_default().removed.insert(version.to_owned()),
            "info" | "mod" | "zip" => modules.entry(module.to_owned()).or_default().versions.insert(version.to_owned()),
            // A newer center's kind says nothing that could be compared.
            _ => continue,
        };
    }
    modules
}

/// Asks for the manifest.
pub(super) async fn manifest(app: &Arc<App>) -> Result<Manifest, SourceError> {
    let text = get(app, "manifest").await?;
    serde_json::from_str(&text).map_err(|error| SourceError(format!("the manifest cannot be read: {error}")))
}

/// Asks for the manifest or a part of it.
pub(super) async fn get(app: &Arc<App>, path: &str) -> Result<String, SourceError> {
    let response = app.upstream.ask_api(path, PATIENCE).await.map_err(|error| SourceError(error.message))?;
    if !response.status().is_success() {
        return Err(SourceError(format!("the center answered {} for its {path}", response.status())));
    }
    read_text(response, PATIENCE).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tombstones_are_removals() {
        let lines = "info example.com/a v1.0.0 00\ntombstone example.com/b v1.1.0 11\ntombstone \n\nzip example.com/a v1.0.0 22\n";
        let head = ChangeId { epoch: 1, seq: 9 };
        let removed = removals(lines, "r", head);
        assert_eq!(removed.len(), 1);
        assert_eq!((removed[0].module_id.as_str(), removed[0].version.as_deref()), ("example.com/b", Some("v1.1.0")));
        assert_eq!((removed[0].event_type, removed[0].id), (EventType::Delete, head));
    }

    #[test]
    fn a_bucket_is_read_module_by_module() {
        let lines = "info a.example/m v1.0.0 00\nmod a.example/m v1.0.0 11\ntombstone a.example/m v1.1.0 22\nnew x y z\nzip b.example/m v2.0.0 33\nshort\n";
        let read = listed(lines);
        assert_eq!(read.keys().map(String::as_str).collect::<Vec<_>>(), ["a.example/m", "b.example/m"]);
        assert_eq!(read["a.example/m"].versions.iter().collect::<Vec<_>>(), ["v1.0.0"]);
        assert_eq!(read["a.example/m"].removed.iter().collect::<Vec<_>>(), ["v1.1.0"]);
    }
}
