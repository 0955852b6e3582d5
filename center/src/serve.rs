//! Accepting connections: bounded in number and patience, HTTP/1.1 and HTTP/2 on one port, ended without breaking what runs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use crate::app::App;
use crate::envelope::Peer;
use crate::reload::Live;

/// Longest head of a request in bytes.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Requests that one HTTP/2 connection may have open.
const STREAMS_MAX: u32 = 256;
/// An HTTP/2 connection that says nothing is asked whether it lives, and is dropped if it does not answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// What an HTTP/2 client begins with.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often a client that has sent a part of that is looked at again.
const PREFACE_PAUSE: Duration = Duration::from_millis(20);
/// What to wait when the system has no descriptor left: the next accept would fail at once too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` completes, then lets running requests end for as long as the limits say.
pub(crate) async fn serve(app: &Arc<App>, live: &Arc<Live>, listener: TcpListener, stop: impl Future<Output = ()>) {
    let connections = Arc::new(Semaphore::new(app.limits.connections_max));
    let graceful = GracefulShutdown::new();
    let builder = builder(app.limits.header_timeout.get());
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let connection = Connection { app: Arc::clone(app), live: Arc::clone(live), stream, peer };
                tokio::spawn(converse(connection, builder.clone(), graceful.watcher(), permit));
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    app.stopping.send_replace(true);
    let open = graceful.count();
    tracing::info!(connections = open, "stopping");
    if tokio::time::timeout(app.limits.drain_timeout.get(), graceful.shutdown()).await.is_err() {
        tracing::warn!("connections that did not end in time are dropped");
    }
}

fn builder(header_timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(PING_INTERVAL)
        .adaptive_window(true);
    builder
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, permit))
}

/// A client, and what answers it.
struct Connection {
    app: Arc<App>,
    live: Arc<Live>,
    stream: TcpStream,
    peer: SocketAddr,
}

async fn converse(
    connection: Connection,
    builder: Builder<TokioExecutor>,
    watcher: Watcher,
    _permit: OwnedSemaphorePermit,
) {
    let Connection { app, live, stream, peer } = connection;
    let mut stopping = app.stopping.subscribe();
    let patience = app.limits.header_timeout.get();
    let has_spoken = tokio::select! {
        _ = stopping.wait_for(|stopping| *stopping) => false,
        spoken = tokio::time::timeout(patience, first_words(&stream)) => matches!(spoken, Ok(Ok(()))),
    };
    if !has_spoken {
        return;
    }
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        live.router().oneshot(request.map(axum::body::Body::new))
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    // An error here is a client that left, spoke no HTTP, or a body that was aborted on purpose.
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, %peer, "connection ended");
    }
}

/// Waits until it is clear which HTTP a client speaks: hyper does so without a time-out, for ever if need be.
async fn first_words(stream: &TcpStream) -> io::Result<()> {
    let mut start = [0; HTTP2_PREFACE.len()];
    loop {
        let count = stream.peek(&mut start).await?;
        if count == 0 || count == HTTP2_PREFACE.len() || !HTTP2_PREFACE.starts_with(&start[..count]) {
            return Ok(());
        }
        // The part that is there keeps the socket readable: nothing to wait on but time.
        tokio::time::sleep(PREFACE_PAUSE).await;
    }
}
