//! Bytes over TCP that no well-behaved client sends.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug, Clone)]
pub struct RawReply {
    /// All bytes until the server closed the connection or the limit.
    pub bytes: Vec<u8>,
    /// Whether the server closed the connection within the limit.
    pub closed: bool,
}

impl RawReply {
    /// The statuses of all answers, in order.
    pub fn statuses(&self) -> Vec<u16> {
        let text = String::from_utf8_lossy(&self.bytes);
        text.split("HTTP/1.").skip(1).filter_map(|part| part.get(2..5)?.parse().ok()).collect()
    }

    /// The status of the first answer, 0 when there was none.
    pub fn status(&self) -> u16 {
        self.statuses().first().copied().unwrap_or(0)
    }

    /// Everything as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Sends `request` to `base` (`http://host:port`) and reads until the server closes or `limit` is over.
pub async fn exchange(base: &str, request: &[u8], limit: Duration) -> RawReply {
    let mut reply = RawReply { bytes: Vec::new(), closed: false };
    let Ok(mut stream) = TcpStream::connect(address(base)).await else { return reply };
    let talk = async {
        // A server that refuses early closes while we still write: what it said counts, not our error.
        let _ = stream.write_all(request).await;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(len) => reply.bytes.extend_from_slice(&buffer[..len]),
            }
        }
    };
    let closed = tokio::time::timeout(limit, talk).await.is_ok();
    reply.closed = closed;
    reply
}

/// A GET of a raw target that asks the server to close afterwards.
pub async fn get(base: &str, target: &str) -> RawReply {
    method(base, "GET", target).await
}

/// A request without a body that asks the server to close afterwards.
pub async fn method(base: &str, method: &str, target: &str) -> RawReply {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: modtier\r\nConnection: close\r\n\r\n");
    exchange(base, request.as_bytes(), Duration::from_secs(10)).await
}

/// `host:port` of a URL.
pub fn address(base: &str) -> &str {
    let rest = base.strip_prefix("http://").unwrap_or(base);
    rest.split('/').next().unwrap_or(rest)
}
