//! The service's connections: bound before anything starts, accepted by our own loops, spoken to by Pingora.
//!
//! Pingora's stock listening service panics in a task when a port is occupied and always sleeps its whole grace, so
//! accepting is ours: an occupied port is one line before the start, port 0 tells its port, connections are capped, and
//! stopping ends as soon as the last response is out. A connection is then Pingora's: it parses HTTP, keeps it alive,
//! and calls [`Service`] for every request.

mod stream;

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream, ServerApp};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use self::stream::Connection;
use crate::app::App;
use crate::serve::{self, Ended};

/// Connections that the kernel may queue: a burst of `go` commands must not run into retried handshakes.
const BACKLOG: u32 = 4096;

/// Request bodies up to this size are read away so that the connection lives on; larger ones close it.
const DRAINED_BYTES_MAX: usize = 256 * 1024;

/// What an idle connection may still send when the edge stops: a request that is already on its way.
pub(crate) const LAST_CALL: Duration = Duration::from_millis(100);

/// Binds `address`; `setting` is what the operator changes when it cannot be had.
pub(crate) fn bind(address: &str, setting: &str) -> Result<TcpListener, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!("cannot listen on {address}: {error}: free the address or change {setting} (port 0 takes a free one)")
    };
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(|error| wrong(&error))?.collect();
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "no such address");
    for address in addresses {
        match bind_one(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    let last = match last.kind() {
        io::ErrorKind::AddrInUse => "the address is in use by another program".to_owned(),
        _ => last.to_string(),
    };
    Err(wrong(&last))
}

/// Needs a runtime's context, as tokio's sockets do.
fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Accepts and serves until told to stop, then until the last connection is done or the grace is over.
pub(crate) async fn accept(service: Arc<Service>, listener: TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a serving thread cannot accept");
            return;
        }
    };
    let connections = TaskTracker::new();
    let mut stopping = service.app.stopping.subscribe();
    loop {
        let next = next_connection(&service, &listener);
        let accepted = tokio::select! {
            biased;
            () = told_to_stop(&mut stopping) => {
                if service.app.stays().await {
                    continue;
                }
                break;
            }
            accepted = next => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                connections.spawn(converse(Arc::clone(&service), stream, permit));
            }
            Err(error) => {
                // Descriptors running out, above all: there will be some as soon as a connection ends.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    tokio::select! {
        () = connections.wait() => {}
        () = service.app.grace_over() => {
            tracing::warn!(connections = connections.len(), "stopped in the middle of responses: the grace is over");
        }
    }
}

async fn next_connection(
    service: &Service,
    listener: &tokio::net::TcpListener,
) -> io::Result<(Connection<TcpStream>, OwnedSemaphorePermit)> {
    let permit = Arc::clone(&service.connections).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let fd = stream.as_raw_fd();
    Ok((Connection::new(stream, fd, peer, None), permit))
}

async fn converse(service: Arc<Service>, stream: Connection<TcpStream>, permit: OwnedSemaphorePermit) {
    let _permit = permit;
    service.app.metrics.connections.inc();
    let _open = OpenConnection(&service.app);
    let stream: Stream = Box::new(stream);
    let stopping = service.app.stopping.subscribe();
    // It loops over the connection's requests itself and never hands an HTTP/1 stream back.
    let _ = service.process_new(stream, &stopping).await;
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

/// What Pingora calls for every request.
pub(crate) struct Service {
    app: Arc<App>,
    connections: Arc<Semaphore>,
}

/// Kept with a connection: it had a request before, so it may idle.
struct Reused;

impl Service {
    /// The service of `app`.
    pub(crate) fn new(app: Arc<App>) -> Self {
        let connections = Arc::new(Semaphore::new(app.config().limits.connections_max));
        Self { app, connections }
    }

    /// Reads a request's header; `None` ends the connection.
    async fn read_request(&self, session: &mut ServerSession, stopping: &ShutdownWatch) -> Option<()> {
        let limits = &self.app.config().limits;
        let reused = session.take_connection_user_context().is_some();
        let idle = if reused { limits.client_idle.get() } else { Duration::ZERO };
        let patience = idle + limits.client_header.get();
        let mut stopping = stopping.clone();
        let outcome = {
            let reading = tokio::time::timeout(patience, session.read_request());
            tokio::pin!(reading);
            tokio::select! {
                biased;
                outcome = &mut reading => Some(outcome),
                () = told_to_stop(&mut stopping) => tokio::time::timeout(LAST_CALL, reading).await.ok(),
            }
        };
        match outcome {
            Some(Ok(Ok(true))) => Some(()),
            Some(Ok(Ok(false)) | Err(_)) | None => None,
            Some(Ok(Err(error))) => {
                tracing::debug!(%error, "a request could not be read");
                // It closes the connection after: where the next request begins is unknown.
                let _ = session.respond_error_with_body(400, "bad request: not HTTP\n".into()).await;
                None
            }
        }
    }

    /// Reads a small request body away. A GET has none; one that has must not be taken for the next request.
    async fn drain(&self, session: &mut ServerSession) {
        if session.is_body_done() {
            return;
        }
        // This client waits to be asked for its body, which nobody wants: Pingora closes after the response.
        if session.get_header(http::header::EXPECT).is_some() {
            return;
        }
        let reading = async {
            let mut read = 0;
            while let Ok(Some(bytes)) = session.read_request_body().await {
                read += bytes.len();
                if read > DRAINED_BYTES_MAX {
                    break;
                }
            }
        };
        // Whatever was not read by then makes Pingora close the connection after the response.
        let _ = tokio::time::timeout(self.app.config().limits.client_header.get(), reading).await;
    }
}

#[async_trait]
impl HttpServerApp for Service {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let limits = &self.app.config().limits;
        session.set_pipelining_enabled(true);
        session.set_keepalive(Some(limits.client_idle.get().as_secs().max(1)));
        session.set_read_timeout(Some(limits.client_header.get()));
        session.set_write_timeout(Some(limits.client_write.get()));
        self.read_request(&mut session, shutdown).await?;
        // Reading the header has already decided whether the client may keep the connection (HTTP/1.0, `Connection:
        // close`, doubtful framing): that is only ever taken away here, never given.
        if session.get_keepalive().is_some() {
            let stopping = *shutdown.borrow();
            session.set_keepalive((!stopping).then(|| limits.client_idle.get().as_secs().max(1)));
        }
        self.drain(&mut session).await;
        match serve::request(&self.app, &mut session).await {
            Ended::Clean => {}
            // Dropping the session closes the connection without an end of the body; `finish` would write one.
            Ended::Broken => return None,
        }
        let mut settings = HttpPersistentSettings::for_session(&session);
        settings.set_user_context(Box::new(Reused));
        match session.finish().await {
            Ok(stream) => stream.map(|stream| ReusedHttpStream::from_reusable_stream(stream, settings)),
            Err(error) => {
                tracing::debug!(%error, "a response could not be finished");
                None
            }
        }
    }
}
