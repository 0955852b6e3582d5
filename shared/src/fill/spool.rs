//! Where a growing body lies: in memory while it is small, then in a temporary file with its newest part in memory as well.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use tempfile::TempPath;

use super::MEMORY_MAX;
use crate::digest::Digest;
use crate::pieces;

/// Of a body in a file, this much of the newest part stays in memory: readers that keep up share it instead of reading the file.
const WINDOW_MAX: u64 = 1024 * 1024;

/// A complete body, not yet committed.
#[derive(Debug)]
pub enum Spooled {
    /// A small body.
    Memory(Bytes),
    /// A body in a temporary file of the spool directory, removed when dropped; not yet synced.
    File {
        /// Where it lies; [`TempPath::persist`] renames it.
        path: TempPath,
        /// The open file, for syncing.
        file: Arc<File>,
        /// Its size in bytes.
        len: u64,
        /// Its SHA-256.
        digest: Digest,
    },
}

impl Spooled {
    /// The SHA-256 of the body.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Memory(bytes) => Digest::of(bytes),
            Self::File { digest, .. } => *digest,
        }
    }

    /// The size of the body in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }

    /// Whether the body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Debug, Default)]
struct State {
    /// Consecutive chunks; without a file, all of the body.
    window: VecDeque<(u64, Bytes)>,
    window_len: u64,
    written: u64,
    file: Option<Arc<File>>,
}

/// The bytes of one fill.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    state: RwLock<State>,
}

/// The next bytes a reader can have: shared ones, or a place in the file.
enum Place {
    Shared(Bytes),
    InFile(Arc<File>, usize),
}

impl Spool {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), state: RwLock::default() }
    }

    /// Appends; returns the temporary file when this chunk made the body too large for memory.
    pub(super) async fn append(&self, chunk: Bytes) -> io::Result<Option<TempPath>> {
        let (file, written) = {
            let state = self.state.read();
            (state.file.clone(), state.written)
        };
        let len = chunk.len() as u64;
        let mut opened = None;
        match file {
            Some(file) => write_at(file, vec![(written, chunk.clone())]).await?,
            None if written + len > MEMORY_MAX => {
                let dir = self.dir.clone();
                let mut chunks: Vec<_> = self.state.read().window.iter().cloned().collect();
                chunks.push((written, chunk.clone()));
                let (file, path) = tokio::task::spawn_blocking(move || create(&dir)).await??;
                write_at(Arc::clone(&file), chunks).await?;
                self.state.write().file = Some(file);
                opened = Some(path);
            }
            None => {}
        }
        let mut state = self.state.write();
        state.window.push_back((written, chunk));
        state.window_len += len;
        state.written += len;
        while state.file.is_some() && state.window_len > WINDOW_MAX && state.window.len() > 1 {
            if let Some((_, oldest)) = state.window.pop_front() {
                state.window_len -= oldest.len() as u64;
            }
        }
        Ok(opened)
    }

    /// Forgets the body.
    pub(super) fn clear(&self) {
        *self.state.write() = State::default();
    }

    /// Bytes from `position` on, at least one, none at or after `released`.
    pub(super) async fn read(&self, position: u64, released: u64) -> io::Result<Bytes> {
        match self.place(position, released)? {
            Place::Shared(bytes) => Ok(bytes),
            Place::InFile(file, len) => match pieces::at_hand(&file, position, len) {
                Some(bytes) => Ok(bytes),
                None => tokio::task::spawn_blocking(move || pieces::read(&file, position, len)).await?,
            },
        }
    }

    fn place(&self, position: u64, released: u64) -> io::Result<Place> {
        let state = self.state.read();
        let after = state.window.partition_point(|(start, _)| *start <= position);
        if let Some((start, chunk)) = after.checked_sub(1).and_then(|i| state.window.get(i)) {
            let from = usize::try_from(position - start).map_err(io::Error::other)?;
            if from < chunk.len() {
                let to = chunk.len().min(usize::try_from(released - start).unwrap_or(usize::MAX));
                return Ok(Place::Shared(chunk.slice(from..to)));
            }
        }
        let file = state.file.clone().ok_or_else(|| io::Error::other("position lies outside the body"))?;
        let len = usize::try_from(released - position).unwrap_or(usize::MAX);
        Ok(Place::InFile(file, len))
    }

    /// The complete body; `path` is the temporary file, where one was opened.
    pub(super) fn spooled(&self, path: Option<TempPath>, digest: Digest) -> Spooled {
        let state = self.state.read();
        if let (Some(file), Some(path)) = (state.file.clone(), path) {
            return Spooled::File { path, file, len: state.written, digest };
        }
        let mut chunks = state.window.iter().map(|(_, chunk)| chunk);
        match (chunks.next(), state.window.len()) {
            (None, _) => Spooled::Memory(Bytes::new()),
            (Some(only), 1) => Spooled::Memory(only.clone()),
            (Some(_), _) => {
                let whole = state.window.iter().fold(BytesMut::new(), |mut whole, (_, chunk)| {
                    whole.extend_from_slice(chunk);
                    whole
                });
                Spooled::Memory(whole.freeze())
            }
        }
    }
}

/// The prefix by which a start-up sweep knows the orphans of fills that a crash interrupted.
pub const SPOOL_PREFIX: &str = "fill-";

fn create(dir: &Path) -> io::Result<(Arc<File>, TempPath)> {
    let (file, path) = tempfile::Builder::new().prefix(SPOOL_PREFIX).tempfile_in(dir)?.into_parts();
    Ok((Arc::new(file), path))
}

async fn write_at(file: Arc<File>, chunks: Vec<(u64, Bytes)>) -> io::Result<()> {
    tokio::task::spawn_blocking(move || chunks.iter().try_for_each(|(at, chunk)| file.write_all_at(chunk, *at))).await?
}
