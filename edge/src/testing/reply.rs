//! What a scripted center answers, and how its bodies come.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http_body::Frame;
use shared::digest::Digest;
use tokio::sync::Notify;

/// Where the center says a body's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// `Repr-Digest` in the header, with a length.
    Header,
    /// `Repr-Digest` as a trailer after chunks.
    Trailer,
    /// Nowhere but in the answer to HEAD.
    Head,
    /// Nowhere.
    Nowhere,
}

/// How a body ends. Numbers are bytes from its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With its last byte.
    Whole,
    /// The connection breaks here.
    Break(usize),
    /// Nothing comes after this.
    Stall(usize),
    /// Byte by byte from here on, twenty a second.
    Drip(usize),
}

/// What the center answers to a path.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A body; `digest` is what it claims.
    Body {
        /// The bytes.
        bytes: Bytes,
        /// What they are said to be.
        digest: Digest,
        /// Where.
        proof: Proof,
        /// How it ends.
        ending: Ending,
        /// Whether a part of it may be asked for.
        ranges: bool,
    },
    /// An error with a line of text.
    Refusal(u16, &'static str),
    /// An error that the center has from a source of its own.
    Beyond(u16, &'static str),
    /// 429, to come again after so many seconds.
    Busy(u64),
}

impl Reply {
    /// A right body.
    pub(crate) fn right(bytes: impl Into<Bytes>, proof: Proof) -> Self {
        Self::ending(bytes, proof, Ending::Whole)
    }

    /// A body that is not what it is said to be.
    pub(crate) fn wrong(bytes: impl Into<Bytes>, proof: Proof) -> Self {
        Self::lying(bytes, Digest::of(b"something else"), proof)
    }

    /// A body that is said to be another.
    pub(crate) fn lying(bytes: impl Into<Bytes>, digest: Digest, proof: Proof) -> Self {
        Self::Body { bytes: bytes.into(), digest, proof, ending: Ending::Whole, ranges: true }
    }

    /// A right body that breaks off.
    pub(crate) fn broken(bytes: impl Into<Bytes>, proof: Proof, after: usize) -> Self {
        Self::ending(bytes, proof, Ending::Break(after))
    }

    /// A right body that may not come to its end.
    pub(crate) fn ending(bytes: impl Into<Bytes>, proof: Proof, ending: Ending) -> Self {
        let bytes = bytes.into();
        Self::Body { digest: Digest::of(&bytes), bytes, proof, ending, ranges: true }
    }

    /// The same, given as a whole only.
    pub(crate) fn without_ranges(mut self) -> Self {
        if let Self::Body { ranges, .. } = &mut self {
            *ranges = false;
        }
        self
    }
}

/// A piece of a body, or its break.
type Piece = Result<Frame<Bytes>, std::io::Error>;

/// The body from byte `from` on in pieces of 16 KiB, its last byte alone.
pub(super) fn frames(
    bytes: &Bytes,
    from: usize,
    ending: Ending,
    trailer: Option<Digest>,
    gate: Option<Arc<Notify>>,
) -> impl futures_util::Stream<Item = Piece> + use<> {
    let shown = match ending {
        Ending::Whole => bytes.len(),
        Ending::Break(at) | Ending::Stall(at) | Ending::Drip(at) => at.max(from),
    };
    let data = |range: &[u8]| Ok(Frame::data(Bytes::copy_from_slice(range)));
    let last = shown.saturating_sub(1).max(from);
    let mut pieces: Vec<Piece> = bytes[from..last].chunks(16 << 10).map(data).collect();
    let gated_at = pieces.len();
    pieces.push(data(&bytes[last..shown]));
    match ending {
        Ending::Whole => {
            let mut trailers = HeaderMap::new();
            if let Some(digest) = trailer {
                trailers.insert("repr-digest", digest.repr_digest().parse().unwrap());
                pieces.push(Ok(Frame::trailers(trailers)));
            }
        }
        Ending::Break(_) => pieces.push(Err(std::io::Error::other("the script breaks here"))),
        Ending::Stall(_) => {}
        Ending::Drip(_) => pieces.extend(bytes[shown..].chunks(1).map(data)),
    }
    stream::unfold((pieces.into_iter().enumerate(), gate), move |(mut pieces, gate)| async move {
        let Some((number, piece)) = pieces.next() else {
            if let Ending::Stall(_) = ending {
                std::future::pending::<()>().await;
            }
            return None;
        };
        if number == gated_at
            && let Some(gate) = &gate
        {
            gate.notified().await;
        }
        if number > gated_at && matches!(ending, Ending::Drip(_)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Lets hyper send what it has before the next piece, above all before a break.
        tokio::task::yield_now().await;
        Some((piece, (pieces, gate)))
    })
}
