//! Requests that can be read in two ways: what one server takes for a body is the next request to another. Each gets one
//! refusal and an end, or one answer; what was smuggled is never answered and never asked of anybody.

use std::time::Duration;

use modtier_tests::{Cluster, Module, Origin, raw};

/// What must never be served: it stands in bodies, behind them, and in headers.
const HIDDEN: &str = "GET /example.com/hidden/@v/list HTTP/1.1\r\nHost: a\r\n\r\n";

/// Header lines after `Host: a`, and what follows the header; `§` is the smuggled request.
const DOUBTFUL: &[(&str, &str)] = &[
    // CL.TE and TE.CL.
    ("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n§"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5c\r\n§\r\n0\r\n\r\n"),
    ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n§"),
    // TE.TE: one of two servers does not see the second, or the odd one.
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n§"),
    ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n§"),
    ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n§"),
    ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n§"),
    ("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n§"),
    ("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n§"),
    ("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n§"),
    ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n§"),
    ("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n§"),
    (" Transfer-Encoding: chunked\r\n", "0\r\n\r\n§"),
    ("X: y\r\n Transfer-Encoding: chunked\r\n", "0\r\n\r\n§"),
    ("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n§"),
    ("X: y\rTransfer-Encoding: chunked\r\n", "0\r\n\r\n§"),
    ("X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n§"),
    ("Transfer-Encoding: chunked\n", "0\r\n\r\n§"),
    ("Transfer-Encoding: chunked\r\r\n", "0\r\n\r\n§"),
    // Lengths.
    ("Content-Length: 0\r\nContent-Length: 0\r\n", "§"),
    ("Content-Length: 0\r\nContent-Length: 55\r\n", "§"),
    ("Content-Length: 55\r\nContent-Length: 0\r\n", "§"),
    ("Content-Length: 0, 0\r\n", "§"),
    ("Content-Length: 0,55\r\n", "§"),
    ("Content-Length: +0\r\n", "§"),
    ("Content-Length: -0\r\n", "§"),
    ("Content-Length: 0x0\r\n", "§"),
    ("Content-Length: 0 0\r\n", "§"),
    ("Content-Length: 0\x0c\r\n", "§"),
    ("Content-Length:\r\n", "§"),
    ("Content-Length: 18446744073709551616\r\n", "§"),
    ("Content-Length : 0\r\n", "§"),
    ("Content-Length\0: 0\r\n", "§"),
    ("Content-Length: \u{0663}\r\n", "§"),
    // Lines.
    ("X: a\0b\r\n", "§"),
    ("X: a\r\n\tfolded\r\n", "§"),
    ("\r X: a\r\n", "§"),
    (": no name\r\n", "§"),
    ("no colon\r\n", "§"),
    ("X(y): z\r\n", "§"),
    ("Host: b\r\n", "§"),
    // Chunks.
    ("Transfer-Encoding: chunked\r\n", "-1\r\n\r\n§"),
    ("Transfer-Encoding: chunked\r\n", "0x0\r\n\r\n§"),
    ("Transfer-Encoding: chunked\r\n", "g\r\n\r\n§"),
    ("Transfer-Encoding: chunked\r\n", "FFFFFFFFFFFFFFFFF\r\nx\r\n0\r\n\r\n§"),
    ("Transfer-Encoding: chunked\r\n", "1\r\nxx\r\n0\r\n\r\n§"),
];

/// First lines, with all that follows.
const FIRST_LINES: &[&str] = &[
    "GET http://a/example.com/a/@v/list HTTP/1.1\r\nHost: a\r\n\r\n§",
    "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n§",
    "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n§",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n§",
    "GET /example.com/a/@v/list HTTP/1.1 \r\nHost: a\r\n\r\n§",
    "GET  /example.com/a/@v/list HTTP/1.1\r\nHost: a\r\n\r\n§",
    "GET /example.com/a/@v/list\tHTTP/1.1\r\nHost: a\r\n\r\n§",
    "GET /example.com/a/@v/list HTTP/1.1\nHost: a\n\n§",
    "GET /example.com/a/@v/list HTTP/1.1\r\nHost: a\r\n\n§",
    "GET /example.com/a/@v/list\r\n\r\n§",
    "GET /example.com/a/@v/list HTTP/1.1\r\n\r\n§",
    "GET /example.com/a/@v/list\0 HTTP/1.1\r\nHost: a\r\n\r\n§",
    "GET /example.com/\u{e9}/@v/list HTTP/1.1\r\nHost: a\r\n\r\n§",
    "POST /example.com/a/@v/list HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n§",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n§",
    "\0GET /example.com/a/@v/list HTTP/1.1\r\nHost: a\r\n\r\n§",
];

async fn edge() -> (Origin, Cluster) {
    let origin = Origin::start().await;
    origin.publish(&Module::new("example.com/a", "v1.0.0").package().build());
    origin.publish(&Module::new("example.com/hidden", "v1.0.0").package().build());
    let cluster = Cluster::of(&origin).edge_env("MODTIER_EDGE_LIMITS_CLIENT_HEADER", "2s").start().await;
    (origin, cluster)
}

fn assert_hidden(origin: &Origin, cluster: &mut Cluster) {
    let asked: Vec<_> = origin.seen().into_iter().filter(|seen| seen.path.contains("hidden")).collect();
    assert!(asked.is_empty(), "the origin was asked {asked:?}");
    assert!(cluster.edge.exited().is_none() && !cluster.edge.log().contains("panicked at"), "{}", cluster.edge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_in_two_ways_is_refused_once_and_ends() {
    let (origin, mut cluster) = edge().await;
    let first = FIRST_LINES.iter().map(|&request| request.to_owned());
    let methods = ["GET", "POST"].into_iter().flat_map(|method| {
        DOUBTFUL.iter().map(move |(lines, rest)| {
            format!("{method} /example.com/a/@v/list HTTP/1.1\r\nHost: a\r\n{lines}\r\n{rest}")
        })
    });
    let mut wrong = Vec::new();
    for request in first.chain(methods) {
        let request = request.replace('§', HIDDEN);
        let reply = raw::exchange(&cluster.goproxy(), request.as_bytes(), Duration::from_secs(10)).await;
        if reply.statuses() != [400] || !reply.closed {
            wrong.push(format!("{request:?}: {:?}, closed: {}", reply.statuses(), reply.closed));
        }
    }
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    assert_hidden(&origin, &mut cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_body_or_an_upgrade_is_the_last_of_its_connection() {
    let (origin, mut cluster) = edge().await;
    let len = HIDDEN.len();
    let last = [
        (format!("Content-Length: {len}\r\n"), format!("{HIDDEN}{HIDDEN}"), 200),
        ("Content-Length: 1\r\n".to_owned(), format!("x{HIDDEN}"), 200),
        ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{len:x};a=\"b\"\r\n{HIDDEN}\r\n0\r\n\r\n{HIDDEN}"), 200),
        ("Transfer-Encoding: CHUNKED\r\n".to_owned(), format!("0\r\nX: y\r\n\r\n{HIDDEN}"), 200),
        (format!("Content-Length: {len}\r\nExpect: 100-continue\r\n"), HIDDEN.to_owned(), 200),
        (
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n".into(),
            HIDDEN.into(),
            200,
        ),
        ("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n".into(), HIDDEN.into(), 200),
        ("Content-Length: 99999999999\r\n".to_owned(), HIDDEN.to_owned(), 413),
        (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("100000\r\n{}\r\n0\r\n\r\n{HIDDEN}", "x".repeat(0x10_0000)),
            413,
        ),
    ];
    for (lines, rest, status) in last {
        let request = format!("GET /example.com/a/@v/list HTTP/1.1\r\nHost: a\r\n{lines}\r\n{rest}");
        let reply = raw::exchange(&cluster.goproxy(), request.as_bytes(), Duration::from_secs(10)).await;
        assert_eq!(reply.statuses(), [status], "{lines:?}: {}", reply.text());
        assert!(reply.closed, "{lines:?} keeps the connection");
    }
    assert_hidden(&origin, &mut cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_size_has_its_limit_and_its_status() {
    let (origin, mut cluster) = edge().await;
    let long = "a".repeat(9_000);
    let endless = "a".repeat(300_000);
    let large = [
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        (format!("GET /{endless}"), 414),
        (format!("GET /example.com/a/@v/list HTTP/1.1\r\nHost: a\r\nX: {endless}"), 431),
        (format!("GET /example.com/a/@v/list HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100)), 431),
        (format!("GET /example.com/a/@v/list HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(90)), 200),
    ];
    for (request, status) in large {
        // The last one may go on.
        let request =
            if status == 200 { request.replace("\r\nHost", "\r\nConnection: close\r\nHost") } else { request };
        let reply = raw::exchange(&cluster.goproxy(), request.as_bytes(), Duration::from_secs(10)).await;
        assert_eq!(reply.statuses(), [status], "{}", &request[..60.min(request.len())]);
        assert!(reply.closed);
    }
    assert_hidden(&origin, &mut cluster);
}
