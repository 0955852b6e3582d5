//! A client's connection as Pingora sees it: bytes in and out, over TCP or over TLS.
//!
//! Pingora writes a response's header and its body one after the other, and says `flush` at the end of a response, after
//! a header without `Content-Length` and after each chunk. The first write after a flush is therefore a header: it is
//! held back until the next write and leaves together with it, in one system call and mostly in one packet. Nothing is
//! held for longer than that: later writes of a body that arrives slowly go straight out, a flush sends what is held,
//! and so does waiting for the client.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use pingora_core::protocols::l4::socket::SocketAddr as PeerAddr;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Larger first writes are no headers of ours and are not copied.
const HELD_BYTES_MAX: usize = 4096;

/// A client's connection.
pub(crate) struct Connection<S> {
    stream: S,
    held: Vec<u8>,
    /// Whether the next write is the first one after a flush.
    first: bool,
    alpn: Option<ALPN>,
    fd: RawFd,
    socket: Arc<SocketDigest>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// The connection with `peer` on the socket `fd`; `alpn` is what a TLS handshake agreed on.
    pub(crate) fn new(stream: S, fd: RawFd, peer: SocketAddr, alpn: Option<ALPN>) -> Self {
        let socket = SocketDigest::from_raw_fd(fd);
        // Known from accepting: nothing has to ask the kernel again. It was not set before, so it can be.
        let _ = socket.peer_addr.set(Some(PeerAddr::Inet(peer)));
        Self { stream, held: Vec::new(), first: true, alpn, fd, socket: Arc::new(socket) }
    }

    /// Writes what is held and then `rest`, and says how much of `rest` went. All bytes but those of chunks and frames,
    /// which go straight to the stream, pass here.
    fn poll_out(&mut self, cx: &mut Context<'_>, rest: &[u8]) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let both = [IoSlice::new(&self.held), IoSlice::new(rest)];
            let both = if rest.is_empty() { &both[..1] } else { &both[..] };
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, both))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if let Some(of_rest) = written.checked_sub(self.held.len()) {
                self.held.clear();
                if of_rest > 0 || rest.is_empty() {
                    return Poll::Ready(Ok(of_rest));
                }
            } else {
                self.held.drain(..written);
            }
        }
        if rest.is_empty() { Poll::Ready(Ok(0)) } else { Pin::new(&mut self.stream).poll_write(cx, rest) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // A client that is waited for may be waiting for this.
        if !self.held.is_empty() {
            ready!(self.as_mut().poll_flush(cx))?;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.first) && buf.len() <= HELD_BYTES_MAX {
            self.held.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        self.poll_out(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Chunks and HTTP/2 frames: a flush follows each of them.
        self.first = false;
        ready!(self.poll_out(cx, &[]))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx, &[]))?;
        self.first = true;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx, &[]))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Shutdown for Connection<S> {
    async fn shutdown(&mut self) {
        // The client may have gone already; there is nobody to tell.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl<S> UniqueID for Connection<S> {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl<S> Ssl for Connection<S> {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.alpn.clone()
    }
}

impl<S> GetTimingDigest for Connection<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        // Asked for every request, and nobody here reads it.
        Vec::new()
    }
}

impl<S> GetProxyDigest for Connection<S> {
    fn get_proxy_digest(&self) -> Option<Arc<pingora_core::protocols::raw_connect::ProxyDigest>> {
        None
    }
}

impl<S> GetSocketDigest for Connection<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket))
    }
}

impl<S: Send> Peek for Connection<S> {}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("fd", &self.fd)
            .field("peer", &self.socket.peer_addr())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http::header;
    use pingora_core::protocols::http::ServerSession;
    use pingora_http::ResponseHeader;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Reads one request, then waits; notes the length of each write and takes at most `room` bytes of each.
    struct Script {
        request: &'static [u8],
        writes: Vec<usize>,
        sent: Vec<u8>,
        room: usize,
    }

    impl Script {
        fn new(request: &'static [u8], room: usize) -> Self {
            Self { request, writes: Vec::new(), sent: Vec::new(), room }
        }
    }

    impl AsyncRead for Script {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            buf.put_slice(std::mem::take(&mut self.request));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Script {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            let taken = all.len().min(self.room);
            self.writes.push(taken);
            self.sent.extend_from_slice(&all[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn connection(script: Script) -> Connection<Script> {
        Connection::new(script, 7, "192.0.2.1:99".parse().unwrap(), None)
    }

    /// What the stream under `session` has seen.
    async fn finished(session: ServerSession) -> Connection<Script> {
        let (stream, _) = session.finish().await.unwrap().unwrap().into_parts();
        *stream.into_any().downcast().unwrap()
    }

    async fn asked(request: &'static [u8]) -> ServerSession {
        let mut session = ServerSession::new_http1(Box::new(connection(Script::new(request, usize::MAX))));
        assert!(session.read_request().await.unwrap());
        session
    }

    fn header_with(name: header::HeaderName, value: &str) -> Box<ResponseHeader> {
        let mut response = ResponseHeader::build(200, None).unwrap();
        response.insert_header(name, value.to_owned()).unwrap();
        Box::new(response)
    }

    #[tokio::test]
    async fn header_and_body_are_one_write() {
        for len in [200, 20_000, 1_000_000] {
            let mut session = asked(b"GET / HTTP/1.1\r\n\r\n").await;
            session.write_response_header(header_with(header::CONTENT_LENGTH, &len.to_string())).await.unwrap();
            session.write_response_body(vec![b'x'; len].into(), false).await.unwrap();
            let seen = finished(session).await.stream;
            assert_eq!(seen.writes, [seen.sent.len()], "{len}");
            let header_len = seen.sent.len() - len;
            assert!(seen.sent.starts_with(b"HTTP/1.1 200 OK\r\n") && seen.sent[..header_len].ends_with(b"\r\n\r\n"));
            assert!(seen.sent[header_len..].iter().all(|byte| *byte == b'x'));
        }
    }

    #[tokio::test]
    async fn a_header_without_a_body_goes_out_with_the_end_of_the_response() {
        for request in [&b"HEAD / HTTP/1.1\r\n\r\n"[..], b"GET / HTTP/1.1\r\n\r\n"] {
            let mut session = asked(request).await;
            let len = if request.starts_with(b"HEAD") { "5" } else { "0" };
            session.write_response_header(header_with(header::CONTENT_LENGTH, len)).await.unwrap();
            let seen = finished(session).await.stream;
            assert!(seen.sent.ends_with(b"\r\n\r\n"));
            assert_eq!(seen.writes.len(), 1);
        }
    }

    #[tokio::test]
    async fn chunks_go_out_as_they_come() {
        let mut session = asked(b"GET / HTTP/1.1\r\n\r\n").await;
        session.write_response_header(header_with(header::TRANSFER_ENCODING, "chunked")).await.unwrap();
        for piece in ["one", "two"] {
            session.write_response_body(piece.into(), false).await.unwrap();
        }
        let seen = finished(session).await.stream;
        assert!(seen.sent.ends_with(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"));
        assert_eq!(seen.writes[1..], [8, 8, 5], "header, chunks, end: each sent when it was written");
    }

    #[tokio::test]
    async fn only_the_first_write_waits_for_a_second_one() {
        let mut connection = connection(Script::new(b"", usize::MAX));
        connection.write_all(b"header").await.unwrap();
        assert_eq!(connection.stream.sent, b"");
        connection.write_all(b" piece").await.unwrap();
        assert_eq!(connection.stream.sent, b"header piece");
        // The fill pauses here, in the middle of a body.
        connection.write_all(b" p").await.unwrap();
        assert_eq!(connection.stream.sent, b"header piece p");
        connection.flush().await.unwrap();
        connection.write_all(b"next").await.unwrap();
        assert_eq!(connection.stream.sent, b"header piece p");
        connection.read_u8().await.unwrap_err();
        assert_eq!(connection.stream.sent, b"header piece pnext", "before waiting for the client");
    }

    #[tokio::test]
    async fn a_stream_that_takes_little_gets_every_byte_once() {
        for room in 1..12 {
            let mut connection = connection(Script::new(b"", room));
            connection.write_all(b"header ").await.unwrap();
            connection.write_all(b"body").await.unwrap();
            connection.flush().await.unwrap();
            connection.write_all(b"; ").await.unwrap();
            let bufs = [IoSlice::new(b"fra"), IoSlice::new(b"mes")];
            let taken = poll_fn(|cx| Pin::new(&mut connection).poll_write_vectored(cx, &bufs)).await.unwrap();
            connection.write_all(&b"frames"[taken..]).await.unwrap();
            AsyncWriteExt::shutdown(&mut connection).await.unwrap();
            assert_eq!(connection.stream.sent, b"header body; frames", "{room}");
        }
    }

    #[tokio::test]
    async fn the_session_knows_its_client() {
        let session = asked(b"GET / HTTP/1.1\r\n\r\n").await;
        assert_eq!(session.client_addr().and_then(|addr| addr.as_inet()).unwrap().to_string(), "192.0.2.1:99");
    }
}
