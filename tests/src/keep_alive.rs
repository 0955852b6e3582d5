//! A connection that asks one thing after another and reads bodies piece by piece: for benches, where a client must cost little.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::raw;

/// A connection reads so much before others of its thread have a turn, as a thousand clients of their own would.
const TURN_BYTES: usize = 256 * 1024;

/// A connection to a server.
#[derive(Debug)]
pub struct KeepAlive(BufReader<TcpStream>);

impl KeepAlive {
    /// Connects to `base` (`http://host:port`).
    ///
    /// # Errors
    /// What connecting says.
    pub async fn to(base: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(raw::address(base)).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::with_capacity(64 * 1024, stream)))
    }

    /// GET; `on_body` sees the body piece by piece. Returns the header's lines in lower case.
    ///
    /// # Errors
    /// An answer other than a whole 200.
    pub async fn get(&mut self, path: &str, mut on_body: impl FnMut(&[u8])) -> io::Result<String> {
        self.0.write_all(format!("GET /{path} HTTP/1.1\r\nHost: edge\r\n\r\n").as_bytes()).await?;
        let (mut head, mut end) = (String::new(), 0);
        while head[end..].trim_end() != "" || end == 0 {
            end = head.len();
            if self.0.read_line(&mut head).await? == 0 {
                return Err(io::Error::other(format!("the connection ended after {head:?}")));
            }
        }
        head.make_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(io::Error::other(format!("answered {head:?}")));
        }
        if let Some(len) = header(&head, "content-length") {
            self.piece(len.parse().map_err(io::Error::other)?, &mut on_body).await?;
            return Ok(head);
        }
        let mut line = String::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).await?;
            let len = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            self.piece(len, &mut on_body).await?;
            line.clear();
            self.0.read_line(&mut line).await?;
            if len == 0 {
                return Ok(head);
            }
        }
    }

    async fn piece(&mut self, mut left: usize, on_body: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let mut in_a_row = 0;
        while left > 0 {
            let bytes = self.0.fill_buf().await?;
            if bytes.is_empty() {
                return Err(io::Error::other("a short body"));
            }
            let taken = bytes.len().min(left);
            on_body(&bytes[..taken]);
            self.0.consume(taken);
            left -= taken;
            in_a_row += taken;
            if in_a_row >= TURN_BYTES {
                in_a_row = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

/// A header's text, of a head in lower case.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}
