//! Bodies that are files, read on the spot as far as nothing has to be waited for.
//!
//! What the system has in its memory is there in microseconds; to leave it to another thread takes longer than that, at every piece.
//! What has to come from the disk goes to the threads where waiting is allowed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::Stream;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2, statfs};
use shared::pieces;
use tokio::task::JoinHandle;
use tokio::task::coop::poll_proceed;

use super::{BlobRef, io_failed};
use crate::store::StoreError;

/// File systems on which to open a file whose name is in memory asks nobody over a network: ext, XFS, Btrfs, F2FS, ZFS, overlayfs,
/// tmpfs.
const LOCAL: [u64; 7] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x2FC1_2FC1, 0x794C_7630, 0x0102_1994];

/// A directory of bodies.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    is_local: bool,
}

impl Files {
    pub(super) fn new(directory: PathBuf) -> Self {
        let kind = statfs(&directory).ok().and_then(|of| u64::try_from(of.f_type).ok());
        Self { is_local: kind.is_some_and(|kind| LOCAL.contains(&kind)), directory }
    }

    /// Opens a body; none if it is not there with its length.
    pub(super) async fn open(&self, blob: &BlobRef) -> Result<Option<Arc<File>>, StoreError> {
        let path = self.directory.join(blob.name());
        let opened = if let Some(opened) = self.is_local.then(|| open_now(&path)).flatten() {
            Ok(opened)
        } else {
            let opened = tokio::task::spawn_blocking(move || open(&path)).await;
            opened.map_err(|error| StoreError::Task(error.to_string()))?
        };
        match opened {
            Ok((file, len)) => Ok((len == blob.len).then(|| Arc::new(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_failed(error)),
        }
    }
}

/// Opens a file whose name is in the system's memory; none if it is not, or if that cannot be told.
fn open_now(path: &Path) -> Option<(File, u64)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = File::from(openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?);
    let len = file.metadata().ok()?.len();
    Some((file, len))
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

/// A part of a file on its way to somebody, in pieces of [`pieces::PIECE_BYTES`] at most.
pub(super) struct Pieces {
    file: Arc<File>,
    left: Range<u64>,
    /// The piece that another thread is reading.
    awaited: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Pieces {
    pub(super) fn of(file: Arc<File>, range: Range<u64>) -> Self {
        Self { file, left: range, awaited: None }
    }

    fn ends(&mut self, error: io::Error) -> Poll<Option<Result<Bytes, StoreError>>> {
        self.left.start = self.left.end;
        Poll::Ready(Some(Err(io_failed(error))))
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        // Whoever reads a large body and waits for nothing in between lets others have the thread now and then.
        let turn = ready!(poll_proceed(cx));
        let (at, wanted) = (self.left.start, usize::try_from(self.left.end - self.left.start).unwrap_or(usize::MAX));
        if self.awaited.is_none()
            && let Some(piece) = pieces::at_hand(&self.file, at, wanted)
        {
            turn.made_progress();
            self.left.start += piece.len() as u64;
            return Poll::Ready(Some(Ok(piece)));
        }
        let file = Arc::clone(&self.file);
        let awaited =
            self.awaited.get_or_insert_with(|| tokio::task::spawn_blocking(move || pieces::read(&file, at, wanted)));
        let read = ready!(Pin::new(awaited).poll(cx));
        turn.made_progress();
        self.awaited = None;
        match read.map_err(io::Error::other).flatten() {
            Ok(piece) => {
                self.left.start += piece.len() as u64;
                Poll::Ready(Some(Ok(piece)))
            }
            Err(error) => self.ends(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::digest::Digest;

    use super::*;

    #[tokio::test]
    async fn a_body_is_opened_wherever_it_lies_and_only_with_its_length() {
        let directory = tempfile::tempdir().unwrap();
        let (digest, other) = (Digest::of(b"a name"), Digest::of(b"another"));
        let path = directory.path().join(&digest.hex()[..2]);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join(digest.hex()), vec![7; 50_000]).unwrap();
        // A rename anywhere on the machine can come in between, and old kernels cannot tell at all.
        let opens = |path: &Path| (0..1000).any(|_| open_now(path).is_some());
        assert_eq!(opens(&path.join(digest.hex())), opens(Path::new("/")), "its name is in memory");
        for is_local in [true, false] {
            let files = Files { directory: directory.path().to_owned(), is_local };
            for (digest, len, is_found) in [(digest, 50_000, true), (digest, 49_999, false), (other, 50_000, false)] {
                let opened = files.open(&BlobRef { digest, len, generation: 0 }).await.unwrap();
                assert_eq!(opened.is_some(), is_found, "{len} {is_local}");
            }
        }
    }
}
