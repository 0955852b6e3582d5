//! An HTTP/2 connection: its requests run beside each other, each on a stream.
//!
//! The connection is driven here and not by Pingora's own loop, which has no time-out for the first bytes, no bound for
//! requests that the client has reset but that still run, and waits without end for a client to hang up when the edge stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake};
use pingora_core::protocols::{Digest, Stream};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::{LAST_CALL, Service, told_to_stop};
use crate::error::EdgeError;
use crate::serve::{self, Ended};

/// Malformed requests after which the connection ends.
const MALFORMED_MAX: usize = 32;

/// Requests of streams that the client has reset may go on for a moment; with this many times the streams allowed, it is an
/// attack.
const RUNNING_FACTOR: usize = 2;

/// Largest part of a response that is kept for a stream until the client takes it.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// The requests of a connection that are not done.
#[derive(Debug, Default)]
struct Running {
    count: AtomicUsize,
    none: Notify,
}

/// One of them.
struct Counted(Arc<Running>);

impl Counted {
    fn new(running: &Arc<Running>) -> Self {
        running.count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(running))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.none.notify_one();
        }
    }
}

impl Running {
    /// Ends when nothing has run for `period`.
    async fn idle_for(&self, period: Duration) {
        while self.count.load(Ordering::Relaxed) != 0 {
            self.none.notified().await;
        }
        sleep(period).await;
    }
}

/// Serves the connection until it ends.
pub(super) async fn serve(service: &Arc<Service>, stream: Stream, secure: bool) {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let (header, idle, options) = {
        let config = service.app.config();
        (config.limits.client_header.get(), config.limits.client_idle.get(), options(service))
    };
    let mut connection = match timeout(header, handshake(stream, Some(options))).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a client that does not speak HTTP/2");
            return;
        }
        Err(_) => return service.app.metrics.serving.refused_connection("header"),
    };
    let streams_max = service.app.config().serving.http2_streams_max as usize;
    let running = Arc::new(Running::default());
    let mut stopping = service.app.stopping.subscribe();
    let (mut draining, mut malformed) = (false, 0);
    loop {
        let accepted = tokio::select! {
            biased;
            () = told_to_stop(&mut stopping), if !draining => {
                // The client is told to open no more streams; those that run end first.
                connection.graceful_shutdown();
                draining = true;
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
            () = running.idle_for(if draining { LAST_CALL } else { idle }) => {
                // What is done here may still be on its way to a slow client.
                if connection.has_streams() {
                    continue;
                }
                return;
            }
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => {
                if running.count.load(Ordering::Relaxed) >= RUNNING_FACTOR * streams_max {
                    return service.app.metrics.serving.refused_connection("resets");
                }
                let counted = Counted::new(&running);
                tokio::spawn(answer(Arc::clone(service), session, secure, counted));
            }
            Ok(Some(H2Accept::Rejected)) => {
                malformed += 1;
                if malformed >= MALFORMED_MAX {
                    return service.app.metrics.serving.refused_connection("malformed");
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "an HTTP/2 connection broke");
                return;
            }
        }
    }
}

fn options(service: &Service) -> H2Options {
    let config = service.app.config();
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(config.serving.http2_streams_max)
        .max_header_list_size(u32::try_from(config.serving.header_bytes_max.bytes()).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    options
}

/// Answers one request.
async fn answer(service: Arc<Service>, session: HttpSession, secure: bool, _counted: Counted) {
    let app = &service.app;
    let mut session = ServerSession::new_http2(session);
    // A client that gives this stream no window holds what is to be sent, while it reads other streams.
    session.set_write_timeout(Some(app.config().limits.client_write.get()));
    let ended = match refusal(&service, &session) {
        Some(error) => serve::refuse(app, &mut session, &error, secure).await,
        None => serve::request(app, &mut session, secure).await,
    };
    match ended {
        Ended::Clean => {
            if let Err(error) = session.finish().await {
                tracing::debug!(%error, "a response could not be finished");
            }
        }
        // Resets this stream, so that the client never takes the body for a whole one; its neighbours go on.
        Ended::Broken => session.shutdown().await,
    }
}

/// What is wrong with a request, if anything. Its header's bytes are bounded by the connection.
fn refusal(service: &Service, session: &ServerSession) -> Option<EdgeError> {
    let (limits, request) = (service.head_limits(), session.req_header());
    if request.raw_path().len() > limits.target {
        return Some(EdgeError::TargetTooLong(format!("a path of more than {} bytes", limits.target)));
    }
    if request.headers.len() > limits.lines {
        return Some(EdgeError::HeaderTooLarge(format!("more than {} header lines", limits.lines)));
    }
    let length = request.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > limits.body) {
        return Some(EdgeError::BodyTooLarge(format!("a body of more than {} bytes", limits.body)));
    }
    None
}
