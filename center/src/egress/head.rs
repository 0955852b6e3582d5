//! The head of a request or an answer around a tunnel: read byte by byte, and understood.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::USER;

/// Longest head in bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// What a client asks for.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) target: String,
    /// The password of the pass, if one was sent.
    pub(super) secret: Option<String>,
}

/// Everything up to the empty line, and not a byte more: what follows belongs to the tunnel.
pub(super) async fn read_head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(256);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(client.read_u8().await?);
    }
    Ok(head)
}

/// What a head asks for, if it is one.
pub(super) fn parse(head: &[u8]) -> Option<Asked> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if !version.starts_with("HTTP/1.") || words.next().is_some() {
        return None;
    }
    let secret = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let credential = value.trim().strip_prefix("Basic ")?;
        name.eq_ignore_ascii_case("proxy-authorization").then(|| secret_of(credential)).flatten()
    });
    Some(Asked { method: method.to_owned(), target: target.to_owned(), secret })
}

fn secret_of(credential: &str) -> Option<String> {
    let decoded = String::from_utf8(STANDARD.decode(credential.trim()).ok()?).ok()?;
    decoded.strip_prefix(USER)?.strip_prefix(':').map(str::to_owned)
}
