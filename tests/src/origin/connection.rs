//! One connection to an origin: requests in, scripted answers out.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::catalog::Body;
use super::face::{self as administration, Face};
use super::{Fault, Seen, State, lock};

/// Whether the connection may carry another request.
enum Then {
    Next,
    Close,
}

pub(super) async fn serve(stream: TcpStream, state: Arc<State>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    while let Ok(Some((seen, target))) = read_request(&mut stream).await {
        let asked = Asked::of(&seen, &target);
        let body = lock(&state.catalog).get(&seen.path);
        let fault = lock(&state.script).take(&seen.path);
        lock(&state.seen).push(seen);
        let latency = *lock(&state.latency);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let answer = Answer { body, asked };
        match answer.send(&mut stream, fault).await {
            Ok(Then::Next) => {}
            Ok(Then::Close) | Err(_) => break,
        }
    }
}

/// What decides the form of an answer.
struct Asked {
    target: String,
    is_head: bool,
    /// `If-None-Match`.
    known: Option<String>,
    /// `If-Match`.
    wanted: Option<String>,
    /// The first byte that is asked for, where the rest of a body is.
    from: Option<usize>,
    face: Face,
}

impl Asked {
    fn of(seen: &Seen, target: &str) -> Self {
        let from = seen.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        Self {
            target: target.to_owned(),
            is_head: seen.method == "HEAD",
            known: seen.header("if-none-match").map(str::to_owned),
            wanted: seen.header("if-match").map(str::to_owned),
            from,
            face: seen.face,
        }
    }
}

struct Answer {
    body: Option<Body>,
    asked: Asked,
}

impl Answer {
    async fn send(self, stream: &mut BufReader<TcpStream>, fault: Option<Fault>) -> io::Result<Then> {
        match fault {
            None => self.right(stream).await,
            Some(Fault::ResetAtOnce) => reset(stream),
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                self.right(stream).await
            }
            Some(Fault::Status(status)) => plain(stream, status, "", self.line("scripted")).await,
            Some(Fault::Answer(status, more, body)) => {
                let body = if self.asked.is_head { Bytes::new() } else { body };
                let len = body.len();
                let head = format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {len}\r\n{more}\r\n");
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body).await?;
                Ok(Then::Next)
            }
            Some(Fault::TooMany(seconds)) => {
                plain(stream, 429, &format!("Retry-After: {seconds}\r\n"), self.line("scripted")).await
            }
            // The other faults break bodies, and these have none that could break.
            Some(_) if self.asked.is_head || self.asked.face == Face::Administration => self.right(stream).await,
            Some(Fault::Endless(bytes)) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
                loop {
                    stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
                    stream.write_all(&bytes).await?;
                    stream.write_all(b"\r\n").await?;
                }
            }
            Some(Fault::Replace(bytes)) => self.whole(stream, &bytes).await,
            Some(Fault::Stall(len)) => {
                self.part(stream, len).await?;
                // Until the client gives up: its end of the connection closes.
                stream.read_to_end(&mut Vec::new()).await?;
                Ok(Then::Close)
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
            Some(Fault::Flip(at)) => {
                let mut bytes = self.bytes().to_vec();
                if let Some(last) = bytes.len().checked_sub(1) {
                    bytes[at.min(last)] ^= 0xff;
                }
                self.whole(stream, &bytes).await
            }
            Some(Fault::Slow(rate)) => self.slow(stream, rate).await,
        }
    }

    async fn right(self, stream: &mut BufReader<TcpStream>) -> io::Result<Then> {
        if self.asked.face == Face::Administration {
            let (head, text) = administration::answer(&self.asked.target).await;
            return plain(stream, 200, &head, self.line(&text)).await;
        }
        let Some(body) = &self.body else {
            return plain(stream, 404, "", self.line("not found: no such file")).await;
        };
        if self.asked.known.as_ref() == Some(&body.etag) {
            stream.write_all(format!("HTTP/1.1 304 Not Modified\r\nETag: {}\r\n\r\n", body.etag).as_bytes()).await?;
            return Ok(Then::Next);
        }
        if self.asked.wanted.as_ref().is_some_and(|wanted| *wanted != body.etag) {
            return plain(stream, 412, "", self.line("another body by now")).await;
        }
        self.whole(stream, &self.bytes()).await
    }

    /// These bytes with the head of the right answer.
    async fn whole(&self, stream: &mut BufReader<TcpStream>, bytes: &[u8]) -> io::Result<Then> {
        self.head(stream, bytes.len()).await?;
        if !self.asked.is_head {
            stream.write_all(bytes).await?;
        }
        Ok(Then::Next)
    }

    /// The bytes of the right answer: the whole body, or its rest.
    fn bytes(&self) -> Bytes {
        let whole = self.body.as_ref().map(|body| body.bytes.clone()).unwrap_or_default();
        whole.slice(self.start().unwrap_or(0)..)
    }

    /// Where the rest begins, if only the rest is asked for. Only a center's face knows ranges.
    fn start(&self) -> Option<usize> {
        let len = self.body.as_ref()?.bytes.len();
        self.asked.from.filter(|&from| self.asked.face == Face::Center && from < len)
    }

    async fn head(&self, stream: &mut BufReader<TcpStream>, len: usize) -> io::Result<()> {
        let head = match (self.start(), &self.body) {
            (Some(start), Some(body)) => {
                let whole = body.bytes.len();
                format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{}/{whole}\r\n", whole - 1)
            }
            _ => "HTTP/1.1 200 OK\r\n".to_owned(),
        };
        let rest = format!("Content-Length: {len}\r\n{}\r\n", self.about());
        stream.write_all((head + &rest).as_bytes()).await
    }

    /// What the head says of the body besides its length.
    fn about(&self) -> String {
        let Some(body) = &self.body else { return String::new() };
        let etag = format!("ETag: {}\r\n", body.etag);
        if self.asked.face == Face::Center { etag + &body.proof } else { etag }
    }

    async fn part(&self, stream: &mut BufReader<TcpStream>, len: usize) -> io::Result<()> {
        let bytes = self.bytes();
        let is_part = len < bytes.len() || bytes.is_empty() || self.asked.face == Face::Center;
        assert!(is_part, "a part of {len} bytes of {} is no part", bytes.len());
        self.head(stream, bytes.len()).await?;
        stream.write_all(&bytes[..len.min(bytes.len().saturating_sub(1))]).await?;
        stream.flush().await
    }

    async fn chunked_part(&self, stream: &mut BufReader<TcpStream>, len: usize) -> io::Result<Then> {
        let bytes = self.bytes();
        let part = &bytes[..len.min(bytes.len())];
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{}\r\n", self.about());
        stream.write_all(head.as_bytes()).await?;
        for chunk in part.chunks(8 * 1024) {
            stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
            stream.write_all(chunk).await?;
            stream.write_all(b"\r\n").await?;
        }
        stream.shutdown().await?;
        Ok(Then::Close)
    }

    async fn slow(&self, stream: &mut BufReader<TcpStream>, rate: usize) -> io::Result<Then> {
        let bytes = self.bytes();
        self.head(stream, bytes.len()).await?;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for chunk in bytes.chunks((rate / 50).max(1)) {
            ticks.tick().await;
            stream.write_all(chunk).await?;
            stream.flush().await?;
        }
        Ok(Then::Next)
    }

    /// A short text, or nothing where only the head is asked for.
    fn line<'a>(&self, text: &'a str) -> &'a str {
        if self.asked.is_head { "" } else { text }
    }
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
async fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<(Seen, String)>> {
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
    let (face, below) = Face::of(target.trim_start_matches('/'));
    Ok(Some((Seen { method, face, path: decode(below), headers, at: Instant::now() }, target.clone())))
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
