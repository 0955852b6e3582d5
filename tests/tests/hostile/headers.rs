//! Headers of every kind at a running edge, for as long as `MODTIER_FUZZ_SECONDS` says (two seconds without it): the answer is
//! well-formed HTTP, says only what is true of what is held, and reflects nothing; the edge lives on.
//!
//! What conditions and ranges must make of an answer exactly is compared with an oracle beside the code
//! (`edge/src/respond/plan/fuzz.rs`); here it is the whole way from the socket and back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use modtier_tests::{LoneEdge, Origin, Seed, raw};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const ZIP: &str = "example.com/a/@v/v1.0.0.zip";
const LIMIT: Duration = Duration::from_secs(20);

/// Names that mean something to somebody.
const NAMES: &[&str] = &[
    "Range",
    "Range",
    "If-None-Match",
    "If-Modified-Since",
    "If-Range",
    "If-Match",
    "If-Unmodified-Since",
    "Via",
    "X-Request-Id",
    "Disable-Module-Fetch",
    "Host",
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Cookie",
    "X-Forwarded-For",
    "X-Original-URL",
    "Cache-Control",
    "Pragma",
    "TE",
    "Trailer",
    "Max-Forwards",
    "Forwarded",
    "X-Env",
    "Traceparent",
    "Connection",
    "Keep-Alive",
    "X-Min-Change-Id",
    "Age",
    "Date",
    "X-\u{e9}",
    "x",
];

/// Of which values are put together.
const TOKENS: &[&str] = &[
    "bytes=",
    "0-0",
    "5-",
    "-5",
    "0-1,3-4",
    "9999999-",
    "18446744073709551616",
    "-",
    "\"",
    "W/",
    "*",
    ",",
    ";",
    " ",
    "\t",
    "=",
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "1.1 edge",
    "true",
    "close",
    "keep-alive",
    "no-cache",
    "gzip",
    "trailers",
    "../",
    "%0d%0a",
    "\\r\\n",
    "<script>",
    "\u{e9}\u{4e2d}",
    "\u{7f}",
    "a",
    "0",
    "Basic ",
    "1763670000000-1",
];

/// Everything that an answer may carry.
const ANSWERED: &[&str] = &[
    "accept-ranges",
    "age",
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "keep-alive",
    "last-modified",
    "repr-digest",
    "retry-after",
    "via",
    "x-cache",
    "x-change-id",
    "x-content-type-options",
    "x-request-id",
    "x-served-by",
];

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Bytes,
}

struct Fuzz {
    random: Seed,
    zip: Bytes,
    etag: String,
}

impl Fuzz {
    fn value(&mut self) -> String {
        match self.random.within(0..12) {
            0 => self.etag.clone(),
            1 => format!("bytes={}-{}", self.random.within(0..400), self.random.within(0..400)),
            2 => format!("bytes=-{}", self.random.within(0..400)),
            3 => "x".repeat(usize::try_from(self.random.within(0..4000)).unwrap()),
            _ => (0..self.random.within(0..5)).map(|_| self.random.choice(TOKENS)).collect(),
        }
    }

    /// A request whose header is well formed, if odd, and its method.
    fn request(&mut self) -> (bool, String) {
        let is_head = self.random.within(0..4) == 0;
        let mut request = format!("{} /{ZIP} HTTP/1.1\r\n", if is_head { "HEAD" } else { "GET" });
        let mut has_host = false;
        for _ in 0..self.random.within(0..7) {
            let name = self.random.choice(NAMES);
            // A second Host is not well formed, and a name has no accents.
            if (name == "Host" && std::mem::replace(&mut has_host, true)) || !name.is_ascii() {
                continue;
            }
            let value = self.value().replace('\u{7f}', "");
            request.extend([name, ": ", &value, "\r\n"]);
        }
        if !has_host {
            request += "Host: edge\r\n";
        }
        (is_head, request + "\r\n")
    }

    /// A request that is damaged somewhere.
    fn damaged(&mut self) -> Vec<u8> {
        let mut bytes = self.request().1.into_bytes();
        for _ in 0..=self.random.within(0..3) {
            let at = usize::try_from(self.random.within(0..bytes.len() as u64)).unwrap();
            match self.random.within(0..5) {
                0 => bytes[at] = u8::try_from(self.random.within(0..256)).unwrap(),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, self.random.choice(b"\0\r\n :\t\x80\xff")),
                3 => drop(bytes.splice(at..at, self.random.choice(NAMES).bytes())),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    }

    /// Whether the answer says only what is true.
    fn judge(&self, answer: &Answer, is_head: bool, request: &str) -> Result<(), String> {
        let header = |name: &str| answer.headers.get(name).map_or("", String::as_str);
        if let Some(unknown) = answer.headers.keys().find(|name| !ANSWERED.contains(&name.as_str())) {
            return Err(format!("a header that nobody sends: {unknown}"));
        }
        let id_is_plain = header("x-request-id").bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let lower = request.to_lowercase();
        let right = match answer.status {
            200 => is_head || answer.body == self.zip,
            206 => !is_head && self.is_part(header("content-range"), &answer.body),
            304 => lower.contains("\nif-none-match:") || lower.contains("\nif-modified-since:"),
            412 => lower.contains("\nif-match:"),
            416 => !is_head && header("content-range") == format!("bytes */{}", self.zip.len()),
            // It names this edge among the tiers that it came through.
            508 => lower.contains("\nvia:"),
            // A well-formed request, but one that a strict reader may call doubtful.
            400 => lower.matches("\nconnection:").count() + lower.matches("\nhost:").count() > 1,
            _ => false,
        };
        if right && id_is_plain { Ok(()) } else { Err(format!("{} {:?}", answer.status, answer.headers)) }
    }

    fn is_part(&self, range: &str, body: &Bytes) -> bool {
        let numbers = || {
            let (part, whole) = range.strip_prefix("bytes ")?.split_once('/')?;
            let (first, last) = part.split_once('-')?;
            Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?, whole.parse::<usize>().ok()?))
        };
        numbers().is_some_and(|(first, last, whole)| {
            whole == self.zip.len() && self.zip.get(first..=last).is_some_and(|part| part == body)
        })
    }
}

/// One answer of a connection, read as strictly as HTTP allows; `None` when the connection was closed instead.
async fn read_answer(stream: &mut BufReader<TcpStream>, is_head: bool) -> Result<Option<Answer>, String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ if head.is_empty() => return Ok(None),
            _ => return Err(format!("a header without an end: {:?}", String::from_utf8_lossy(&head))),
        }
    }
    let text = String::from_utf8(head).map_err(|_| "a header that is no text".to_owned())?;
    let mut lines = text.trim_end().split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| format!("no status line: {first:?}"))?;
    let mut headers = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(|| format!("no header line: {line:?}"))?;
        let is_plain = value.bytes().all(|byte| (b' '..0x7f).contains(&byte));
        if !is_plain || headers.insert(name.to_lowercase(), value.to_owned()).is_some() {
            return Err(format!("a doubtful header line: {line:?}"));
        }
    }
    let mut body = Vec::new();
    if !is_head && status != 304 {
        let len = headers.get("content-length").and_then(|len: &String| len.parse().ok());
        body = vec![0; len.ok_or_else(|| format!("no length in {text:?}"))?];
        stream.read_exact(&mut body).await.map_err(|error| format!("a short body: {error}"))?;
    }
    Ok(Some(Answer { status, headers, body: body.into() }))
}

async fn scene() -> (Origin, LoneEdge, Fuzz) {
    let seed = Seed::announced("headers");
    let center = Origin::start().await;
    let zip = Bytes::from((0..300_u16).map(|index| u8::try_from(index % 251).unwrap()).collect::<Vec<_>>());
    center.set(ZIP, zip.clone());
    let edge = LoneEdge::before(&[&center])
        .env("MODTIER_EDGE_LIMITS_CLIENT_HEADER", "1s")
        .env("MODTIER_EDGE_LIMITS_CLIENT_IDLE", "1s")
        .start()
        .await;
    let reply = edge.web().get(ZIP).await;
    assert!(reply.is_whole());
    let etag = reply.header("etag").to_owned();
    (center, edge, Fuzz { random: seed, zip, etag })
}

fn length() -> Duration {
    let seconds = std::env::var("MODTIER_FUZZ_SECONDS").map_or(2, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

async fn connect(edge: &LoneEdge) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(raw::address(&edge.goproxy())).await.unwrap())
}

fn assert_alive(edge: &mut LoneEdge) {
    let log = edge.process.log();
    assert!(edge.process.exited().is_none() && !log.contains("panicked at"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_odd_headers_are_answered_rightly_and_the_connection_lives_on() {
    let (_center, mut edge, mut fuzz) = scene().await;
    let (begun, mut count, mut stream) = (Instant::now(), 0, connect(&edge).await);
    while begun.elapsed() < length() {
        let (is_head, request) = fuzz.request();
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(LIMIT, read_answer(&mut stream, is_head)).await;
        let answer = answer.unwrap_or_else(|_| Err("neither an answer nor an end".to_owned()));
        let judged = answer.and_then(|answer| {
            let answer = answer.ok_or("closed without an answer")?;
            let closes = answer.headers.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
            fuzz.judge(&answer, is_head, &request).map(|()| closes)
        });
        let closes = judged.unwrap_or_else(|error| panic!("{error}\nafter {request:?}"));
        if closes {
            stream = connect(&edge).await;
        }
        count += 1;
    }
    println!("headers: {count} requests");
    assert_alive(&mut edge);
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzz_damaged_headers_get_an_answer_or_an_end_and_harm_nobody() {
    let (_center, mut edge, mut fuzz) = scene().await;
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < length() {
        // Many at one time, as one that is cut short waits for the edge's patience to end.
        let requests: Vec<_> = (0..64).map(|_| fuzz.damaged()).collect();
        let base = edge.goproxy();
        let replies = requests.iter().map(|request| raw::exchange(&base, request, LIMIT));
        // A well-formed request after the damaged one must not become part of it: each has its own connection.
        for (request, reply) in requests.iter().zip(futures_util::future::join_all(replies).await) {
            let shown = String::from_utf8_lossy(request);
            assert!(reply.closed || reply.status() != 0, "neither an answer nor an end after {shown:?}");
            assert!(
                reply.statuses().iter().all(|status| *status < 500 || *status == 508),
                "{}\nafter {shown:?}",
                reply.text()
            );
            count += 1;
        }
        assert!(edge.web().get(ZIP).await.body == fuzz.zip);
    }
    println!("damaged headers: {count} requests");
    assert_alive(&mut edge);
}
