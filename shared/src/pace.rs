//! A client that stops reading, or reads next to nothing, ends.
//!
//! It is measured where bytes leave for the socket, below TLS and HTTP: while a write has to wait, the client keeps us
//! waiting. Once it has done so for the whole window in all, it must have taken the minimum for that window. Time in which
//! there was nothing to send does not count, and a client that never keeps us waiting costs nothing here.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// The least that a client must take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Bytes a second.
    pub bytes_per_second: u64,
    /// Over this time.
    pub window: Duration,
}

/// A stream whose writes keep a pace.
#[derive(Debug)]
pub struct Paced<S> {
    stream: S,
    pace: Pace,
    /// Bytes taken since this window began.
    taken: u64,
    /// How long the client kept us waiting in this window, before `since`.
    waited: Duration,
    /// Since when a write waits.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// The stream, held to the pace.
    pub fn new(stream: S, pace: Pace) -> Self {
        Self { stream, pace, taken: 0, waited: Duration::ZERO, since: None, timer: None }
    }

    /// A write took `len` bytes.
    fn took(&mut self, len: usize) {
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
        self.taken = self.taken.saturating_add(len as u64);
    }

    /// A write has to wait. Ready: it has waited too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let since = *self.since.get_or_insert_with(Instant::now);
            // It fires at the earliest when the window can be over; it is not set anew for every write that waits.
            let window = self.pace.window;
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(window)));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            let waited = self.waited + now.duration_since(since);
            if let Some(left) = self.pace.window.checked_sub(waited).filter(|left| !left.is_zero()) {
                timer.as_mut().reset(now + left);
                continue;
            }
            if (self.taken as f64) < self.pace.bytes_per_second as f64 * waited.as_secs_f64() {
                return Poll::Ready(());
            }
            (self.taken, self.waited, self.since) = (0, Duration::ZERO, Some(now));
            timer.as_mut().reset(now + self.pace.window);
        }
    }

    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(len)) => {
                self.took(len);
                Poll::Ready(Ok(len))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_late(cx).map(|()| {
                let slow = "the client takes less than the minimum rate";
                Err(io::Error::new(io::ErrorKind::TimedOut, slow))
            }),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    const PACE: Pace = Pace { bytes_per_second: 100, window: Duration::from_secs(10) };

    fn pair() -> (Paced<DuplexStream>, DuplexStream) {
        let (near, far) = tokio::io::duplex(1000);
        (Paced::new(near, PACE), far)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_reading_ends_after_the_window() {
        let (mut near, _far) = pair();
        near.write_all(&[0; 900]).await.unwrap();
        let began = Instant::now();
        let error = near.write_all(&[0; 5000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let took = began.elapsed();
        assert!((10..=20).contains(&took.as_secs()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_at_half_the_rate_ends_and_one_above_it_goes_on() {
        for (every, lives) in [(Duration::from_secs(2), false), (Duration::from_millis(500), true)] {
            let (mut near, mut far) = pair();
            let reading = tokio::spawn(async move {
                let (mut all, mut piece) = (0, [0; 100]);
                while all < 20_000 && far.read_exact(&mut piece).await.is_ok() {
                    all += piece.len();
                    tokio::time::sleep(every).await;
                }
            });
            let written = near.write_all(&vec![0; 20_000]).await;
            assert_eq!(written.is_ok(), lives, "100 bytes every {every:?}: {written:?}");
            drop(near);
            reading.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_anything_to_send_does_not_count() {
        let (mut near, mut far) = pair();
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all.len()
        });
        for _ in 0..20 {
            // Each of these waits for a moment, and then nothing is sent for an hour.
            near.write_all(&[0; 1500]).await.unwrap();
            tokio::time::sleep(Duration::from_hours(1)).await;
        }
        near.shutdown().await.unwrap();
        assert_eq!(reading.await.unwrap(), 30_000);
    }
}
