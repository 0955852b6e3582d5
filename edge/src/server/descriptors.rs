//! File descriptors: as many as the system allows, and some kept back so that an operator is answered when none are left.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::app::App;

/// How often a failure of accepting is said again while it lasts.
const SAY_AGAIN: Duration = Duration::from_secs(5);

/// Connections to the administration that are answered although no descriptor is free.
const SPARE: usize = 8;

/// How often spare descriptors are looked for again while nobody comes.
const REPLENISH: Duration = Duration::from_secs(1);

/// Wait before the next try when accepting failed: short, as a descriptor may be free any moment, but no spinning.
pub(super) const BACK_OFF: Duration = Duration::from_millis(20);

/// The file descriptors of this process.
#[derive(Debug)]
pub(crate) struct Descriptors {
    /// How many there may be.
    limit: u64,
    /// Held while a connection takes one, so that what the administration gives up goes to its own connection and to no
    /// other one that is queued.
    taking: Mutex<()>,
}

impl Descriptors {
    /// Raises the limit to what the system allows this process.
    pub(crate) fn raise() -> Self {
        let limit = getrlimit(Resource::Nofile);
        if limit.current != limit.maximum {
            let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
            if let Err(error) = setrlimit(Resource::Nofile, raised) {
                tracing::warn!(%error, "the limit of file descriptors could not be raised");
            }
        }
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self { limit, taking: Mutex::default() }
    }

    /// The most connections that leave `reserved` free. A connection needs two: its socket and the file it reads.
    pub(super) fn connections_max(&self, reserved: u64) -> usize {
        usize::try_from((self.limit.saturating_sub(reserved) / 2).max(1)).unwrap_or(usize::MAX)
    }

    /// Accepts for the service.
    pub(super) fn poll_accept(&self, listener: &TcpListener, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let _taking = self.taking.lock();
        listener.poll_accept(cx)
    }
}

type Accepted = (TcpStream, SocketAddr);

/// Says something that may happen often only now and then.
#[derive(Debug, Default)]
pub(super) struct Seldom(Option<Instant>);

impl Seldom {
    /// Whether it is to be said now.
    pub(super) fn now(&mut self) -> bool {
        let due = self.0.is_none_or(|said| said.elapsed() >= SAY_AGAIN);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// Descriptors that are held for later.
#[derive(Debug)]
struct Spares {
    /// What stands in their places.
    null: File,
    held: Mutex<Vec<OwnedFd>>,
}

impl Spares {
    fn replenish(&self) {
        let mut held = self.held.lock();
        while held.len() < SPARE {
            // None to be had: those that were lent come back when their connections end.
            let Ok(spare) = self.null.try_clone() else { return };
            held.push(spare.into());
        }
    }
}

/// The administration's listener. It holds descriptors that it gives up, one for each connection, when there are no others.
#[derive(Debug)]
pub(crate) struct SparedListener {
    listener: TcpListener,
    app: Arc<App>,
    spares: Arc<Spares>,
    complaint: Seldom,
}

impl SparedListener {
    /// Listens on `listener`; needs a runtime's context.
    pub(crate) fn new(listener: std::net::TcpListener, app: Arc<App>) -> io::Result<Self> {
        let spares = Arc::new(Spares { null: File::open("/dev/null")?, held: Mutex::default() });
        spares.replenish();
        Ok(Self { listener: TcpListener::from_std(listener)?, app, spares, complaint: Seldom::default() })
    }

    fn poll_spared(&self, cx: &mut Context<'_>) -> Poll<io::Result<(SparedStream, SocketAddr)>> {
        let _taking = self.app.descriptors.taking.lock();
        let (accepted, home) = match self.listener.poll_accept(cx) {
            Poll::Ready(Err(error)) if is_shortage(&error) => {
                // Closing a spare one frees its number for this connection.
                drop(self.spares.held.lock().pop());
                let accepted = self.listener.poll_accept(cx);
                if !matches!(accepted, Poll::Ready(Ok(_))) {
                    // Linux looks for a descriptor before it looks for a connection, and there was none.
                    self.spares.replenish();
                }
                (accepted, Some(Arc::clone(&self.spares)))
            }
            accepted => (accepted, None),
        };
        accepted.map_ok(|(stream, peer)| (SparedStream { stream: Some(stream), home }, peer))
    }
}

impl axum::serve::Listener for SparedListener {
    type Io = SparedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            self.spares.replenish();
            match timeout(REPLENISH, poll_fn(|cx| self.poll_spared(cx))).await {
                Err(_) => {}
                Ok(Ok(accepted)) => return accepted,
                Ok(Err(error)) => {
                    if self.complaint.now() {
                        tracing::warn!(%error, "a connection to the administration could not be accepted");
                    }
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection to the administration, perhaps on a lent descriptor.
#[derive(Debug)]
pub(crate) struct SparedStream {
    /// There until the end.
    stream: Option<TcpStream>,
    /// Where the descriptor belongs.
    home: Option<Arc<Spares>>,
}

impl SparedStream {
    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for SparedStream {
    fn drop(&mut self) {
        let (Some(stream), Some(home)) = (self.stream.take(), self.home.take()) else { return };
        // The descriptor is never free in between: whoever waits for one would have it before us.
        let Ok(stream) = stream.into_std() else { return };
        let mut lent = OwnedFd::from(stream);
        match rustix::io::dup2(&home.null, &mut lent) {
            Ok(()) => home.held.lock().push(lent),
            Err(error) => tracing::warn!(%error, "a spare file descriptor was lost"),
        }
    }
}

impl AsyncRead for SparedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for SparedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

/// Whether the process or the system has no descriptor left.
fn is_shortage(error: &io::Error) -> bool {
    let shortage = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| shortage.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_reserve_free() {
        let max = |limit, reserved| Descriptors { limit, taking: Mutex::default() }.connections_max(reserved);
        assert_eq!(max(1024, 512), 256);
        assert_eq!(max(100, 512), 1, "never none: an edge with few descriptors serves slowly");
        assert_eq!(max(u64::MAX, 512), usize::MAX / 2 - 256);
    }
}
