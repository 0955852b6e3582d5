//! Whether a client takes the answers that are ready for it.
//!
//! A socket that takes nothing is seen by [`shared::pace`]. Over HTTP/2 a client can keep its socket empty and give a stream no
//! window: then nobody asks the body for its next piece. So each body notes since when that is so.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Since when a body waits for the client; none while it has nothing to give itself.
type IdleSince = Mutex<Option<Instant>>;

/// The bodies of one connection.
#[derive(Clone, Default)]
pub(super) struct Takings {
    bodies: Arc<Mutex<Vec<Weak<IdleSince>>>>,
}

impl Takings {
    /// The body, watched.
    pub(super) fn watch(&self, body: Body) -> Watched {
        let idle_since = Arc::new(Mutex::new(Some(Instant::now())));
        let mut bodies = self.bodies.lock();
        bodies.retain(|body| body.strong_count() > 0);
        bodies.push(Arc::downgrade(&idle_since));
        Watched { body, idle_since }
    }

    /// Completes when one of the bodies had something to give for that long and nobody took it.
    pub(super) async fn stopped(&self, patience: Duration) {
        loop {
            tokio::time::sleep(LOOK.min(patience)).await;
            let is_stuck = |body: &Weak<IdleSince>| {
                body.upgrade().is_some_and(|since| since.lock().is_some_and(|since| since.elapsed() > patience))
            };
            if self.bodies.lock().iter().any(is_stuck) {
                return;
            }
        }
    }
}

/// A body that notes since when it is the client's turn.
pub(super) struct Watched {
    body: Body,
    idle_since: Arc<IdleSince>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        *self.idle_since.lock() = polled.is_ready().then(Instant::now);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
