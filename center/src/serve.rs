//! Accepting connections: bounded in number and patience, HTTP/1.1 and HTTP/2 on one port, ended without breaking what runs.

pub(crate) mod doubtful;
mod takings;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, STRICT_TRANSPORT_SECURITY};
use http::{HeaderValue, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use parking_lot::Mutex;
use shared::handover::Listeners;
use shared::pace::{Pace, Paced};
use shared::tls::{Tls, is_http2};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tower::ServiceExt as _;

use crate::app::App;
use crate::envelope::Peer;
use crate::handover::{self, LAST_CALL, Step, Unanswered};
use crate::reload::Live;
use crate::router;
use crate::serve::takings::Takings;

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

/// Where clients come in.
pub(crate) struct Entrances {
    /// HTTP/1.1 and HTTP/2 without TLS.
    pub(crate) plain: TcpListener,
    /// The same over TLS.
    pub(crate) tls: Option<(TcpListener, Arc<Tls>)>,
    /// Figures alone.
    pub(crate) figures: Option<TcpListener>,
    /// The same sockets, for the process that takes this one's place.
    pub(crate) shared: Arc<Mutex<Listeners>>,
}

/// Why serving ends.
pub(crate) enum End {
    /// A stop was asked for.
    Stopped,
    /// The process with this id has taken over.
    Replaced(u32),
}

/// How clients are met.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// How long a handshake may take.
    pub(crate) handshake: Duration,
    /// What a client must take.
    pub(crate) pace: Pace,
    /// What is said of TLS to browsers.
    pub(crate) hsts: &'static str,
}

/// Through which of them a client came.
#[derive(Clone)]
enum Entrance {
    Plain,
    Tls(Arc<Tls>),
    Figures,
}

/// Why nothing is accepted for now.
enum Pause {
    Stop,
    HandOver(oneshot::Sender<()>),
}

/// Serves until `stop` completes or another process has taken over; `tell` hears which before running requests end, for as long as
/// the limits say.
pub(crate) async fn serve(
    app: &Arc<App>,
    live: &Arc<Live>,
    entrances: Entrances,
    manners: Manners,
    stop: impl Future<Output = ()>,
    mut steps: mpsc::Receiver<Step>,
    tell: impl FnOnce(&End),
) {
    let doors = Doors {
        app: Arc::clone(app),
        live: Arc::clone(live),
        entrances,
        manners,
        connections: Arc::new(Semaphore::new(app.limits.connections_max)),
        unanswered: Unanswered::default(),
        builder: builder(app.limits.header_timeout.get()),
    };
    tokio::pin!(stop);
    let (end, draining) = loop {
        let graceful = GracefulShutdown::new();
        let pause = tokio::select! {
            () = &mut stop => Pause::Stop,
            Some(paused) = pause_asked(&mut steps) => Pause::HandOver(paused),
            never = doors.accept(&graceful) => match never {},
        };
        app.stopping.send_replace(true);
        let Pause::HandOver(paused) = pause else { break (End::Stopped, tokio::spawn(graceful.shutdown())) };
        tokio::time::sleep(LAST_CALL).await;
        let draining = tokio::spawn(graceful.shutdown());
        handover::close(app, &doors.unanswered).await;
        let _ = paused.send(());
        if let Some(Step::Replaced(pid)) = steps.recv().await {
            break (End::Replaced(pid), draining);
        }
        handover::reopen(app).await;
        app.stopping.send_replace(false);
    };
    doors.entrances.close();
    tell(&end);
    let grace = match end {
        End::Stopped => app.limits.drain_timeout.get(),
        End::Replaced(_) => app.limits.handover_grace.get(),
    };
    // Whoever has asked for a stop has done so once; one that comes during a hand-over's end ends it.
    let hurried = async {
        match end {
            End::Stopped => std::future::pending().await,
            End::Replaced(_) => stop.await,
        }
    };
    tracing::info!("stopping");
    tokio::select! {
        drained = tokio::time::timeout(grace, draining) => if drained.is_err() {
            tracing::warn!("connections that did not end in time are dropped");
        },
        () = hurried => tracing::warn!("told to stop: connections are dropped"),
    }
    handover::write_counts(app).await;
}

/// Completes when another process wants to take over; never if none can.
async fn pause_asked(steps: &mut mpsc::Receiver<Step>) -> Option<oneshot::Sender<()>> {
    loop {
        match steps.recv().await {
            Some(Step::Pause(paused)) => return Some(paused),
            Some(Step::Resume | Step::Replaced(_)) => {}
            None => return std::future::pending().await,
        }
    }
}

/// Where clients come in, and what awaits them.
struct Doors {
    app: Arc<App>,
    live: Arc<Live>,
    entrances: Entrances,
    manners: Manners,
    connections: Arc<Semaphore>,
    unanswered: Unanswered,
    builder: Builder<TokioExecutor>,
}

impl Doors {
    async fn accept(&self, graceful: &GracefulShutdown) -> Infallible {
        loop {
            match self.entrances.accept(&self.connections).await {
                Ok((entrance, stream, peer, permit)) => {
                    let (app, live) = (Arc::clone(&self.app), Arc::clone(&self.live));
                    let unanswered = self.unanswered.clone();
                    let connection = Connection { app, live, stream, peer, manners: self.manners, unanswered };
                    tokio::spawn(connection.converse(entrance, self.builder.clone(), graceful.watcher(), permit));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
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

impl Entrances {
    /// Takes no more connections. As long as one handle on a listening socket is open, the kernel does.
    fn close(self) {
        *self.shared.lock() = Listeners::default();
    }

    /// The next connection, once there is room for it.
    async fn accept(
        &self,
        connections: &Arc<Semaphore>,
    ) -> io::Result<(Entrance, TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = Arc::clone(connections).acquire_owned().await.map_err(io::Error::other)?;
        let next = async |listener: Option<&TcpListener>| match listener {
            Some(listener) => listener.accept().await,
            None => std::future::pending().await,
        };
        let (entrance, (stream, peer)) = tokio::select! {
            accepted = self.plain.accept() => (Entrance::Plain, accepted?),
            accepted = next(self.tls.as_ref().map(|(listener, _)| listener)) => {
                let Some((_, tls)) = &self.tls else { return Err(io::Error::other("no certificate")) };
                (Entrance::Tls(Arc::clone(tls)), accepted?)
            }
            accepted = next(self.figures.as_ref()) => (Entrance::Figures, accepted?),
        };
        stream.set_nodelay(true)?;
        Ok((entrance, stream, peer, permit))
    }
}

/// A client, and what answers it.
struct Connection {
    app: Arc<App>,
    live: Arc<Live>,
    stream: TcpStream,
    peer: SocketAddr,
    manners: Manners,
    unanswered: Unanswered,
}

impl Connection {
    async fn converse(
        self,
        entrance: Entrance,
        builder: Builder<TokioExecutor>,
        watcher: Watcher,
        _permit: OwnedSemaphorePermit,
    ) {
        let mut stopping = self.app.stopping.subscribe();
        let Self { app, live, stream, peer, manners, unanswered } = self;
        let patience = app.limits.header_timeout.get();
        let begin = async {
            match &entrance {
                Entrance::Plain | Entrance::Figures => {
                    tokio::time::timeout(patience, first_words(&stream)).await.is_ok_and(|spoken| spoken.is_ok())
                }
                Entrance::Tls(_) => true,
            }
        };
        // Whoever has just connected may still say what it wants.
        let last_call = async {
            let _ = stopping.wait_for(|stopping| *stopping).await;
            tokio::time::sleep(LAST_CALL).await;
        };
        let has_begun = tokio::select! {
            () = last_call => false,
            has_begun = begin => has_begun,
        };
        if !has_begun {
            return;
        }
        let entered = entrance.clone();
        let answering = Answering { live, peer, entrance: entered, app, hsts: manners.hsts, unanswered };
        let paced = Paced::new(stream, manners.pace);
        let Entrance::Tls(tls) = entrance else {
            return answering.speak(paced, builder, watcher).await;
        };
        match tokio::time::timeout(manners.handshake, tls.accept(paced)).await {
            // Which HTTP is spoken was agreed upon in the handshake.
            Ok(Ok(stream)) if is_http2(&stream) => answering.speak(stream, builder.http2_only(), watcher).await,
            Ok(Ok(stream)) => answering.speak(stream, builder.http1_only(), watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, %peer, "handshake failed"),
            Err(_) => tracing::debug!(%peer, "handshake took too long"),
        }
    }
}

/// Answers the requests of a connection.
struct Answering {
    app: Arc<App>,
    live: Arc<Live>,
    peer: SocketAddr,
    entrance: Entrance,
    hsts: &'static str,
    unanswered: Unanswered,
}

impl Answering {
    async fn speak<S>(self, stream: S, builder: Builder<TokioExecutor>, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { app, live, peer, entrance, hsts, unanswered } = self;
        let takings = Takings::default();
        let patience = app.limits.client_write.get();
        let figures = matches!(entrance, Entrance::Figures).then(|| router::figures(&app));
        let is_secure = matches!(entrance, Entrance::Tls(_));
        let bodies = takings.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let version = request.version();
            let doubt = doubtful::doubt(version, request.headers());
            if let Some(doubt) = doubt {
                request.extensions_mut().insert(doubt);
            }
            let request = request.map(axum::body::Body::new);
            let (figures, routes) = (figures.clone(), live.routes());
            let (bodies, app, asking) = (bodies.clone(), Arc::clone(&app), unanswered.begin());
            async move {
                let mut response = match figures {
                    Some(figures) => figures.oneshot(request).await?,
                    None => routes.answer(request).await,
                };
                drop(asking);
                if (doubt.is_some() || *app.stopping.borrow()) && version < Version::HTTP_2 {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                if is_secure {
                    response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(hsts));
                }
                Ok::<_, Infallible>(response.map(|body| bodies.watch(body)))
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::select! {
            // An error here is a client that left, spoke no HTTP, or a body that was aborted on purpose.
            ended = watcher.watch(connection) => if let Err(error) = ended {
                tracing::debug!(%error, %peer, "connection ended");
            },
            () = takings.stopped(patience) => tracing::info!(%peer, "a client that takes nothing is dropped"),
        }
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
