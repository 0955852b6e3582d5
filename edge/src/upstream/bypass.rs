//! Passing a body through without storing it: what is left when the disk takes nothing more.
//!
//! The promise to the client is the same as a fill's: the last bytes are held back, here in memory, until the digest is
//! proven. Each client has its own transfer, for there is nowhere to keep the bytes that another one would need.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use reqwest::Method;
use shared::digest::Hasher;
use shared::fill::{FillError, FillErrorKind, TAIL};
use tokio::sync::mpsc;

use super::fetch::{next_frame, refused, within};
use super::proof::{Promise, digest_of};
use super::{Fetch, Taken};
use crate::app::App;

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

/// Asks the center and begins to pass its body on.
pub(crate) async fn pass_through(app: &Arc<App>, fetch: &Fetch) -> Result<Passed, FillError> {
    let mut attempts = app.upstream.attempts(&fetch.route);
    let taken = app.upstream.ask(&mut attempts, Method::GET, &fetch.path, fetch.headers(app, None)).await?;
    if taken.response.status() != StatusCode::OK {
        return Err(refused(taken.response).await);
    }
    let promise = Promise::of(taken.response.headers());
    let (sender, pieces) = mpsc::channel(PIECES);
    let (app, fetch) = (Arc::clone(app), fetch.clone());
    app.behind.clone().spawn(async move {
        let Taken { response, attempt, _permit } = taken;
        let came = transfer(&app, &fetch, response, promise, &sender).await;
        attempt.judge_body(&came);
        let end = match came {
            Ok(()) => Piece::End,
            Err(error) => {
                if error.kind == FillErrorKind::Integrity {
                    app.metrics.integrity_failure("digest");
                }
                Piece::Failed(error)
            }
        };
        // The client may be gone; then nobody waits for the end.
        let _ = sender.send(end).await;
    });
    Ok(Passed { promise, pieces })
}

async fn transfer(
    app: &Arc<App>,
    fetch: &Fetch,
    response: reqwest::Response,
    mut promise: Promise,
    sender: &mpsc::Sender<Piece>,
) -> Result<(), FillError> {
    let body: http::Response<reqwest::Body> = response.into();
    let mut body = body.into_body();
    let mut held_back = VecDeque::new();
    let (mut held_len, mut len) = (0, 0);
    let mut hasher = Hasher::default();
    while let Some(frame) = next_frame(&mut body, app.upstream.stall).await? {
        match frame.into_data() {
            Ok(bytes) => {
                within(app.upstream.body_bytes_max, len, &bytes)?;
                hasher.update(&bytes);
                len += bytes.len() as u64;
                held_len += bytes.len() as u64;
                held_back.push_back(bytes);
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    promise.trailers(&trailers);
                }
            }
        }
        // A piece goes when at least the tail is still held back without it.
        while let Some(first) = held_back.pop_front() {
            if held_len - (first.len() as u64) < TAIL {
                held_back.push_front(first);
                break;
            }
            held_len -= first.len() as u64;
            let _ = sender.send(Piece::Bytes(first)).await;
        }
        if sender.is_closed() {
            return Ok(());
        }
    }
    if promise.digest.is_none() {
        promise.digest = digest_of(app, fetch).await?;
    }
    promise.check(hasher.digest(), len)?;
    for bytes in held_back {
        let _ = sender.send(Piece::Bytes(bytes)).await;
    }
    Ok(())
}
