//! The edge's log as a collector reads it: every line an object, one of them for each request, and nothing secret in any.

use std::collections::HashMap;
use std::time::Duration;

use modtier_tests::{Cluster, Module, Origin, raw};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// Requests as bytes on the connection, with the path that the log must show.
const REQUESTS: &[(&str, &str)] = &[
    (
        "GET /example.com/a/@v/list HTTP/1.1\r\nHost: x\r\nUser-Agent: go \"one\"\\\u{1f600}\t2\r\n",
        "/example.com/a/@v/list",
    ),
    ("GET /example.com/a/@v/list?token=SECRET HTTP/1.1\r\nHost: x\r\n", "/example.com/a/@v/list"),
    (
        "HEAD /example.com/a/@v/v1.0.0.zip HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer SECRET\r\n",
        "/example.com/a/@v/v1.0.0.zip",
    ),
    (
        "GET /example.com/a/@v/v1.0.0.mod HTTP/1.1\r\nHost: x\r\nAuthorization: Basic U0VDUkVU\r\nCookie: a=SECRET\r\n",
        "/example.com/a/@v/v1.0.0.mod",
    ),
    ("GET http://user:SECRET@x/example.com/a/@latest HTTP/1.1\r\nHost: x\r\n", ""),
    ("GET /%0a{\"x\":1}\"\\ HTTP/1.1\r\nHost: x\r\n", "/%0a{\"x\":1}\"\\"),
    ("GET /missing.example/m/@v/v1.0.0.info HTTP/1.0\r\nX-Request-Id: a b\r\n", "/missing.example/m/@v/v1.0.0.info"),
    ("POST /example.com/a/@v/list HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n", "/example.com/a/@v/list"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_a_line_for_each_request_and_nothing_secret() {
    let origin = Origin::start().await;
    origin.publish(&Module::new("example.com/a", "v1.0.0").file("a.go", "package a\n").build());
    let mut cluster = Cluster::of(&origin).edge_env("MODTIER_EDGE_LOG_FORMAT", "json").start().await;
    let base = cluster.goproxy();
    let mut statuses = Vec::new();
    for (request, _) in REQUESTS {
        let reply = raw::exchange(&base, format!("{request}Connection: close\r\n\r\n").as_bytes(), LIMIT).await;
        assert!(reply.closed && reply.status() > 0, "{request}: {}", reply.text());
        statuses.push(reply.status());
    }
    assert!(cluster.edge.stop().await.success());
    let log = cluster.edge.log();
    assert!(!log.contains("SECRET") && !log.contains("U0VDUkVU"), "{log}");
    let lines: Vec<HashMap<String, Value>> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    for line in &lines {
        assert!(line["@timestamp"].as_str().unwrap().ends_with('Z'), "{line:?}");
        assert!(line.contains_key("log.level") && line.contains_key("ecs.version"), "{line:?}");
    }
    let mut requests: Vec<_> =
        lines.iter().filter(|line| line["log.logger"] == "access" && line["modtier.route"] != "readyz").collect();
    assert_eq!(requests.len(), REQUESTS.len(), "{log}");
    let mut found = Vec::new();
    for ((request, path), status) in REQUESTS.iter().zip(statuses) {
        // Lines of two serving threads may be written in another order; of equal ones the first is meant.
        let method = if path.is_empty() { "-" } else { request.split(' ').next().unwrap() };
        let is_it = |line: &&HashMap<String, Value>| {
            line["http.response.status_code"] == status
                && line["http.request.method"] == method
                && line["url.path"] == *path
                && line.contains_key("user_agent.original") == request.contains("User-Agent")
        };
        let at = requests.iter().position(is_it).unwrap_or_else(|| panic!("{request}: {log}"));
        let line = requests.remove(at);
        assert_eq!(line["client.address"], "127.0.0.1", "{request}");
        // One that was refused before it was read has neither.
        if method != "-" {
            assert_eq!(line["http.request.id"].as_str().unwrap().len(), 16, "{request}");
            assert!(line["event.duration"].as_u64().unwrap() > 0, "{request}");
        }
        found.push(line);
    }
    assert_eq!(found[0]["user_agent.original"], "go \"one\"\\\u{1f600}\t2");
    assert_eq!(found[0]["modtier.cache"], "miss");
    assert_eq!(found[1]["modtier.cache"], "hit");
    assert!(found[3]["http.response.body.bytes"].as_u64().unwrap() > 0);
    assert_eq!(found[2]["http.response.body.bytes"], 0);
}
