//! Passing a body through without storing it: what is left when the disk takes nothing more.
//!
//! The promise to the client is the same as a fill's: the last bytes are held back, here in memory, until the digest is
//! proven, and another center goes on where one fails. Each client has its own transfer, for there is nowhere to keep the
//! bytes that another one would need.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use reqwest::Method;
use shared::digest::{Digest, Hasher};
use shared::fill::{FillError, TAIL};
use tokio::sync::{mpsc, oneshot};

use super::Fetch;
use super::body::{self, Sink};
use super::fetch::refused;
use super::proof::Promise;
use crate::app::App;
use crate::limit::Turn;

/// Pieces under way to one client: a slow client slows its own transfer.
const PIECES: usize = 4;

/// A body on its way through.
#[derive(Debug)]
pub(crate) struct Passed {
    /// What the center said of it up front.
    pub(crate) promise: Promise,
    /// The bytes; an error, or an end without [`Piece::End`], breaks the response off.
    pub(crate) pieces: mpsc::Receiver<Piece>,
}

/// What comes out of a transfer.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Bytes that may go to the client.
    Bytes(Bytes),
    /// All were sent and the digest is proven.
    End,
    /// It failed.
    Failed(FillError),
}

/// Asks a center when its turn comes and begins to pass its body on.
pub(crate) async fn pass_through(app: &Arc<App>, fetch: Fetch, turn: Arc<Turn>) -> Result<Passed, FillError> {
    let (sender, pieces) = mpsc::channel(PIECES);
    let (promised, promise) = oneshot::channel();
    let passing = Arc::clone(app);
    app.behind.spawn(async move {
        let mut through = Through::new(sender, promised);
        let came = run(&passing, &fetch, turn, &mut through).await;
        through.end(came).await;
    });
    let promise = promise.await.unwrap_or_else(|_| Err(FillError::abandoned()))?;
    Ok(Passed { promise, pieces })
}

async fn run(app: &App, fetch: &Fetch, turn: Arc<Turn>, through: &mut Through) -> Result<(), FillError> {
    let limits = app.config().limits.queue();
    let _place = app.limits.place(&turn, limits).await?;
    drop(turn);
    let mut attempts = app.upstream.attempts(fetch);
    let taken = app.upstream.ask(&mut attempts, Method::GET, &fetch.path, fetch.headers(app, None)).await?;
    if taken.response.status() != StatusCode::OK {
        return Err(refused(taken.response).await);
    }
    let promise = body::take(app, fetch, &mut attempts, taken, through).await?;
    through.say(&promise);
    through.let_go(0).await
}

/// Hands a body on to one client, all but the last bytes.
struct Through {
    sender: mpsc::Sender<Piece>,
    /// Where the promise goes, once.
    promised: Option<oneshot::Sender<Result<Promise, FillError>>>,
    held_back: VecDeque<Bytes>,
    held_len: u64,
    written: u64,
    hasher: Hasher,
}

impl Through {
    fn new(sender: mpsc::Sender<Piece>, promised: oneshot::Sender<Result<Promise, FillError>>) -> Self {
        let (held_back, hasher) = (VecDeque::new(), Hasher::default());
        Self { sender, promised: Some(promised), held_back, held_len: 0, written: 0, hasher }
    }

    /// Tells the client's side what the body is, when no other center can begin it anew any more.
    fn say(&mut self, promise: &Promise) {
        if let Some(promised) = self.promised.take() {
            // A client that left is noticed at the next bytes.
            let _ = promised.send(Ok(*promise));
        }
    }

    /// Hands on what can go with `tail` bytes still held back.
    async fn let_go(&mut self, tail: u64) -> Result<(), FillError> {
        while let Some(first) = self.held_back.pop_front() {
            if self.held_len - (first.len() as u64) < tail {
                self.held_back.push_front(first);
                break;
            }
            self.held_len -= first.len() as u64;
            // The client left: nobody wants the rest.
            self.sender.send(Piece::Bytes(first)).await.map_err(|_| FillError::abandoned())?;
        }
        Ok(())
    }

    async fn end(mut self, came: Result<(), FillError>) {
        let end = match (came, self.promised.take()) {
            (Ok(()), _) => Piece::End,
            (Err(error), None) => Piece::Failed(error),
            (Err(error), Some(promised)) => {
                let _ = promised.send(Err(error));
                return;
            }
        };
        // The client may be gone; then nobody waits for the end.
        let _ = self.sender.send(end).await;
    }
}

impl Sink for Through {
    fn written(&self) -> u64 {
        self.written
    }

    fn is_released(&self) -> bool {
        self.promised.is_none()
    }

    fn digest_so_far(&self) -> Digest {
        self.hasher.digest()
    }

    async fn write(&mut self, promise: &Promise, bytes: Bytes) -> Result<(), FillError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.hasher.update(&bytes);
        self.written += bytes.len() as u64;
        self.held_len += bytes.len() as u64;
        self.held_back.push_back(bytes);
        if self.held_back.front().is_some_and(|first| self.held_len - first.len() as u64 >= TAIL) {
            self.say(promise);
        }
        self.let_go(TAIL).await
    }

    fn restart(&mut self) {
        self.held_back.clear();
        (self.held_len, self.written, self.hasher) = (0, 0, Hasher::default());
    }
}
