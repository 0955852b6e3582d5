//! HTTP/2 frames as no library would send them, over a connection without TLS.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::raw::address;

/// DATA.
pub const DATA: u8 = 0;
/// HEADERS.
pub const HEADERS: u8 = 1;
/// `RST_STREAM`.
pub const RESET: u8 = 3;
/// SETTINGS.
pub const SETTINGS: u8 = 4;
/// GOAWAY.
pub const GOAWAY: u8 = 7;
/// `WINDOW_UPDATE`.
pub const WINDOW: u8 = 8;
/// CONTINUATION.
pub const CONTINUATION: u8 = 9;
/// `END_STREAM`, and ACK of SETTINGS.
pub const END_STREAM: u8 = 1;
/// `END_HEADERS`.
pub const END_HEADERS: u8 = 4;

/// A header block that begins with `:status: 200`.
pub const STATUS_200: u8 = 0x88;

/// A frame (RFC 9113, section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0: the connection.
    pub stream: u32,
    /// What follows.
    pub payload: Vec<u8>,
}

/// A connection.
#[derive(Debug)]
pub struct Frames {
    stream: TcpStream,
}

impl Frames {
    /// Connects and sends the preface and SETTINGS with this initial window.
    ///
    /// # Panics
    /// When the server does not take the connection.
    pub async fn connect(base: &str, window: u32) -> Self {
        let stream = TcpStream::connect(address(base)).await.expect("the server listens");
        let mut this = Self { stream };
        let mut settings = vec![0, 4];
        settings.extend_from_slice(&window.to_be_bytes());
        let mut begun = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        begun.extend(encode(SETTINGS, 0, 0, &settings));
        assert!(this.write(&begun).await, "the server takes the preface");
        this
    }

    /// Sends bytes; false: the server has closed, or takes nothing for ten seconds.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(Duration::from_secs(10), self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Sends a frame; false: the server has closed.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write(&encode(kind, flags, stream, payload)).await
    }

    /// Sends a complete GET.
    pub async fn get(&mut self, stream: u32, path: &str) -> bool {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &get_block(path)).await
    }

    /// The next frame; none: the server has closed or said nothing within `limit`.
    pub async fn next(&mut self, limit: Duration) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; len];
            self.stream.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        timeout(limit, read).await.ok().flatten()
    }

    /// All frames until `last` holds for one, which is the last of them, or the server closes or falls silent.
    pub async fn until(&mut self, limit: Duration, last: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next(limit).await {
            let done = last(&frame);
            frames.push(frame);
            if done {
                break;
            }
        }
        frames
    }
}

/// A frame's bytes.
///
/// # Panics
/// When the payload is longer than a frame can be.
pub fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a test's frame is short").to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The header block of a GET.
pub fn get_block(path: &str) -> Vec<u8> {
    // Indexed fields of HPACK's static table: `:method: GET`, `:scheme: http`; then `:path` and `:authority`.
    let mut block = vec![0x82, 0x86];
    block.extend(literal(&[0x04], path));
    block.extend(literal(&[0x01], "modtier"));
    block
}

/// A literal field without indexing: its name's index, or 0 and the name; then its value.
///
/// # Panics
/// When the value has more than 126 bytes.
pub fn literal(name: &[u8], value: &str) -> Vec<u8> {
    assert!(value.len() < 127, "a length of one byte");
    let mut field = name.to_vec();
    field.push(u8::try_from(value.len()).unwrap_or_default());
    field.extend_from_slice(value.as_bytes());
    field
}

/// A literal field with a name of its own.
///
/// # Panics
/// When name or value have more than 126 bytes.
pub fn named(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0x00];
    field.extend(literal(&[], name));
    field.extend(literal(&[], value));
    field
}
