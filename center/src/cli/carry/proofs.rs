//! What a checksum database must show for some versions: their records, and the tiles that lead from each record to its signed
//! head, and from every head to the newest.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use bytes::Bytes;
use reqwest::Method;
use shared::module::{ModulePath, Version};

use crate::cli::client::Client;
use crate::sumdb::{Record, TreeHead};

/// Paths below a GOPROXY (`sumdb/<name>/…`) with their bodies.
pub(super) type Proofs = BTreeMap<String, Bytes>;

/// Fetches what belongs to the versions. What the database does not know, or the proxy does not say, is left out: private
/// modules have no record.
pub(super) async fn gather<'a>(
    proxy: &Client,
    name: &str,
    versions: impl Iterator<Item = &'a (ModulePath, Version)>,
) -> anyhow::Result<Proofs> {
    let mut found = Proofs::new();
    let mut heads: BTreeMap<u64, TreeHead> = BTreeMap::new();
    let mut tiles = BTreeSet::new();
    let mut records = Vec::new();
    for (module, version) in versions {
        let path = format!("sumdb/{name}/lookup/{}@{}", module.escaped(), version.escaped());
        let Some(body) = get(proxy, &path).await? else { continue };
        let what = || format!("{module}@{version}: the record of {name}");
        let record = Record::parse(&body).with_context(what)?;
        let head = head_of(record.note).with_context(what)?;
        heads.insert(head.size, head);
        records.push((record.id, head));
        found.insert(path, body);
    }
    let newest = heads.last_key_value().map(|(_, head)| *head);
    for head in heads.values().copied() {
        tiles.extend(head.frontier().into_iter().map(|tile| (tile.path(), tile.full().path())));
        // That the newest continues this one.
        for part in head.subtrees() {
            let (level, index, _) = part.place();
            tiles.extend(newest.into_iter().flat_map(|newest| above(newest, level, index)));
        }
    }
    for (id, head) in records {
        let index = id / crate::sumdb::TILE_WIDTH;
        tiles.extend(above(head, 0, index));
        tiles.extend(newest.into_iter().flat_map(|newest| above(newest, 0, index)));
    }
    for (path, full) in tiles {
        let (path, full) = (format!("sumdb/{name}/{path}"), format!("sumdb/{name}/{full}"));
        if found.contains_key(&path) {
            continue;
        }
        // A partial tile goes once the full one is there.
        if let Some(body) = get(proxy, &path).await? {
            found.insert(path, body);
        } else {
            let body = get(proxy, &full).await?.with_context(|| format!("{path} cannot be had"))?;
            found.insert(full, body);
        }
    }
    Ok(found)
}

/// A tile and those above it, up to where the tree ends, each with its full form.
fn above(head: TreeHead, level: u32, index: u64) -> impl Iterator<Item = (String, String)> {
    let tiles = (0..).map_while(move |up| {
        let index = index.checked_shr(8 * up).unwrap_or(0);
        head.tile(level + up, index)
    });
    tiles.map(|tile| (tile.path(), tile.full().path()))
}

/// The head that a note states. Its signature is for whoever uses it to check.
fn head_of(note: &[u8]) -> Option<TreeHead> {
    let text = std::str::from_utf8(note).ok()?;
    TreeHead::parse(&text[..=text.find("\n\n")?])
}

/// The body, or none where the answer is a clear no.
async fn get(proxy: &Client, path: &str) -> anyhow::Result<Option<Bytes>> {
    match proxy.find(proxy.request(Method::GET, path)?).await? {
        Some(response) => Ok(Some(response.bytes().await.with_context(|| path.to_owned())?)),
        None => Ok(None),
    }
}
