//! What no `go` command sends: each gets its answer or an end, and the servers live on.

use std::time::Duration;

use modtier_tests::raw::{self, RawReply};
use modtier_tests::{Cluster, Module, Origin, Web};
use tokio::task::JoinSet;

/// 400: no `go` command sends this. Below the base, sent as it stands.
const MALFORMED: &[&str] = &[
    "example.com/../a/@v/list",
    "../../../etc/passwd",
    "example.com//a/@v/list",
    "example.com/./a/@v/list",
    "example.com/a/@v/../../b/@v/list",
    "example.com/%2e%2e/a/@v/list",
    "example.com/%2E%2E/%2e%2e/etc/passwd",
    "example.com/a%2f..%2fb/@v/list",
    "example.com/a%00b/@v/list",
    "example.com/a\\b/@v/list",
    "example.com/a%5cb/@v/list",
    "example.com/a%252f/@v/list",
    "example.com/%2525/@v/list",
    "example.com/a%/@v/list",
    "example.com/a%2/@v/list",
    "example.com/a%zz/@v/list",
    "example.com/a/@v/..",
    "example.com/a/@v/%2e%2e%2fv1.0.0.zip",
];

/// 404 with the reason, or 400: well-formed URLs of what is no module, version or file.
const UNKNOWN: &[&str] = &[
    "example.com/Upper/@v/list",
    "example.com/!Upper/@v/list",
    "example.com/a!/@v/list",
    "example.com/a!!b/@v/list",
    "example.com/con/@v/list",
    "example.com/aux.txt/@v/v1.0.0.zip",
    "example.com/a./@v/list",
    "example.com/.a/@v/list",
    "example.com/a~1/@v/list",
    "example.com/a/v1/@v/list",
    "example.com/a/v01/@v/list",
    "example.com/%c3%a9/@v/list",
    "example.com/%ff%fe/@v/list",
    "nodot/@v/list",
    "-x.com/a/@v/list",
    "example.com/a/@v/",
    "example.com/a/@v",
    "example.com/a/@v/v1.0.0",
    "example.com/a/@v/v1.0.0.exe",
    "example.com/a/@v/v1.0.0.zip/more",
    "example.com/a/@v/.zip",
    "example.com/a/@v/v1.zip",
    "example.com/a/@v/main.mod",
    "example.com/a/@v/v2.0.0.zip",
    "example.com/a/@v/v1.0.0+meta.zip",
    "example.com/a/@latest/more",
    "@v/list",
    "@latest",
    "sumdb/",
    "sumdb/sum.golang.org/",
    "sumdb/sum.golang.org/nothing",
    "sumdb/unknown.example/supported",
    "sumdb/unknown.example/lookup/example.com/a@v1.0.0",
];

struct Tier {
    name: &'static str,
    base: String,
    prefix: &'static str,
}

async fn cluster() -> (Origin, Cluster, [Tier; 2]) {
    let origin = Origin::start().await;
    origin.publish(&Module::new("example.com/a", "v1.0.0").package().build());
    // Short patience with slow headers, so that the test need not have a long one.
    let cluster = Cluster::of(&origin)
        .edge_env("MODTIER_EDGE_LIMITS_CLIENT_HEADER", "2s")
        .center_env("MODTIER_CENTER_LIMITS_HEADER_TIMEOUT", "2s")
        .start()
        .await;
    let edge = Tier { name: "edge", base: cluster.goproxy(), prefix: "/" };
    let center = Tier { name: "center", base: cluster.center_url().to_owned(), prefix: "/api/go/golang-virtual/" };
    (origin, cluster, [edge, center])
}

fn assert_alive(cluster: &mut Cluster) {
    assert!(cluster.edge.exited().is_none(), "the edge has ended:\n{}", cluster.edge.log());
    assert!(cluster.center.exited().is_none(), "the center has ended:\n{}", cluster.center.log());
    for (name, log) in [("edge", cluster.edge.log()), ("center", cluster.center.log())] {
        assert!(!log.contains("panicked at"), "the {name} panicked:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_paths_are_400_and_what_is_no_module_is_404() {
    let (origin, mut cluster, tiers) = cluster().await;
    let mut wrong = Vec::new();
    for tier in &tiers {
        for (paths, expected) in [(MALFORMED, &[400_u16][..]), (UNKNOWN, &[404, 400])] {
            for path in paths {
                let reply = raw::get(&tier.base, &format!("{}{path}", tier.prefix)).await;
                if !expected.contains(&reply.status()) || !reply.closed {
                    wrong.push(format!("{} {path}: {} instead of {expected:?}", tier.name, reply.status()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
    let asked: Vec<_> =
        origin.seen().into_iter().filter(|seen| seen.path.contains("..") || seen.path.contains("passwd")).collect();
    assert!(asked.is_empty(), "the origin was asked {asked:?}");
    assert_alive(&mut cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn overlong_paths_are_refused() {
    let (_origin, mut cluster, tiers) = cluster().await;
    for tier in &tiers {
        for len in [2_000, 9_000, 70_000, 1_000_000] {
            let target = format!("{}example.com/{}/@v/list", tier.prefix, "a".repeat(len));
            let reply = raw::get(&tier.base, &target).await;
            let refused = [0, 400, 404, 414, 431].contains(&reply.status());
            assert!(refused && reply.closed, "{} with {len} bytes: {}", tier.name, reply.status());
        }
        let deep = format!("{}example.com{}/@v/list", tier.prefix, "/a".repeat(2_000));
        let status = raw::get(&tier.base, &deep).await.status();
        assert!([0, 400, 404, 414, 431].contains(&status), "{} with 2000 elements: {status}", tier.name);
    }
    assert_alive(&mut cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_405_and_say_what_is_allowed() {
    let (_origin, mut cluster, tiers) = cluster().await;
    for tier in &tiers {
        for method in ["POST", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "BREW"] {
            let reply = raw::method(&tier.base, method, &format!("{}example.com/a/@v/list", tier.prefix)).await;
            assert_eq!(reply.status(), 405, "{} {method}: {}", tier.name, reply.text());
            let text = reply.text().to_lowercase();
            assert!(text.contains("\r\nallow: ") && text.contains("get"), "{} {method}: {}", tier.name, reply.text());
        }
    }
    for method in ["PUT", "DELETE"] {
        let reply = raw::method(&tiers[0].base, method, "/example.com/a/@v/v1.0.0.zip").await;
        assert_eq!(reply.status(), 405, "edge {method}: {}", reply.text());
    }
    assert_alive(&mut cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_gets_an_end() {
    let (_origin, mut cluster, tiers) = cluster().await;
    let floods = [
        "GET / HTTP/1.1\r\nHost: a\r\n".to_owned() + &"X-Flood: 1\r\n".repeat(20_000) + "\r\n",
        format!("GET / HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n", "a".repeat(2_000_000)),
    ];
    let junk: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /example.com/a/@v/list HTTP/9.9\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET /example.com/a/@v/list HTTP/1.1\r\nHost: a\r\nContent-Length: nonsense\r\n\r\n",
        b"GET /example.com/a/@v/list HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
    ];
    for tier in &tiers {
        for request in floods.iter().map(String::as_bytes).chain(junk) {
            // What may still become a request waits for the header time-out; then the connection must end.
            let reply = raw::exchange(&tier.base, request, Duration::from_secs(20)).await;
            let start = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
            assert!(reply.closed, "{} keeps the connection after {start:?}", tier.name);
            assert!(reply.status() < 500, "{} answers {} to {start:?}", tier.name, reply.status());
        }
        assert_eq!(raw::get(&tier.base, &format!("{}example.com/a/@v/list", tier.prefix)).await.status(), 200);
    }
    assert_alive(&mut cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_never_ends_is_cut_off_while_others_are_served() {
    let (_origin, mut cluster, tiers) = cluster().await;
    for tier in &tiers {
        let mut slow = JoinSet::new();
        // Half a header, nothing at all, half of what an HTTP/2 client begins with.
        for begun in [b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ".as_slice(), b"", b"PRI * HTTP"] {
            for _ in 0..20 {
                let base = tier.base.clone();
                slow.spawn(async move { raw::exchange(&base, begun, Duration::from_secs(20)).await });
            }
        }
        let reply = Web::new(&tier.base).get(&format!("{}example.com/a/@v/list", &tier.prefix[1..])).await;
        assert_eq!(reply.status, 200, "{} serves others meanwhile", tier.name);
        while let Some(reply) = slow.join_next().await {
            assert!(reply.unwrap().closed, "{} waits for ever for the end of a header", tier.name);
        }
    }
    assert_alive(&mut cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let (_origin, mut cluster, tiers) = cluster().await;
    for tier in &tiers {
        let one = |path: &str, more: &str| format!("GET {}{path} HTTP/1.1\r\nHost: a\r\n{more}\r\n", tier.prefix);
        let request = one("example.com/a/@v/list", "")
            + &one("example.com/a/@v/v1.0.0.mod", "")
            + &one("example.com/nobody/@v/list", "")
            + &one("example.com/a/@v/v1.0.0.info", "Connection: close\r\n");
        let reply = raw::exchange(&tier.base, request.as_bytes(), Duration::from_secs(10)).await;
        assert_eq!(reply.statuses(), [200, 200, 404, 200], "{}: {}", tier.name, reply.text());
        let places =
            ["v1.0.0\n", "module example.com/a", "not found", "\"Version\""].map(|text| reply.text().find(text));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{}: {places:?} {}", tier.name, reply.text());
    }
    assert_alive(&mut cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_0_gets_a_length_and_an_end() {
    let (_origin, mut cluster, tiers) = cluster().await;
    for tier in &tiers {
        for _ in ["cold", "warm"] {
            let request = format!("GET {}example.com/a/@v/v1.0.0.zip HTTP/1.0\r\n\r\n", tier.prefix);
            let reply: RawReply = raw::exchange(&tier.base, request.as_bytes(), Duration::from_secs(10)).await;
            assert!(reply.closed && reply.status() == 200, "{}: {}", tier.name, reply.text());
            assert!(
                !reply.text().to_lowercase().contains("transfer-encoding"),
                "{}: HTTP/1.0 knows no chunks",
                tier.name
            );
        }
    }
    assert_alive(&mut cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_with_a_body_does_not_feed_the_next_request() {
    let (_origin, mut cluster, tiers) = cluster().await;
    for tier in &tiers {
        let hidden = format!("GET {}example.com/hidden/@v/list HTTP/1.1\r\nHost: a\r\n\r\n", tier.prefix);
        let request = format!(
            "GET {prefix}example.com/a/@v/list HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{hidden}\
             GET {prefix}example.com/a/@v/v1.0.0.mod HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            hidden.len(),
            prefix = tier.prefix,
        );
        let reply = raw::exchange(&tier.base, request.as_bytes(), Duration::from_secs(10)).await;
        assert!(reply.closed, "{} keeps the connection", tier.name);
        assert!(!reply.statuses().contains(&404), "{} takes a body for a request: {}", tier.name, reply.text());
        let announced = format!(
            "GET {}example.com/a/@v/list HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
            tier.prefix
        );
        let reply = raw::exchange(&tier.base, announced.as_bytes(), Duration::from_secs(20)).await;
        assert!(reply.closed, "{} waits for ever for a body that it does not want", tier.name);
        assert!([200, 400, 413].contains(&reply.status()), "{}: {}", tier.name, reply.text());
    }
    assert_alive(&mut cluster);
}
