//! The tree under one signed head, as far as its tiles have been proven against that head.
//!
//! A full tile is proven by its hash standing in the tile above it; the last, partial tiles of all levels are proven
//! together, because their entries are exactly what the head's hash is made of. Trees under different heads share no tiles here
//! until one is known to continue the other: else a forked head could borrow the tiles of the history that it denies.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, try_join_all};
use parking_lot::Mutex;

use super::origin::{Origin, OriginError};
use super::tree::{Hash, TILE_WIDTH, Tile, TreeHead, subtree_hash, tree_hash};

/// Proven tiles remembered, 8 KiB each.
const TILES_MAX: usize = 1024;

/// Why a part of the tree could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TreeError {
    /// What was sent does not fit the signed head.
    Unproven(&'static str),
    /// It could not be asked for.
    Origin(OriginError),
}

impl From<OriginError> for TreeError {
    fn from(error: OriginError) -> Self {
        Self::Origin(error)
    }
}

type Entries = Arc<[Hash]>;

/// A tree of which every tile that is handed out is proven.
pub(crate) struct ProvenTree {
    head: TreeHead,
    tiles: Mutex<HashMap<(u32, u64), Entries>>,
}

impl ProvenTree {
    /// The tree under a head whose signature was checked. Nothing of it is proven yet.
    pub(crate) fn new(head: TreeHead) -> Self {
        Self { head, tiles: Mutex::default() }
    }

    /// Its head.
    pub(crate) const fn head(&self) -> TreeHead {
        self.head
    }

    /// Takes over the tiles of an older tree that this one is known to continue.
    pub(crate) fn inherit(&self, older: &Self) {
        let older = older.tiles.lock();
        for (&(level, index), entries) in older.iter() {
            self.remember(level, index, Arc::clone(entries));
        }
    }

    /// Whether the records under `older` are the first ones of this tree.
    pub(crate) async fn continues(&self, origin: &Arc<Origin>, older: TreeHead) -> Result<bool, TreeError> {
        if older.size == self.head.size {
            return Ok(older.hash == self.head.hash);
        }
        let mut parts = Vec::new();
        for part in older.subtrees() {
            let (level, index, row) = part.place();
            let entries = self.entries(origin, level, index).await?;
            parts.push(subtree_hash(entries.get(row).ok_or(TreeError::Unproven("a tile is too narrow"))?));
        }
        Ok(tree_hash(&parts) == older.hash)
    }

    /// The hash of a record, by its number.
    pub(crate) async fn leaf(&self, origin: &Arc<Origin>, id: u64) -> Result<Hash, TreeError> {
        let entries = self.entries(origin, 0, id / TILE_WIDTH).await?;
        entries.get(place(id)).copied().ok_or(TreeError::Unproven("the record's number is beyond the tree"))
    }

    /// The proven entries of a tile.
    fn entries<'s>(
        &'s self,
        origin: &'s Arc<Origin>,
        level: u32,
        index: u64,
    ) -> BoxFuture<'s, Result<Entries, TreeError>> {
        Box::pin(async move {
            let beyond = TreeError::Unproven("the signed tree does not reach that far");
            let tile = self.head.tile(level, index).ok_or_else(|| beyond.clone())?;
            if let Some(entries) = self.known(tile) {
                return Ok(entries);
            }
            if !tile.is_full() {
                let frontier = self.prove_frontier(origin).await?;
                return frontier.into_iter().find(|(of, _)| *of == tile).map(|(_, entries)| entries).ok_or(beyond);
            }
            let parent = self.entries(origin, level + 1, index / TILE_WIDTH).await?;
            for anew in [false, true] {
                let entries = read_tile(origin, tile, anew).await?;
                if entries.as_deref().is_some_and(|row| parent.get(place(index)) == Some(&subtree_hash(row))) {
                    let entries: Entries = entries.unwrap_or_default().into();
                    self.remember(level, index, Arc::clone(&entries));
                    return Ok(entries);
                }
            }
            Err(TreeError::Unproven("a tile does not fit the tile above it"))
        })
    }

    /// Proves the last tiles of all levels together.
    async fn prove_frontier(&self, origin: &Arc<Origin>) -> Result<Vec<(Tile, Entries)>, TreeError> {
        let frontier = self.head.frontier();
        for anew in [false, true] {
            let read = frontier.iter().map(|&tile| async move {
                match self.known(tile) {
                    Some(entries) => Ok(Some(entries)),
                    None => read_tile(origin, tile, anew).await.map(|entries| entries.map(Entries::from)),
                }
            });
            let bodies: Option<Vec<Entries>> = try_join_all(read).await?.into_iter().collect();
            let Some(bodies) = bodies else { continue };
            let proven: Vec<(Tile, Entries)> = frontier.iter().copied().zip(bodies).collect();
            if self.makes_the_head(&proven) {
                for (tile, entries) in &proven {
                    self.remember(tile.level, tile.index, Arc::clone(entries));
                }
                return Ok(proven);
            }
        }
        Err(TreeError::Unproven("its tiles do not make the signed tree head"))
    }

    fn makes_the_head(&self, frontier: &[(Tile, Entries)]) -> bool {
        let parts: Option<Vec<Hash>> = self
            .head
            .subtrees()
            .into_iter()
            .map(|part| {
                let (level, index, row) = part.place();
                let (_, entries) = frontier.iter().find(|(tile, _)| (tile.level, tile.index) == (level, index))?;
                entries.get(row).map(subtree_hash)
            })
            .collect();
        parts.is_some_and(|parts| tree_hash(&parts) == self.head.hash)
    }

    /// What is proven of a tile, if that is as wide as the tile is in this tree.
    fn known(&self, tile: Tile) -> Option<Entries> {
        let tiles = self.tiles.lock();
        let entries = tiles.get(&(tile.level, tile.index))?;
        (entries.len() as u64 >= tile.width).then(|| Arc::clone(entries))
    }

    fn remember(&self, level: u32, index: u64, entries: Entries) {
        let mut tiles = self.tiles.lock();
        if tiles.len() >= TILES_MAX {
            tiles.clear();
        }
        let known = tiles.entry((level, index)).or_insert_with(|| Arc::clone(&entries));
        if known.len() < entries.len() {
            *known = entries;
        }
    }
}

/// Where an entry stands in its tile.
fn place(number: u64) -> usize {
    usize::try_from(number % TILE_WIDTH).unwrap_or(usize::MAX)
}

/// A tile's entries as the upstream states them, unproven; none if it has another shape. A partial tile that is gone, because it
/// was filled since, is cut from the full one.
async fn read_tile(origin: &Arc<Origin>, tile: Tile, anew: bool) -> Result<Option<Vec<Hash>>, OriginError> {
    let full = tile.full();
    let cut = |body: &[u8]| {
        let mut entries = full.entries(body)?;
        entries.truncate(usize::try_from(tile.width).ok()?);
        Some(entries)
    };
    let get = async |of: Tile| {
        let path = of.path();
        if anew { origin.get_anew(&path).await } else { origin.get(&path).await }
    };
    if !anew && !tile.is_full() {
        let held = origin.held(&full.path()).await?;
        if let Some(entries) = held.and_then(|body| cut(&body)) {
            return Ok(Some(entries));
        }
    }
    match get(tile).await {
        Ok(fetched) => Ok(tile.entries(&fetched.body)),
        Err(OriginError::NotFound(_)) if !tile.is_full() => Ok(cut(&get(full).await?.body)),
        Err(error) => Err(error),
    }
}
