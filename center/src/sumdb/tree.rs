//! The Merkle tree of a checksum database: its hashes (RFC 6962), its tiles and its heads.
//!
//! A tree of `N` records is cut into tiles of height 8: tile `(L, n)` holds the hashes of level `8·L` numbered
//! `256·n …`, up to 256 of them. All tiles of a level are full but the last, which is as wide as the tree allows. The head's
//! hash is computed from exactly the entries of those last tiles, and the hash of every full tile is an entry of the tile above
//! it: that is all that [`super::database`] needs to prove a record.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// Levels of the tree that one tile spans.
pub(crate) const TILE_HEIGHT: u32 = 8;
/// Hashes in a full tile.
pub(crate) const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;
/// Bytes of one hash.
pub(crate) const HASH_BYTES: usize = 32;

/// A SHA-256 hash of the tree.
pub(crate) type Hash = [u8; HASH_BYTES];

/// The hash of a record, level 0 of the tree.
pub(crate) fn leaf_hash(record: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(record).finalize().into()
}

/// The hash of an inner node.
pub(crate) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The hash over a complete subtree's bottom row; `row` holds a power of two of hashes.
pub(crate) fn subtree_hash(row: &[Hash]) -> Hash {
    debug_assert!(row.len().is_power_of_two());
    if let [one] = row {
        return *one;
    }
    let (left, right) = row.split_at(row.len() / 2);
    node_hash(&subtree_hash(left), &subtree_hash(right))
}

/// A signed statement of what the log held: its size and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TreeHead {
    /// How many records the log held.
    pub(crate) size: u64,
    /// The hash over all of them.
    pub(crate) hash: Hash,
}

impl TreeHead {
    /// Reads the text of a tree note; lines after the hash are left for the future, as x/mod does.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix("go.sum database tree\n")?.split('\n');
        let (size_text, hash_text) = (lines.next()?, lines.next()?);
        lines.next()?; // the newline that ends the hash
        let size: u64 = size_text.parse().ok()?;
        // i64 is what every other reader of this format can hold; the text must be the only spelling of the number.
        if size.to_string() != size_text || i64::try_from(size).is_err() {
            return None;
        }
        let hash = STANDARD.decode(hash_text).ok()?.try_into().ok()?;
        Some(Self { size, hash })
    }

    /// The complete subtrees of which the tree consists, the largest (leftmost) first.
    pub(crate) fn subtrees(self) -> Vec<Subtree> {
        let mut start = 0;
        let mut parts = Vec::new();
        for level in (0..u64::BITS).rev() {
            if self.size >> level & 1 == 1 {
                parts.push(Subtree { level, index: start >> level });
                start += 1 << level;
            }
        }
        parts
    }

    /// The last tile of each tile level, where it is not full: the tiles whose entries make the head's hash.
    pub(crate) fn frontier(self) -> Vec<Tile> {
        (0..u64::BITS / TILE_HEIGHT)
            .filter_map(|level| {
                let count = self.size >> (TILE_HEIGHT * level);
                let width = count % TILE_WIDTH;
                (width > 0).then_some(Tile { level, index: count / TILE_WIDTH, width })
            })
            .collect()
    }

    /// The tile `(level, index)` as it is in this tree; `None` where the tree does not reach.
    pub(crate) fn tile(self, level: u32, index: u64) -> Option<Tile> {
        let count = self.size.checked_shr(TILE_HEIGHT * level).unwrap_or(0);
        let width = count.saturating_sub(index.checked_mul(TILE_WIDTH)?).min(TILE_WIDTH);
        (width > 0).then_some(Tile { level, index, width })
    }
}

/// Folds the hashes of [`TreeHead::subtrees`] into the hash of the tree.
pub(crate) fn tree_hash(subtrees: &[Hash]) -> Hash {
    let Some((last, rest)) = subtrees.split_last() else {
        // The hash of an empty tree, RFC 6962 section 2.1.
        return Sha256::digest([]).into();
    };
    rest.iter().rev().fold(*last, |right, left| node_hash(left, &right))
}

/// A complete subtree: `2^level` records from `index·2^level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subtree {
    /// Height above the records.
    pub(crate) level: u32,
    /// Which of its level.
    pub(crate) index: u64,
}

impl Subtree {
    /// The tile `(level, index)` that holds its bottom row, and the row's entries therein.
    pub(crate) fn place(self) -> (u32, u64, std::ops::Range<usize>) {
        let (tile_level, height) = (self.level / TILE_HEIGHT, self.level % TILE_HEIGHT);
        let first = self.index << height;
        // A row is at most 128 entries and aligned to its length, so it lies in one tile, and the cast cannot lose anything.
        let at = usize::try_from(first % TILE_WIDTH).unwrap_or_default();
        (tile_level, first / TILE_WIDTH, at..at + (1 << height))
    }
}

/// One tile, with the width it has in some tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    /// Tile level: its entries are hashes of tree level `8·level`.
    pub(crate) level: u32,
    /// Which of its level.
    pub(crate) index: u64,
    /// Entries, 1–256.
    pub(crate) width: u64,
}

impl Tile {
    /// The path below the database: `tile/8/<level>/<index in groups of three digits>[.p/<width>]`.
    pub(crate) fn path(self) -> String {
        let mut digits = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            digits = format!("x{:03}/{digits}", rest % 1000);
            rest /= 1000;
        }
        let part = if self.width == TILE_WIDTH { String::new() } else { format!(".p/{}", self.width) };
        format!("tile/{TILE_HEIGHT}/{}/{digits}{part}", self.level)
    }

    /// The same tile once the tree has filled it.
    pub(crate) fn full(self) -> Self {
        Self { width: TILE_WIDTH, ..self }
    }

    /// Whether the tree has room for no more in it.
    pub(crate) fn is_full(self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Its entries; `None` when the body is not exactly this wide.
    pub(crate) fn entries(self, body: &[u8]) -> Option<Vec<Hash>> {
        let (entries, []) = body.as_chunks::<HASH_BYTES>() else { return None };
        (entries.len() as u64 == self.width).then(|| entries.to_vec())
    }
}

/// What the body of a tile must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TileBody {
    /// Hashes, so many bytes of them.
    Hashes(usize),
    /// The records themselves, whose length nothing tells.
    Records,
}

/// What the tile at a path as clients ask for it (`8/0/x001/234.p/7`, below `tile/`) must look like; none where no database
/// has such a tile.
pub(crate) fn tile_body(path: &str) -> Option<TileBody> {
    let (height, rest) = path.split_once('/')?;
    let (level, rest) = rest.split_once('/')?;
    let height: u32 = decimal(height).filter(|height| (1..=30).contains(height))?;
    let is_data = level == "data";
    if !is_data {
        decimal(level).filter(|&level| level < u64::BITS)?;
    }
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => {
            (index, decimal(width).map(u64::from).filter(|&width| width > 0 && width < 1 << height)?)
        }
        None => (rest, 1 << height),
    };
    let groups: Vec<&str> = index.split('/').collect();
    let (last, leading) = groups.split_last()?;
    let three_digits = |group: &str| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit());
    let well_formed = three_digits(last)
        && leading.len() < 6
        && leading.first() != Some(&"x000")
        && leading.iter().all(|group| group.strip_prefix('x').is_some_and(three_digits));
    if !well_formed {
        return None;
    }
    if is_data {
        return Some(TileBody::Records);
    }
    usize::try_from(width).ok()?.checked_mul(HASH_BYTES).map(TileBody::Hashes)
}

/// A number without sign or leading zero.
fn decimal(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|i| leaf_hash(format!("record {i}\n").as_bytes())).collect()
    }

    /// RFC 6962 section 2.1, literally.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [one] => *one,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&by_definition(&leaves[..split]), &by_definition(&leaves[split..]))
            }
        }
    }

    #[test]
    fn subtrees_fold_to_the_tree_of_the_rfc() {
        for size in [0, 1, 2, 3, 7, 8, 255, 256, 257, 600] {
            let leaves = leaves(size);
            let head = TreeHead { size, hash: [0; 32] };
            let parts: Vec<Hash> = head
                .subtrees()
                .into_iter()
                .map(|part| {
                    let from = usize::try_from(part.index << part.level).unwrap();
                    subtree_hash(&leaves[from..from + (1 << part.level)])
                })
                .collect();
            assert_eq!(tree_hash(&parts), by_definition(&leaves), "size {size}");
        }
    }

    #[test]
    fn the_frontier_holds_what_the_subtrees_need() {
        for size in [1, 255, 256, 257, 65_536, 70_000, 16_777_216 + 300] {
            let head = TreeHead { size, hash: [0; 32] };
            let frontier = head.frontier();
            for part in head.subtrees() {
                let (level, index, row) = part.place();
                assert!(
                    frontier.iter().any(|t| t.level == level && t.index == index && row.end as u64 <= t.width),
                    "size {size}: {part:?}"
                );
            }
        }
    }

    #[test]
    fn tile_paths_are_those_of_the_reference() {
        let tile = |level, index, width| Tile { level, index, width }.path();
        assert_eq!(tile(0, 0, 256), "tile/8/0/000");
        assert_eq!(tile(1, 1234, 256), "tile/8/1/x001/234");
        assert_eq!(tile(0, 123_456_789, 7), "tile/8/0/x123/x456/789.p/7");
    }

    #[test]
    fn tile_requests_are_checked() {
        assert_eq!(tile_body("8/0/000"), Some(TileBody::Hashes(8192)));
        assert_eq!(tile_body("8/0/x001/234.p/7"), Some(TileBody::Hashes(224)));
        assert_eq!(tile_body("8/data/000"), Some(TileBody::Records));
        for bad in [
            "",
            "8",
            "8/0",
            "8/0/0",
            "8/0/00a",
            "8/0/000.p/0",
            "8/0/000.p/256",
            "8/0/000.p/+1",
            "31/0/000",
            "8/64/000",
            "8/x/000",
            "8/0/001/234",
            "8/0/x000/234",
            "08/0/000",
        ] {
            assert_eq!(tile_body(bad), None, "{bad}");
        }
    }

    #[test]
    fn heads_have_one_spelling() {
        let hash = STANDARD.encode([7; 32]);
        let head = TreeHead::parse(&format!("go.sum database tree\n12\n{hash}\nmore\n"));
        assert_eq!(head, Some(TreeHead { size: 12, hash: [7; 32] }));
        for bad in [
            format!("go.sum database tree\n012\n{hash}\n"),
            format!("go.sum database tree\n-1\n{hash}\n"),
            format!("go.sum database tree\n12\n{hash}"),
            "go.sum database tree\n12\nAAAA\n".to_owned(),
            format!("other tree\n12\n{hash}\n"),
        ] {
            assert_eq!(TreeHead::parse(&bad), None, "{bad:?}");
        }
    }
}
