//! One connection to an origin: requests in, scripted answers out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::catalog::Body;
use super::{Fault, Seen, State, lock};

/// Whether the connection may carry another request.
enum Then {
    Next,
    Close,
}

pub(super) async fn serve(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    while let Ok(Some(seen)) = read_request(&mut stream).await {
        let (path, is_head) = (seen.path.clone(), seen.method == "HEAD");
        let known = seen.header("if-none-match").map(str::to_owned);
        let body = lock(&state.catalog).get(&path);
        lock(&state.seen).push(seen);
        let fault = lock(&state.script).take(&path);
        let answer = Answer { body, is_head, known };
        match answer.send(&mut stream, fault).await {
            Ok(Then::Next) => {}
            Ok(Then::Close) | Err(_) => break,
        }
    }
}

struct Answer {
    body: Option<Body>,
    is_head: bool,
    known: Option<String>,
}

impl Answer {
    async fn send(self, stream: &mut BufReader<TcpStream>, fault: Option<Fault>) -> io::Result<Then> {
        match fault {
            None => self.whole(stream).await,
            Some(Fault::ResetAtOnce) => reset(stream),
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                self.whole(stream).await
            }
            Some(Fault::Status(status)) => plain(stream, status, "", "scripted").await,
            Some(Fault::TooMany(seconds)) => {
                plain(stream, 429, &format!("Retry-After: {seconds}\r\n"), "scripted").await
            }
            Some(Fault::Replace(bytes)) => {
                head(stream, bytes.len(), "").await?;
                stream.write_all(&bytes).await?;
                Ok(Then::Next)
            }
            Some(Fault::Stall(len)) => {
                self.part(stream, len).await?;
                std::future::pending().await
            }
            Some(Fault::Truncate(len)) => {
                self.part(stream, len).await?;
                stream.shutdown().await?;
                Ok(Then::Close)
            }
            Some(Fault::Reset(len)) => {
                self.part(stream, len).await?;
                reset(stream)
            }
            Some(Fault::TruncateChunked(len)) => self.chunked_part(stream, len).await,
            Some(Fault::Flip(at)) => self.flipped(stream, at).await,
            Some(Fault::Slow(rate)) => self.slow(stream, rate).await,
        }
    }

    async fn whole(self, stream: &mut BufReader<TcpStream>) -> io::Result<Then> {
        let Some(body) = self.body else { return plain(stream, 404, "", "not found: no such file").await };
        if self.known.as_ref() == Some(&body.etag) {
            stream.write_all(format!("HTTP/1.1 304 Not Modified\r\nETag: {}\r\n\r\n", body.etag).as_bytes()).await?;
            return Ok(Then::Next);
        }
        head(stream, body.bytes.len(), &format!("ETag: {}\r\n", body.etag)).await?;
        if !self.is_head {
            stream.write_all(&body.bytes).await?;
        }
        Ok(Then::Next)
    }

    fn bytes(self) -> Bytes {
        self.body.map(|body| body.bytes).unwrap_or_default()
    }

    async fn part(self, stream: &mut BufReader<TcpStream>, len: usize) -> io::Result<()> {
        let bytes = self.bytes();
        assert!(len < bytes.len() || bytes.is_empty(), "a part of {len} bytes of {} is no part", bytes.len());
        head(stream, bytes.len(), "").await?;
        stream.write_all(&bytes[..len.min(bytes.len())]).await?;
        stream.flush().await
    }

    async fn chunked_part(self, stream: &mut BufReader<TcpStream>, len: usize) -> io::Result<Then> {
        let bytes = self.bytes();
        let part = &bytes[..len.min(bytes.len())];
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
        for chunk in part.chunks(8 * 1024) {
            stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
            stream.write_all(chunk).await?;
            stream.write_all(b"\r\n").await?;
        }
        stream.shutdown().await?;
        Ok(Then::Close)
    }

    async fn flipped(self, stream: &mut BufReader<TcpStream>, at: usize) -> io::Result<Then> {
        let mut bytes = self.bytes().to_vec();
        bytes[at] ^= 0xff;
        head(stream, bytes.len(), "").await?;
        stream.write_all(&bytes).await?;
        Ok(Then::Next)
    }

    async fn slow(self, stream: &mut BufReader<TcpStream>, rate: usize) -> io::Result<Then> {
        let bytes = self.bytes();
        head(stream, bytes.len(), "").await?;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for chunk in bytes.chunks((rate / 50).max(1)) {
            ticks.tick().await;
            stream.write_all(chunk).await?;
            stream.flush().await?;
        }
        Ok(Then::Next)
    }
}

async fn head(stream: &mut BufReader<TcpStream>, len: usize, more: &str) -> io::Result<()> {
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n{more}\r\n").as_bytes()).await
}

async fn plain(stream: &mut BufReader<TcpStream>, status: u16, more: &str, text: &str) -> io::Result<Then> {
    let len = text.len();
    let answer =
        format!("HTTP/1.1 {status} Scripted\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n{more}\r\n{text}");
    stream.write_all(answer.as_bytes()).await?;
    Ok(Then::Next)
}

/// Closing with a linger of zero sends RST instead of FIN.
fn reset(stream: &BufReader<TcpStream>) -> io::Result<Then> {
    stream.get_ref().set_zero_linger()?;
    Ok(Then::Close)
}

/// The next request, or `None` at the end of the connection.
async fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Seen>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_lowercase(), value.trim().to_owned()));
        }
    }
    Ok(Some(Seen { method, path: decode(target.trim_start_matches('/')), headers }))
}

/// Undoes percent-encoding; `go` writes `%21` for `!`.
fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits: Vec<u8> = bytes.by_ref().take(2).collect();
        let digits = String::from_utf8_lossy(&digits).into_owned();
        out.push(u8::from_str_radix(&digits, 16).expect("clients of the origin encode rightly"));
    }
    String::from_utf8_lossy(&out).into_owned()
}
