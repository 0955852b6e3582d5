//! Taking one body in from one center after another. Fills and transfers past the cache both come here.
//!
//! ```text
//! 200 ─▶ write, write … ─▶ end ─▶ proven ─▶ done
//!          │ breaks, stalls, drips      │ differs from its digest
//!          ▼                            ▼
//!   nothing let go yet ─▶ the next center, from the first byte
//!   else ─▶ the next center: Range from here, If-Match the digest ─┬─ 206 ─▶ goes on here
//!                                                                  ├─ 200 ─▶ the bytes that are here are passed over
//!                                                                  └─ else ─▶ the one after it; none left: failed
//! ```
//! Going on elsewhere is right because the digest decides: it is taken over the whole body, whoever sent the parts.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use reqwest::Method;
use shared::digest::Digest;
use shared::fill::{FillError, FillErrorKind};

use super::proof::{Promise, digest_of, part_of};
use super::{Attempt, Attempts, Failure, Fetch, Taken};
use crate::app::App;
use crate::limit::{Pace, PaceLimits, TooSlow};

/// Where a body goes.
pub(super) trait Sink {
    /// How many bytes went there.
    fn written(&self) -> u64;

    /// Whether a reader may have some of them: then the body can be gone on with, but not begun anew.
    fn is_released(&self) -> bool;

    /// The SHA-256 of all bytes so far.
    fn digest_so_far(&self) -> Digest;

    /// Takes the next bytes; the promise is final as soon as any of them are let go.
    ///
    /// # Errors
    /// When they cannot be taken, or nobody wants them. No other center can help then.
    async fn write(&mut self, promise: &Promise, bytes: Bytes) -> Result<(), FillError>;

    /// Forgets the bytes: another center begins anew. Only while nothing is released.
    fn restart(&mut self);
}

/// What a body must keep to.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    /// Largest body, in bytes.
    pub(super) bytes_max: u64,
    /// How slow a center may be.
    pub(super) pace: PaceLimits,
}

/// Why taking stopped.
enum Stopped {
    /// Here, or for good: asking another center would not help.
    Here(FillError),
    /// At the center.
    There(Failure, FillError),
}

/// One center's answer while it is read.
struct Source {
    body: reqwest::Body,
    attempt: Attempt,
    pace: Pace,
    /// Bytes at its beginning that are there already.
    skip: u64,
}

/// Takes the body in whose first answer is `taken`, and answers with what is proven of it.
///
/// The last bytes are held back by the sink, so what a caller lets go after this is proven.
pub(super) async fn take<S: Sink>(
    app: &App,
    fetch: &Fetch,
    attempts: &mut Attempts,
    taken: Taken,
    sink: &mut S,
) -> Result<Promise, FillError> {
    let limits = limits(app);
    let mut promise = Promise::of(taken.response.headers());
    let mut source = Source::of(taken, 0, limits.pace);
    loop {
        let came = match source.drain(limits, &mut promise, sink).await {
            Ok(()) => prove(app, fetch, &mut promise, sink).await,
            Err(stopped) => Err(stopped),
        };
        let (failure, error) = match came {
            Ok(()) => {
                source.attempt.succeeded();
                return Ok(promise);
            }
            Err(Stopped::Here(error)) => return Err(error),
            Err(Stopped::There(failure, error)) => (failure, error),
        };
        source.attempt.failed(failure);
        // The connection goes before another is asked for.
        drop(source);
        if failure == Failure::Hash {
            app.metrics.integrity_failure("digest");
            if sink.is_released() {
                return Err(error);
            }
        } else {
            if sink.is_released() && promise.digest.is_none() {
                // It would have come at the end. Without it nobody can be asked for the rest of this very body.
                promise.digest = digest_of(app, fetch).await.unwrap_or_default();
            }
            if promise.check(sink.digest_so_far(), sink.written()).is_ok() {
                // Only its end was missing.
                return Ok(promise);
            }
        }
        tracing::warn!(
            request_id = %fetch.request_id, path = %fetch.path, at = sink.written(), reason = %error.message,
            "asking another center for the rest"
        );
        source = match next_source(app, fetch, attempts, &mut promise, sink).await {
            Some(next) => next,
            None => return Err(error),
        };
    }
}

fn limits(app: &App) -> BodyLimits {
    let config = app.config();
    BodyLimits { bytes_max: config.limits.body_bytes_max.bytes(), pace: config.limits.pace() }
}

/// Whether the body is what the center promised, which it may have to be asked for.
async fn prove<S: Sink>(app: &App, fetch: &Fetch, promise: &mut Promise, sink: &S) -> Result<(), Stopped> {
    if promise.digest.is_none() {
        // Something between stripped the header and the trailer.
        promise.digest = digest_of(app, fetch).await.map_err(Stopped::Here)?;
    }
    let (digest, written) = (sink.digest_so_far(), sink.written());
    promise.check(digest, written).map_err(|error| match error.kind {
        FillErrorKind::Integrity => Stopped::There(Failure::Hash, error),
        _ => Stopped::There(Failure::Reset, error),
    })
}

/// The next center that can go on where `sink` is, or begin anew while nothing is released.
async fn next_source<S: Sink>(
    app: &App,
    fetch: &Fetch,
    attempts: &mut Attempts,
    promise: &mut Promise,
    sink: &mut S,
) -> Option<Source> {
    let pace = limits(app).pace;
    // Each round uses up a center.
    loop {
        let from = sink.is_released().then(|| sink.written());
        let mut headers = fetch.headers(app, None);
        if let Some(from) = from {
            ask_for_the_rest(&mut headers, from, promise.digest);
        }
        let taken = app.upstream.ask(attempts, Method::GET, &fetch.path, headers).await.ok()?;
        let said = Promise::of(taken.response.headers());
        match (taken.response.status(), from) {
            (StatusCode::OK, None) => {
                sink.restart();
                *promise = said;
                app.metrics.failover("restarted");
                return Some(Source::of(taken, 0, pace));
            }
            (StatusCode::OK, Some(from)) if promise.goes_on_with(said.digest, said.len) => {
                promise.learn(said.digest, said.len);
                app.metrics.failover("resumed");
                return Some(Source::of(taken, from, pace));
            }
            (StatusCode::PARTIAL_CONTENT, Some(from)) => {
                let whole = part_of(taken.response.headers(), from);
                if let Some(whole) = whole
                    && promise.goes_on_with(said.digest, Some(whole))
                {
                    promise.learn(said.digest, Some(whole));
                    app.metrics.failover("resumed");
                    return Some(Source::of(taken, 0, pace));
                }
            }
            // Another body, or none: this center cannot go on with what clients have a part of.
            _ => {}
        }
        tracing::warn!(
            request_id = %fetch.request_id, path = %fetch.path, status = taken.response.status().as_u16(),
            "this center cannot go on with the body"
        );
        taken.attempt.succeeded();
    }
}

fn ask_for_the_rest(headers: &mut HeaderMap, from: u64, digest: Option<Digest>) {
    let mut put = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    put(header::RANGE, format!("bytes={from}-"));
    if let Some(digest) = digest {
        put(header::IF_MATCH, digest.etag());
    }
}

impl Source {
    fn of(taken: Taken, skip: u64, pace: PaceLimits) -> Self {
        let Taken { response, attempt } = taken;
        let response: http::Response<reqwest::Body> = response.into();
        Self { body: response.into_body(), attempt, pace: Pace::new(pace), skip }
    }

    /// Takes all it sends.
    async fn drain<S: Sink>(&mut self, limits: BodyLimits, promise: &mut Promise, sink: &mut S) -> Result<(), Stopped> {
        while let Some(frame) = self.next().await? {
            match frame.into_data() {
                Ok(bytes) => {
                    let bytes = self.pass_over(bytes);
                    within(limits.bytes_max, sink.written(), &bytes).map_err(Stopped::Here)?;
                    sink.write(promise, bytes).await.map_err(Stopped::Here)?;
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        promise.trailers(&trailers);
                    }
                }
            }
        }
        if self.skip > 0 || promise.len.is_some_and(|len| sink.written() < len) {
            let error = FillError::new(FillErrorKind::Upstream, "the center's answer ended early");
            return Err(Stopped::There(Failure::Reset, error));
        }
        Ok(())
    }

    /// Waits for the next piece, so long as the center goes on sending.
    async fn next(&mut self) -> Result<Option<http_body::Frame<Bytes>>, Stopped> {
        let len = |came: &Option<Result<http_body::Frame<Bytes>, reqwest::Error>>| match came {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) | None => 0,
        };
        let (kind, message) = match self.pace.wait(self.body.frame(), len).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => return Ok(Some(frame)),
            Ok(Some(Err(error))) => {
                tracing::warn!(error = %super::ask::chain(&error), "a center's body broke off");
                (FillErrorKind::Upstream, "the center's answer broke off")
            }
            Err(TooSlow::Stalled) => (FillErrorKind::Timeout, "the center stopped sending"),
            Err(TooSlow::Dripping) => (FillErrorKind::Timeout, "the center sends too slowly"),
        };
        Err(Stopped::There(Failure::Reset, FillError::new(kind, message)))
    }

    fn pass_over(&mut self, mut bytes: Bytes) -> Bytes {
        let over = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= over as u64;
        bytes.split_off(over)
    }
}

/// Refuses a body that grows past the limit.
fn within(max: u64, written: u64, bytes: &Bytes) -> Result<(), FillError> {
    if written + bytes.len() as u64 > max {
        let message = format!("the center's answer is larger than {max} bytes");
        return Err(FillError::new(FillErrorKind::TooLarge, message));
    }
    Ok(())
}
