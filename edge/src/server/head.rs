//! Where an HTTP/1 request's header ends, and whether it says in one way only where the request ends.
//!
//! Whoever stands before us may read a doubtful header in another way than we do, and then what it takes for a body is the
//! next request here. So nothing is repaired: lines end with CR LF, names have no spaces, nothing is folded, a length is
//! digits and stands once, and there is never a length beside a transfer coding (RFC 9112, sections 2.2, 5 and 6). Pingora
//! parses the header after this check.

use crate::error::EdgeError;

/// How large a header may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadLimits {
    /// All of it, in bytes.
    pub(super) bytes: usize,
    /// Header lines.
    pub(super) lines: usize,
    /// The request target, in bytes.
    pub(super) target: usize,
    /// The body that a length announces.
    pub(super) body: u64,
}

/// A header that is whole and sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// Whether a body follows.
    pub(super) body: bool,
    /// Whether the client waits to be asked for its body.
    pub(super) expects: bool,
    /// Whether the client would like to speak something else from here on.
    pub(super) upgrade: bool,
}

/// Finds a header's end in bytes that arrive piece by piece, looking at each byte once.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    seen: usize,
    line_start: usize,
    lines: usize,
}

impl Scanner {
    /// The header, once `buffer` holds all of it. `buffer` only ever grows between calls.
    pub(super) fn scan(&mut self, buffer: &[u8], limits: &HeadLimits) -> Result<Option<Head>, EdgeError> {
        if buffer.first().is_some_and(|byte| !is_token(*byte)) {
            return Err(malformed("the request does not begin with a method"));
        }
        while let Some(at) = memchr::memchr(b'\n', &buffer[self.seen..]) {
            let end = self.seen + at;
            if end == self.line_start || buffer[end - 1] != b'\r' {
                return Err(malformed("a line of the header does not end with CR LF"));
            }
            let is_last = end - 1 == self.line_start;
            self.seen = end + 1;
            self.line_start = self.seen;
            if end >= limits.bytes {
                break;
            }
            if is_last {
                return parse(&buffer[..self.seen], limits).map(Some);
            }
            self.lines += 1;
            if self.lines > limits.lines + 1 {
                return Err(EdgeError::HeaderTooLarge(format!("more than {} header lines", limits.lines)));
            }
        }
        self.seen = self.seen.max(buffer.len());
        // Room for the method and the version beside the target.
        if self.lines == 0 && self.seen > limits.target + 64 {
            return Err(target_too_long(limits));
        }
        if self.seen >= limits.bytes {
            return Err(EdgeError::HeaderTooLarge(format!("a header of more than {} bytes", limits.bytes)));
        }
        Ok(None)
    }
}

fn malformed(reason: &str) -> EdgeError {
    EdgeError::BadPath(reason.to_owned())
}

fn target_too_long(limits: &HeadLimits) -> EdgeError {
    EdgeError::TargetTooLong(format!("a path of more than {} bytes", limits.target))
}

/// Checks a whole header, whose lines are known to end with CR LF.
fn parse(head: &[u8], limits: &HeadLimits) -> Result<Head, EdgeError> {
    let mut lines = Lines(head);
    let is_1_1 = request_line(lines.next().unwrap_or_default(), limits)?;
    let mut found = Found::default();
    for line in lines.take_while(|line| !line.is_empty()) {
        found.line(line)?;
    }
    if found.hosts > 1 || (is_1_1 && found.hosts == 0) {
        return Err(malformed("the header must have one Host"));
    }
    if found.chunked && (found.length.is_some() || !is_1_1) {
        return Err(malformed("the header says in two ways where the request ends"));
    }
    if found.length.is_some_and(|length| length > limits.body) {
        return Err(EdgeError::BodyTooLarge(format!("a body of more than {} bytes", limits.body)));
    }
    let body = found.chunked || found.length.is_some_and(|length| length > 0);
    Ok(Head { body, expects: found.expects, upgrade: found.upgrade })
}

/// Whether it is HTTP/1.1 (and not 1.0).
fn request_line(line: &[u8], limits: &HeadLimits) -> Result<bool, EdgeError> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed("the first line must be a method, a path and a version"));
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(malformed("the method is no method"));
    }
    if target.len() > limits.target {
        return Err(target_too_long(limits));
    }
    // The other forms of a target are for proxies of another kind.
    if target.first() != Some(&b'/') || !target.iter().all(u8::is_ascii_graphic) {
        return Err(malformed("the path does not begin with a slash, or has a byte that must be escaped"));
    }
    match version {
        b"HTTP/1.1" => Ok(true),
        b"HTTP/1.0" => Ok(false),
        _ => Err(malformed("neither HTTP/1.1 nor HTTP/1.0")),
    }
}

/// What the header lines said.
#[derive(Debug, Default)]
struct Found {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    expects: bool,
    upgrade: bool,
}

impl Found {
    fn line(&mut self, line: &[u8]) -> Result<(), EdgeError> {
        let colon = memchr::memchr(b':', line).ok_or_else(|| malformed("a header line without a colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Also refuses a space before the colon and a folded line, which begins with one.
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(malformed("the name of a header has a byte that does not belong there"));
        }
        if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
            return Err(malformed("the value of a header has a byte that does not belong there"));
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.hosts += 1,
            6 if name.eq_ignore_ascii_case(b"expect") => self.expects = true,
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(malformed("the only transfer coding is chunked, and once"));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), EdgeError> {
        let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        if !digits || self.length.is_some() {
            return Err(malformed("Content-Length must be one number"));
        }
        self.length = Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        Ok(())
    }
}

/// The lines of a header, without their CR LF.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\n', self.0)?;
        let (line, rest) = self.0.split_at(end + 1);
        self.0 = rest;
        Some(&line[..end - 1])
    }
}

/// A byte of a token (RFC 9110, section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 1000, lines: 10, target: 100, body: 1_000_000 };

    fn scan(request: &[u8]) -> Result<Option<Head>, EdgeError> {
        Scanner::default().scan(request, &LIMITS)
    }

    fn with(lines: &str) -> Result<Option<Head>, EdgeError> {
        scan(format!("GET /a HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes())
    }

    #[test]
    fn a_header_is_found_however_it_is_cut() {
        let request = b"GET /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 12\r\n\r\nbody and more";
        let end = request.len() - "body and more".len();
        for step in 1..=request.len() {
            let mut scanner = Scanner::default();
            let found = (step..request.len() + step).step_by(step).find_map(|len| {
                let head = scanner.scan(&request[..len.min(request.len())], &LIMITS).unwrap();
                head.map(|head| (len, head))
            });
            let (len, head) = found.unwrap();
            assert!(len >= end && len < end + step, "not before its end, and at once: {len}");
            assert_eq!(head, Head { body: true, expects: true, upgrade: false });
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_malformed() {
        let doubtful: [&str; 25] = [
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\ncontent-length: 2\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: 0x1\r\n",
            "Content-Length: 1 1\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551617\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunked\x0b\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding\t: chunked\r\n",
            " Transfer-Encoding: chunked\r\n",
            "X: 1\r\n folded\r\n",
            "X: 1\rContent-Length: 1\r\n",
            "X: 1\nContent-Length: 1\r\n",
            "X: a\0b\r\n",
            "no colon\r\n",
            "Host: b\r\n",
        ];
        for lines in doubtful {
            assert!(matches!(with(lines), Err(EdgeError::BadPath(_))), "{lines:?}: {:?}", with(lines));
        }
    }

    #[test]
    fn first_lines_that_are_none() {
        let wrong: [&[u8]; 13] = [
            b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            b" GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET  /a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a\tHTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a\r\n\r\n",
            b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET /a http/1.1\r\nHost: a\r\n\r\n",
            b"GET http://b/a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a HTTP/1.1\r\n\r\n",
        ];
        for request in wrong {
            let text = String::from_utf8_lossy(request);
            assert!(matches!(scan(request), Err(EdgeError::BadPath(_))), "{text:?}");
        }
        assert!(matches!(scan(b"\x16\x03\x01"), Err(EdgeError::BadPath(_))), "TLS is not HTTP: said at once");
        assert!(scan(b"GET /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(scan(b"GET /a HTTP/1.0\r\n\r\n").is_ok_and(|head| head.is_some()));
    }

    #[test]
    fn every_limit_holds_before_the_header_is_whole() {
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(100));
        assert!(matches!(scan(long.as_bytes()), Ok(None)), "judged when it is whole");
        assert!(matches!(scan(format!("{long}Host: a\r\n\r\n").as_bytes()), Err(EdgeError::TargetTooLong(_))));
        assert!(matches!(scan(&[b'a'; 200]), Err(EdgeError::TargetTooLong(_))));
        let lines = "GET /a HTTP/1.1\r\n".to_owned() + &"X: y\r\n".repeat(11);
        assert!(matches!(scan(lines.as_bytes()), Err(EdgeError::HeaderTooLarge(_))));
        let bytes = format!("GET /a HTTP/1.1\r\nX: {}", "y".repeat(1000));
        assert!(matches!(scan(bytes.as_bytes()), Err(EdgeError::HeaderTooLarge(_))));
        assert!(matches!(scan(format!("{bytes}\r\n\r\n").as_bytes()), Err(EdgeError::HeaderTooLarge(_))));
        assert!(matches!(with("Content-Length: 1000001\r\n"), Err(EdgeError::BodyTooLarge(_))));
    }

    #[test]
    fn what_clients_really_send_passes() {
        let head =
            with("User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\nX-Utf8: \u{e9}\r\nEmpty:\r\n").unwrap();
        assert_eq!(head, Some(Head { body: false, expects: false, upgrade: false }));
        let head = with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n").unwrap();
        assert!(head.unwrap().upgrade);
        assert!(!with("Content-Length: 0\r\n").unwrap().unwrap().body);
    }
}
