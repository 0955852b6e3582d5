//! The service's connections: bound before anything starts, accepted by a loop of ours, spoken to with Pingora's sessions.
//!
//! ```text
//! listen       addresses, bound before the start                       listen.rs
//! accept       one thread; the connection goes to the emptiest lane    accept.rs, seats.rs, descriptors.rs
//! encrypt      TLS handshake, certificate reloaded when files change   tls.rs
//! pace         a client that stops reading ends                        pace.rs, stream.rs
//! speak        HTTP/1: header checked, then parsed                     http1.rs, head.rs
//!              HTTP/2: a task for each stream                          http2.rs
//! ```
//!
//! Pingora's stock listening service panics in a task when a port is occupied, has no caps, sleeps its whole grace when it
//! is stopped, and takes headers that can be read in two ways. So it parses and frames here, and nothing else.

mod accept;
mod descriptors;
mod head;
mod http1;
mod http2;
mod listen;
mod seats;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::protocols::ALPN;
use pingora_core::server::ShutdownWatch;
use shared::pace::{Pace, Paced};
use shared::tls::{Tls, is_http2};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) use self::accept::start;
pub(crate) use self::descriptors::{Descriptors, SparedListener};
pub(crate) use self::http1::LAST_CALL;
pub(crate) use self::listen::{Bound, Entrance};
pub(crate) use self::tls::watch;

use self::accept::Arrival;
use self::head::HeadLimits;
use self::seats::{Full, Seat, Seats};
use self::stream::Connection;
use crate::app::App;

/// What serves every connection.
#[derive(Debug)]
pub(crate) struct Service {
    app: Arc<App>,
    seats: Arc<Seats>,
    tls: Option<Arc<Tls>>,
}

impl Service {
    /// The service of `app`, with a certificate where there is a TLS listener.
    pub(crate) fn new(app: Arc<App>, tls: Option<Arc<Tls>>) -> Self {
        Self { app, seats: Arc::default(), tls }
    }

    /// A place for a connection from `peer`, if there is one.
    fn seat(&self, peer: IpAddr) -> Result<Seat, Full> {
        let config = self.app.config();
        let affordable = self.app.descriptors.connections_max(config.serving.descriptors_reserved);
        let total_max = config.limits.connections_max.min(affordable);
        self.seats.take(peer, total_max, config.serving.connections_per_client_max)
    }

    fn head_limits(&self) -> HeadLimits {
        let serving = &self.app.config().serving;
        let bytes = |size: shared::config::ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        HeadLimits {
            bytes: bytes(serving.header_bytes_max),
            lines: serving.headers_max,
            target: bytes(serving.target_bytes_max),
            body: serving.request_body_bytes_max.bytes(),
        }
    }

    fn pace(&self) -> Pace {
        let serving = &self.app.config().serving;
        Pace { bytes_per_second: serving.client_rate_min.bytes(), window: serving.client_rate_window.get() }
    }

    fn tls_handshake(&self) -> Duration {
        self.app.config().serving.tls_handshake.get()
    }
}

/// Serves a connection until it ends.
async fn converse(service: Arc<Service>, arrival: Arrival) {
    service.app.metrics.connections.inc();
    let _open = OpenConnection(&service.app);
    let Arrival { stream, peer, entrance, held: _held } = arrival;
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    let fd = stream.as_raw_fd();
    let stream = Paced::new(stream, service.pace());
    match (entrance, &service.tls) {
        (Entrance::Tls, Some(tls)) => match timeout(service.tls_handshake(), tls.accept(stream)).await {
            Ok(Ok(stream)) if is_http2(&stream) => {
                let stream = Connection::new(stream, fd, peer, Some(ALPN::H2));
                http2::serve(&service, Box::new(stream), true).await;
            }
            Ok(Ok(stream)) => http1::serve(&service, Box::new(Connection::new(stream, fd, peer, None)), true).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                service.app.metrics.serving.refused_connection("tls");
            }
            Err(_) => service.app.metrics.serving.refused_connection("tls"),
        },
        (Entrance::H2c, _) => {
            let stream = Connection::new(stream, fd, peer, Some(ALPN::H2));
            http2::serve(&service, Box::new(stream), false).await;
        }
        (Entrance::Plain | Entrance::Tls, _) => {
            http1::serve(&service, Box::new(Connection::new(stream, fd, peer, None)), false).await;
        }
    }
}

struct OpenConnection<'a>(&'a App);

impl Drop for OpenConnection<'_> {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

/// Waits for the word to stop; also when nobody is left who could give it.
async fn told_to_stop(stopping: &mut ShutdownWatch) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
