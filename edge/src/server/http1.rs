//! An HTTP/1 connection: one request after the other, each header checked here before Pingora parses it.
//!
//! A request with a body is the last one of its connection. No `go` command sends one, and so nothing that a body contains
//! can ever be taken for a request.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use super::head::{Head, Scanner};
use super::{Service, told_to_stop};
use crate::error::EdgeError;
use crate::runtime;
use crate::serve::{self, Ended};

/// Room for a header: the `go` command's have 150 to 250 bytes.
const HEADER_BYTES: usize = 1024;

/// What an idle connection may still send when the edge stops: a request that is already on its way.
pub(crate) const LAST_CALL: Duration = Duration::from_millis(100);

/// What a client that was refused may still send while it does not yet know.
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long it may go on so.
const LINGER: Duration = Duration::from_secs(2);

/// Why there is no further request.
enum End {
    /// The connection ended, or nothing came in time.
    Silent,
    /// The client must be told.
    Refused(EdgeError),
}

/// Serves the connection's requests until it ends.
pub(super) async fn serve(service: &Service, mut stream: Stream, secure: bool) {
    let mut stopping = service.app.stopping.subscribe();
    let mut buffer = BytesMut::new();
    let mut first = true;
    loop {
        let head = match read_head(service, &mut stream, &mut buffer, first, &mut stopping).await {
            Ok(head) => head,
            Err(End::Silent) => return,
            Err(End::Refused(error)) => return refuse(service, stream, &error).await,
        };
        match answer(service, stream, std::mem::take(&mut buffer), head, secure).await {
            Some((same, rest)) => (stream, buffer) = (same, rest),
            None => return,
        }
        runtime::answered();
        first = false;
    }
}

/// Reads until `buffer` begins with a whole header.
async fn read_head(
    service: &Service,
    stream: &mut Stream,
    buffer: &mut BytesMut,
    first: bool,
    stopping: &mut ShutdownWatch,
) -> Result<Head, End> {
    let (limits, header, idle) = {
        let config = service.app.config();
        let idle = if first { Duration::ZERO } else { config.limits.client_idle.get() };
        (service.head_limits(), config.limits.client_header.get(), idle)
    };
    let mut scanner = Scanner::default();
    let mut patience = if buffer.is_empty() { idle + header } else { header };
    let mut deadline = Instant::now() + patience;
    let mut last_call = false;
    loop {
        if let Some(head) = scanner.scan(buffer, &limits).map_err(End::Refused)? {
            return Ok(head);
        }
        let was_empty = buffer.is_empty();
        buffer.reserve(HEADER_BYTES);
        let read = {
            let reading = timeout_at(deadline, stream.read_buf(buffer));
            tokio::select! {
                biased;
                read = reading => read,
                () = told_to_stop(stopping), if !last_call => {
                    last_call = true;
                    deadline = deadline.min(Instant::now() + LAST_CALL);
                    continue;
                }
            }
        };
        match read {
            Ok(Ok(len)) if len > 0 => {}
            Ok(Ok(_) | Err(_)) => return Err(End::Silent),
            Err(_) => {
                if !was_empty {
                    service.app.metrics.serving.refused_connection("header");
                }
                return Err(End::Silent);
            }
        }
        if was_empty && !last_call {
            // The first byte is there: from now on it is not idling.
            patience = header;
            deadline = Instant::now() + patience;
        }
    }
}

/// Answers the request whose header `buffer` begins with; what is left over belongs to the next one.
async fn answer(
    service: &Service,
    stream: Stream,
    buffer: BytesMut,
    head: Head,
    secure: bool,
) -> Option<(Stream, BytesMut)> {
    let app = &service.app;
    let (idle, header) = {
        let limits = &app.config().limits;
        (limits.client_idle.get(), limits.client_header.get())
    };
    let mut session = ServerSession::new_http1(stream);
    if let ServerSession::H1(session) = &mut session {
        session.set_pipelining_enabled(true);
        session.set_pipelined_prefix(buffer);
    }
    session.set_read_timeout(Some(header));
    // Slow readers are found where bytes leave for the socket.
    session.set_write_timeout(None);
    match timeout(header, session.read_request()).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) | Err(_) => return None,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a request could not be read");
            let error = EdgeError::BadPath("not HTTP".into());
            return leave(service, session, &error).await;
        }
    }
    // Reading the header has already decided whether the client may keep the connection (HTTP/1.0, `Connection:
    // close`): that is only ever taken away here, never given.
    let last = head.body || head.expects || head.upgrade || *app.stopping.borrow();
    let keep = session.get_keepalive().is_some() && !last;
    session.set_keepalive(keep.then(|| idle.as_secs().max(1)));
    // A client that waits to be asked for its body is answered at once: nobody wants the body.
    if head.body
        && !head.expects
        && let Err(error) = drain(service, &mut session, header).await
    {
        // The body's end is unknown, but nothing after it is ever read.
        return leave(service, session, &error).await;
    }
    match serve::request(app, &mut session, secure).await {
        Ended::Clean => {}
        // Dropping the session closes the connection without an end of the body; `finish` would write one.
        Ended::Broken => return None,
    }
    match session.finish().await {
        Ok(reusable) => reusable.map(|reusable| {
            let (stream, rest) = reusable.into_parts();
            (stream, rest.unwrap_or_default())
        }),
        Err(error) => {
            tracing::debug!(%error, "a response could not be finished");
            None
        }
    }
}

/// Reads a body away, so that the client reads our answer and not an error of its own.
async fn drain(service: &Service, session: &mut ServerSession, patience: Duration) -> Result<(), EdgeError> {
    let bytes_max = service.app.config().serving.request_body_bytes_max;
    let mut read = 0;
    let deadline = Instant::now() + patience;
    loop {
        match timeout_at(deadline, session.read_request_body()).await {
            Ok(Ok(Some(bytes))) => read += bytes.len() as u64,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(_)) => return Err(EdgeError::BadPath("the request's body is malformed".into())),
            Err(_) => return Err(EdgeError::BadPath("the request's body did not come in time".into())),
        }
        if read > bytes_max.bytes() {
            return Err(EdgeError::BodyTooLarge(format!("a body of more than {bytes_max}")));
        }
    }
}

/// Refuses the request of `session` and ends the connection.
async fn leave(service: &Service, session: ServerSession, error: &EdgeError) -> Option<(Stream, BytesMut)> {
    if let ServerSession::H1(session) = session {
        refuse(service, session.into_inner(), error).await;
    }
    None
}

/// Tells the client what is wrong with its request, and ends the connection: where the next one begins is unknown.
async fn refuse(service: &Service, mut stream: Stream, error: &EdgeError) {
    let status = error.answer().status;
    tracing::debug!(%error, "a request was refused");
    let line = format!("{error}\n");
    let socket = stream.get_socket_digest();
    let client = socket.as_ref().and_then(|socket| socket.peer_addr()?.as_inet()).map(SocketAddr::ip);
    serve::note_unread(&service.app, client, status.as_u16(), line.len() as u64);
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{line}",
        line.len()
    );
    let farewell = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await?;
        // Closing while the client still writes would take our answer from it before it has read it.
        let (mut read, mut piece) = (0, vec![0; 16 * 1024]);
        while read < LINGER_BYTES_MAX {
            match stream.read(&mut piece).await? {
                0 => break,
                len => read += len,
            }
        }
        Ok::<(), std::io::Error>(())
    };
    // Whether the client took it or not: this is the end.
    let _ = timeout(LINGER, farewell).await;
}
