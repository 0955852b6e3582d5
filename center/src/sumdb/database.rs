//! Proving that a checksum database has a hash: the signed head, the record's place in the tree, the head's place in history.
//!
//! ```text
//! lookup ──▶ record + signed head ──▶ is the head signed? does it continue the newest head we know? (else: a fork)
//!                 │                                   │
//!                 └── leaf hash == entry of its tile ◀┴─ every tile is proven by the tile above it ([`super::proven_tree`])
//! ```
//! Nothing an upstream sends is believed before that: not a record's number, not a tile, not a line behind the record. Two signed
//! heads of which neither continues the other are the database showing different histories to different people;
//! from then on nothing is accepted until an operator has looked.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::note::NoteKey;
use super::origin::{Fetched, Origin, OriginError};
use super::proven_tree::{ProvenTree, TreeError};
use super::record::Record;
use super::tree::{TreeHead, leaf_hash, tree_hash};

/// Heads remembered as consistent with the newest.
const HEADS_MAX: usize = 4096;

/// Why a hash is not proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// The database does not know the version.
    #[error("{0}")]
    Unknown(String),
    /// The database has another hash for it.
    #[error("{0}")]
    Mismatch(String),
    /// What was sent contradicts the signed tree: somebody between us and the database lies, or its upstream is broken.
    #[error("checksum database {database:?}: {reason}")]
    Unproven {
        /// Which database.
        database: String,
        /// What does not fit.
        reason: &'static str,
    },
    /// The database has shown two histories.
    #[error("checksum database {0:?} has forked: nothing is accepted from it")]
    Forked(String),
    /// It could not be asked.
    #[error(transparent)]
    Origin(#[from] OriginError),
}

/// The history that has been proven so far.
struct History {
    /// The tree under the newest head.
    newest: Arc<ProvenTree>,
    /// Other heads that lie on the same history.
    heads: HashSet<TreeHead>,
}

/// A checksum database that is believed only where it proves what it says.
pub(crate) struct Database {
    key: NoteKey,
    origin: Arc<Origin>,
    /// None until the first record is looked at. Held while a head is compared with the newest.
    history: tokio::sync::Mutex<Option<History>>,
    forked: AtomicBool,
}

impl Database {
    /// A database that signs with `key`.
    pub(crate) fn new(key: NoteKey, origin: Arc<Origin>) -> Self {
        Self { key, origin, history: tokio::sync::Mutex::new(None), forked: AtomicBool::new(false) }
    }

    /// Proves that the database has `hash` for `version` (`v1.2.3` or `v1.2.3/go.mod`) of `module`; `lookup` is the escaped
    /// `module@version`.
    pub(crate) async fn check(
        &self,
        lookup: &str,
        module: &str,
        version: &str,
        hash: &str,
    ) -> Result<(), DatabaseError> {
        let path = format!("lookup/{lookup}");
        let body = self.proven_record(&path).await?;
        let record = Record::parse(&body).ok_or_else(|| self.unproven("the record is malformed"))?;
        let mut stated = record.hashes(module, version).peekable();
        let Some(first) = stated.peek().copied() else {
            return Err(DatabaseError::Unknown(format!(
                "checksum database {:?} has no hash of {module}@{version}",
                self.key.name()
            )));
        };
        if stated.any(|known| known == hash) {
            return Ok(());
        }
        Err(DatabaseError::Mismatch(format!(
            "{module}@{version}: checksum database {:?} has {first}, the upstream sent {hash}",
            self.key.name()
        )))
    }

    /// Whether a record can be had neither from what is held nor from the database.
    pub(crate) async fn is_away(&self, lookup: &str) -> bool {
        self.proven_record(&format!("lookup/{lookup}")).await.is_err_and(|error| super::is_away(&error))
    }

    /// The body of a lookup whose record stands in the log.
    async fn proven_record(&self, path: &str) -> Result<Bytes, DatabaseError> {
        let unknown = |error| match error {
            OriginError::NotFound(message) | OriginError::Gone(message) => DatabaseError::Unknown(message),
            other => DatabaseError::Origin(other),
        };
        let Fetched { body, held } = self.origin.get(path).await.map_err(unknown)?;
        match self.prove_record(&body).await {
            Err(DatabaseError::Unproven { reason, .. }) if held => {
                tracing::warn!(database = self.key.name(), path, reason, "held record is not proven; asking again");
                let body = self.origin.get_anew(path).await.map_err(unknown)?.body;
                self.prove_record(&body).await.map(|()| body)
            }
            proven => proven.map(|()| body),
        }
    }

    async fn prove_record(&self, body: &[u8]) -> Result<(), DatabaseError> {
        let record = Record::parse(body).ok_or_else(|| self.unproven("the record is malformed"))?;
        let tree = self.merge(record.note).await?;
        let leaf = tree.leaf(&self.origin, record.id).await.map_err(|error| self.tree_failed(error))?;
        if leaf == leaf_hash(record.text.as_bytes()) {
            return Ok(());
        }
        Err(self.unproven("the record is not in the tree"))
    }

    /// Takes a signed head into the history and returns the tree under the newest head, which may be this one.
    async fn merge(&self, note: &[u8]) -> Result<Arc<ProvenTree>, DatabaseError> {
        let head = self.read_head(note)?;
        let mut history = self.history.lock().await;
        if self.forked.load(Ordering::SeqCst) {
            return Err(DatabaseError::Forked(self.key.name().to_owned()));
        }
        let history = match &mut *history {
            Some(history) => history,
            unread => {
                let newest = Arc::new(ProvenTree::new(self.stored_head().await?));
                unread.insert(History { newest, heads: HashSet::new() })
            }
        };
        let known = history.newest.head();
        if head == known || history.heads.contains(&head) {
            return Ok(Arc::clone(&history.newest));
        }
        if head.size <= known.size {
            self.require_continues(&history.newest, head).await?;
        } else {
            let newer = ProvenTree::new(head);
            self.require_continues(&newer, known).await?;
            newer.inherit(&history.newest);
            self.origin.keep_proven_note(note.to_vec()).await?;
            history.newest = Arc::new(newer);
        }
        if history.heads.len() >= HEADS_MAX {
            history.heads.clear();
        }
        history.heads.insert(head);
        Ok(Arc::clone(&history.newest))
    }

    /// An error unless `newer` continues `older`; a proven contradiction ends all trust.
    async fn require_continues(&self, newer: &ProvenTree, older: TreeHead) -> Result<(), DatabaseError> {
        let continues = newer.continues(&self.origin, older).await.map_err(|error| self.tree_failed(error))?;
        if continues {
            return Ok(());
        }
        self.forked.store(true, Ordering::SeqCst);
        tracing::error!(
            database = self.key.name(),
            older_size = older.size,
            older_hash = hex::encode(older.hash),
            newer_size = newer.head().size,
            newer_hash = hex::encode(newer.head().hash),
            "SECURITY: checksum database has signed two histories; nothing is accepted from it any more"
        );
        Err(DatabaseError::Forked(self.key.name().to_owned()))
    }

    fn read_head(&self, note: &[u8]) -> Result<TreeHead, DatabaseError> {
        let text = self.key.open(note).map_err(|error| {
            tracing::warn!(%error, database = self.key.name(), "tree head refused");
            self.unproven("the tree head is not signed by it")
        })?;
        TreeHead::parse(text).ok_or_else(|| self.unproven("the tree head is malformed"))
    }

    /// The newest head of an earlier run; the empty tree if there is none, which every tree continues.
    async fn stored_head(&self) -> Result<TreeHead, DatabaseError> {
        match self.origin.proven_note().await? {
            // A stored head that cannot be read must not pass for "none": that would forget the history.
            Some(note) => self.read_head(&note),
            None => Ok(TreeHead { size: 0, hash: tree_hash(&[]) }),
        }
    }

    fn tree_failed(&self, error: TreeError) -> DatabaseError {
        match error {
            TreeError::Unproven(reason) => self.unproven(reason),
            TreeError::Origin(error) => DatabaseError::Origin(error),
        }
    }

    fn unproven(&self, reason: &'static str) -> DatabaseError {
        DatabaseError::Unproven { database: self.key.name().to_owned(), reason }
    }
}

#[cfg(test)]
mod tests;
