//! The body of an answer, and how each kind of it is written to a client.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use pingora_core::protocols::http::ServerSession;
use shared::fill::Reader;
use shared::pieces;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::upstream::{FillHead, Piece};

/// So much of a body goes out before other connections of the thread have a turn: less than a tenth of a millisecond.
const TURN_BYTES: u64 = 128 * 1024;

/// The bytes of an answer, or how to get them.
#[derive(Debug)]
pub(crate) enum Body {
    /// All in memory; written at once.
    Whole(Bytes),
    /// In a file of the disk tier.
    File(FileBody),
    /// Still arriving.
    Growing(Box<Growing>),
    /// Passing through.
    Passing(Box<Passing>),
}

/// An open file. It stays readable when the entry is evicted meanwhile.
#[derive(Debug)]
pub(crate) struct FileBody {
    /// The file.
    pub(crate) file: Arc<File>,
    /// Its length in bytes.
    pub(crate) len: u64,
}

/// A reader that follows a fill.
pub(crate) struct Growing {
    /// What was read already, to see that the fill gets anywhere at all before a header is sent.
    pub(crate) first: Option<Bytes>,
    /// The rest.
    pub(crate) reader: Reader<FillHead>,
    /// Length of the whole body in bytes, where known.
    pub(crate) len: Option<u64>,
}

impl std::fmt::Debug for Growing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Growing").field("len", &self.len).finish_non_exhaustive()
    }
}

/// The receiving end of a transfer.
#[derive(Debug)]
pub(crate) struct Passing {
    /// What was received already, to see that the transfer gets anywhere at all before a header is sent.
    pub(crate) first: Option<Bytes>,
    /// The rest.
    pub(crate) pieces: mpsc::Receiver<Piece>,
    /// Length of the whole body in bytes, where known.
    pub(crate) len: Option<u64>,
}

/// A body that broke off.
#[derive(Debug)]
pub(crate) struct BrokenBody {
    /// Bytes that went out before.
    pub(crate) bytes: u64,
    /// Why, for the log.
    pub(crate) reason: String,
}

impl Body {
    /// Length of the whole body in bytes, where known.
    pub(crate) fn len(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::File(file) => Some(file.len),
            Self::Growing(growing) => growing.len,
            Self::Passing(passing) => passing.len,
        }
    }

    /// Writes the bytes of `range` (its end may lie beyond the body's). Files are read on `reads`' blocking threads.
    pub(crate) async fn write(
        self,
        session: &mut ServerSession,
        range: Range<u64>,
        reads: &Handle,
    ) -> Result<u64, BrokenBody> {
        let mut out = Out { session, range, position: 0, written: 0, in_a_row: 0 };
        let done = match self {
            Self::Whole(bytes) => out.take(bytes).await,
            Self::File(file) => out.file(file, reads).await,
            Self::Growing(growing) => out.growing(*growing).await,
            Self::Passing(passing) => out.passing(*passing).await,
        };
        match done {
            Ok(()) => Ok(out.written),
            Err(reason) => Err(BrokenBody { bytes: out.written, reason }),
        }
    }
}

/// Writes what of a body's bytes lies in the range.
struct Out<'a> {
    session: &'a mut ServerSession,
    range: Range<u64>,
    position: u64,
    written: u64,
    /// Bytes since another connection of this thread had a turn.
    in_a_row: u64,
}

impl Out<'_> {
    async fn take(&mut self, bytes: Bytes) -> Result<(), String> {
        let len = bytes.len() as u64;
        let start = self.range.start.saturating_sub(self.position).min(len);
        let end = self.range.end.saturating_sub(self.position).min(len);
        self.position += len;
        if start >= end {
            return Ok(());
        }
        // A quick client of a large body never has to be waited for. What is sent in one piece is done with it.
        if self.in_a_row >= TURN_BYTES {
            self.in_a_row = 0;
            tokio::task::yield_now().await;
        }
        let outside = |_| "a chunk larger than memory".to_owned();
        let start = usize::try_from(start).map_err(outside)?;
        let end = usize::try_from(end).map_err(outside)?;
        self.session
            .write_response_body(bytes.slice(start..end), false)
            .await
            .map_err(|error| format!("writing the body: {error}"))?;
        let sent = (end - start) as u64;
        self.written += sent;
        self.in_a_row += sent;
        Ok(())
    }

    async fn file(&mut self, body: FileBody, reads: &Handle) -> Result<(), String> {
        let end = self.range.end.min(body.len);
        self.position = self.range.start;
        while self.position < end {
            let at = self.position;
            let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
            let bytes = if let Some(bytes) = pieces::at_hand(&body.file, at, wanted) {
                bytes
            } else {
                let file = Arc::clone(&body.file);
                let read = reads.spawn_blocking(move || pieces::read(&file, at, wanted)).await;
                let read = read.map_err(|error| format!("reading the file: {error}"))?;
                read.map_err(|error| format!("reading the file: {error}"))?
            };
            self.take(bytes).await?;
        }
        Ok(())
    }

    async fn growing(&mut self, mut growing: Growing) -> Result<(), String> {
        if let Some(first) = growing.first.take() {
            self.take(first).await?;
        }
        while self.position < self.range.end {
            match growing.reader.next().await {
                Ok(Some(bytes)) => self.take(bytes).await?,
                Ok(None) => break,
                Err(error) => return Err(format!("the fill failed: {}", error.message)),
            }
        }
        match growing.len {
            Some(len) if self.position < len.min(self.range.end) => {
                Err(format!("the fill ended at byte {} of {len}", self.position))
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn passing(&mut self, mut passing: Passing) -> Result<(), String> {
        // An empty body has ended already.
        let Some(first) = passing.first.take() else {
            return Ok(());
        };
        self.take(first).await?;
        loop {
            match passing.pieces.recv().await {
                Some(Piece::Bytes(bytes)) => self.take(bytes).await?,
                Some(Piece::End) => return Ok(()),
                Some(Piece::Failed(error)) => return Err(format!("the transfer failed: {}", error.message)),
                None => return Err("the transfer was abandoned".to_owned()),
            }
        }
    }
}
