//! Reading: statuses, headers, conditions, ranges, growing bodies.

use http::{Method, StatusCode, Version};
use http_body_util::BodyExt as _;
use shared::digest::Digest;

use super::{Body, Center, Upstream, module_zip, noise, request};
use crate::handlers::tests::set_upstream;

const BASE: &str = "/api/go/golang-virtual";

#[tokio::test]
async fn malformed_paths_are_400_and_what_cannot_exist_is_404() {
    let center = Center::new().await;
    for path in [
        "a.test/../b/@v/list",
        "a.test//b/@v/list",
        "/a.test/b/@v/list",
        "a.test/b%2e%2e/%2e%2e/@v/list",
        "a.test/%00/@v/list",
        "a.test/b%5c/@v/list",
        "a.test/%252e/@v/list",
        "a.test/%zz/@v/list",
    ] {
        let answer = center.get(&format!("{BASE}/{path}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text());
        assert!(answer.text().starts_with("bad request: "), "{path}");
    }
    for path in ["a.test/B/@v/list", "a.test/b/@v/x.exe", "a.test/b", "a.test/b/@v/main.zip", "nodot/@v/list"] {
        let answer = center.get(&format!("{BASE}/{path}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}: {}", answer.text());
        assert!(answer.text().starts_with("not found: "), "{path}");
    }
    assert_eq!(center.get("/api/go/nobody/a.test/b/@v/list").await.status, StatusCode::FORBIDDEN);
    assert_eq!(center.get("/nothing/here").await.status, StatusCode::NOT_FOUND);
    for path in ["/a.test/b/@v/list", "/a.test/b/@latest"] {
        assert_eq!(center.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn an_error_is_one_line_with_the_requests_id() {
    let center = Center::new().await;
    let answer = center.get_with(&format!("{BASE}/a.test/B/@v/list"), &[("x-request-id", "abc-1")]).await;
    assert_eq!(answer.header("x-request-id"), "abc-1");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(answer.text().ends_with("(request abc-1)\n") && answer.text().lines().count() == 1, "{}", answer.text());
}

#[tokio::test]
async fn a_malformed_path_is_400_wherever_it_points() {
    let center = Center::new().await;
    for path in ["//api/go/golang-virtual/a.test/b/@v/list", "/x/%2e%2e/a.test/b/@v/list", "/a%00b", "/%5cx", "/%252e"]
    {
        assert_eq!(center.get(path).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(center.get("/nothing").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn other_methods_are_405() {
    let center = Center::new().await;
    for path in [format!("{BASE}/a.test/b/@v/list"), "/healthz".to_owned(), "/api/v1/repos".to_owned()] {
        for method in [Method::PATCH, Method::OPTIONS] {
            let answer = center.send(request(method.clone(), &path, &[], Body::empty())).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(answer.header("allow"), "GET, HEAD", "{method} {path}");
        }
    }
    let answer = center.put(&format!("{BASE}/a.test/b/@v/list"), "x").await;
    assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD"));
}

#[tokio::test]
async fn every_artefact_has_its_headers() {
    let upstream = Upstream::new().await;
    let zip = module_zip("a.test/Cap", "v1.0.0", b"package a\n");
    upstream.module("a.test/!cap", "v1.0.0", &zip);
    // The go.mod names the module in its own spelling.
    upstream.set("a.test/!cap/@v/v1.0.0.mod", StatusCode::OK, "module a.test/Cap\n");
    let center = Center::over(&upstream.url).await;
    let immutable = "public, max-age=31536000, immutable";
    for (path, content_type, cache_control) in [
        ("a.test/!cap/@v/list", "text/plain; charset=utf-8", "public, max-age=60"),
        ("a.test/!cap/@latest", "application/json", "public, max-age=60"),
        ("a.test/!cap/@v/v1.0.0.info", "application/json", immutable),
        ("a.test/!cap/@v/v1.0.0.mod", "text/plain; charset=utf-8", immutable),
        ("a.test/!cap/@v/v1.0.0.zip", "application/zip", immutable),
        // As the go command sends it, and under the alias.
        ("a.test/%21cap/@v/v1.0.0.zip", "application/zip", immutable),
    ] {
        for base in [BASE, "/artifactory/api/go/golang-virtual"] {
            let answer = center.get(&format!("{base}/{path}")).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&answer.body));
            assert_eq!(answer.header("content-type"), content_type, "{path}");
            assert_eq!(answer.header("cache-control"), cache_control, "{path}");
            assert!(!answer.header("last-modified").is_empty() && !answer.header("via").is_empty(), "{path}");
            assert!(["HIT", "MISS"].contains(&answer.header("x-cache")), "{path}: {}", answer.header("x-cache"));
            let mutable = path.ends_with("list") || path.ends_with("@latest");
            assert_eq!(!answer.header("x-change-id").is_empty(), mutable, "{path}");
        }
    }
    let answer = center.get(&format!("{BASE}/a.test/!cap/@v/v1.0.0.zip")).await;
    assert_eq!(answer.header("x-cache"), "HIT");
    assert_eq!(answer.header("etag"), Digest::of(&zip).etag());
    assert_eq!(answer.header("repr-digest"), Digest::of(&zip).repr_digest());
    assert_eq!(answer.header("content-length"), zip.len().to_string());
    assert_eq!(answer.body, zip);
    assert_eq!(upstream.asked("a.test/!cap/@v/v1.0.0.zip"), 1);
    assert!(upstream.last_headers().contains_key("via"));
}

#[tokio::test]
async fn head_says_what_get_would() {
    let upstream = Upstream::new().await;
    let zip = module_zip("a.test/b", "v1.0.0", &noise(100_000));
    upstream.module("a.test/b", "v1.0.0", &zip);
    let center = Center::over(&upstream.url).await;
    // A cold one too: the digest is what HEAD is asked for, so it waits for the fill.
    let path = format!("{BASE}/a.test/b/@v/v1.0.0.zip");
    let answer = center.send(request(Method::HEAD, &path, &[], Body::empty())).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("repr-digest"), Digest::of(&zip).repr_digest());
    assert_eq!(answer.header("content-length"), zip.len().to_string());
    assert!(answer.body.is_empty());
    let missing = center.send(request(Method::HEAD, &format!("{BASE}/a.test/B/@v/list"), &[], Body::empty())).await;
    assert_eq!((missing.status, missing.body.len()), (StatusCode::NOT_FOUND, 0));
    let same_id = [("x-request-id", missing.header("x-request-id"))];
    let got = center.get_with(&format!("{BASE}/a.test/B/@v/list"), &same_id).await;
    assert_eq!(missing.header("content-length"), got.body.len().to_string());
    // A range means nothing with it.
    let ranged = center.send(request(Method::HEAD, &path, &[("range", "bytes=0-9")], Body::empty())).await;
    assert_eq!((ranged.status, ranged.header("content-length")), (StatusCode::OK, answer.header("content-length")));
}

#[tokio::test]
async fn conditions_and_ranges_on_a_zip() {
    let center = Center::new().await;
    assert_eq!(center.publish("a.test/b", "v1.0.0").await.status, StatusCode::CREATED);
    let path = format!("{BASE}/a.test/b/@v/v1.0.0.zip");
    let whole = center.get(&path).await;
    let etag = whole.header("etag").to_owned();
    let len = whole.body.len();

    let answer = center.get_with(&path, &[("if-none-match", &etag)]).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(answer.header("etag"), etag);
    let answer = center.get_with(&path, &[("if-modified-since", whole.header("last-modified"))]).await;
    assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
    let answer = center.get_with(&path, &[("range", "bytes=10-19"), ("if-match", &etag)]).await;
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(answer.header("content-range"), format!("bytes 10-19/{len}"));
    assert_eq!(answer.body, whole.body.slice(10..20));
    let answer = center.get_with(&path, &[("range", "bytes=10-19"), ("if-match", "\"other\"")]).await;
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED);
    let answer = center.get_with(&path, &[("range", "bytes=999999-")]).await;
    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(answer.header("content-range"), format!("bytes */{len}"));
}

#[tokio::test]
async fn a_zip_streams_while_it_fills_and_ends_with_its_digest() {
    let upstream = Upstream::new().await;
    let zip = module_zip("a.test/b", "v1.0.0", &noise(400_000));
    upstream.module("a.test/b", "v1.0.0", &zip);
    let center = Center::over(&upstream.url).await;
    let path = format!("{BASE}/a.test/b/@v/v1.0.0.zip");
    // The module's other artefacts first: the gate holds every large body.
    center.get(&format!("{BASE}/a.test/b/@v/v1.0.0.mod")).await;
    let open = upstream.hold_after(200_000);

    let response = center.respond(request(Method::GET, &path, &[("te", "trailers")], Body::empty())).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["trailer"], "Repr-Digest");
    assert_eq!(response.headers()["x-cache"], "MISS");
    assert!(!response.headers().contains_key("content-length") && !response.headers().contains_key("etag"));
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(!first.is_empty() && first.len() <= 200_000 - 65_536, "{}", first.len());

    // A range needs the whole, so it waits; it must not be answered from the unfinished one.
    let ranged = center.get_with(&path, &[("range", "bytes=0-9")]);
    let joined = center.get(&path);
    let (rest, ranged, joined) = tokio::join!(
        async {
            open.send(true).unwrap();
            body.collect().await.unwrap()
        },
        ranged,
        joined
    );
    assert_eq!(rest.trailers().unwrap()["repr-digest"], Digest::of(&zip).repr_digest().as_str());
    let mut received = first.to_vec();
    received.extend_from_slice(&rest.to_bytes());
    assert_eq!(received, zip);
    assert_eq!((ranged.status, &ranged.body[..]), (StatusCode::PARTIAL_CONTENT, &zip[..10]));
    assert_eq!(joined.body, zip);
    assert_eq!(upstream.asked("a.test/b/@v/v1.0.0.zip"), 1);
}

#[tokio::test]
async fn a_wrong_zip_never_ends_cleanly() {
    let upstream = Upstream::new().await;
    let good = module_zip("a.test/b", "v1.0.0", &noise(400_000));
    let mut bad = good.to_vec();
    bad[150_000] ^= 1;
    upstream.module("a.test/b", "v1.0.0", &bad.into());
    let center = Center::over(&upstream.url).await;
    let path = format!("{BASE}/a.test/b/@v/v1.0.0.zip");
    let answer = center.get(&path).await;
    assert!(answer.broken || !answer.status.is_success(), "{:?} with {} bytes", answer.status, answer.body.len());
    assert!(answer.body.len() < good.len());
    // An HTTP/1.0 client has no way to see an aborted body, so it gets the error itself.
    let mut old = request(Method::GET, &path, &[], Body::empty());
    *old.version_mut() = Version::HTTP_10;
    let answer = center.send(old).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.text());
    // A small one is refused before its first byte, with the reason.
    upstream.module("a.test/small", "v1.0.0", &module_zip("a.test/other", "v1.0.0", b"x"));
    let answer = center.get(&format!("{BASE}/a.test/small/@v/v1.0.0.zip")).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert!(answer.text().contains("zip for a.test/small@v1.0.0 has unexpected file"), "{}", answer.text());
    // And it heals.
    upstream.module("a.test/b", "v1.0.0", &good);
    assert_eq!(center.get(&path).await.body, good);
}

#[tokio::test]
async fn an_outage_is_never_404() {
    // A port that nobody listens on: taken from the system and closed again.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let center = Center::over(&format!("http://{free}")).await;
    for file in ["@v/list", "@latest", "@v/v1.0.0.info", "@v/v1.0.0.mod", "@v/v1.0.0.zip", "@v/main.info"] {
        let answer = center.get(&format!("{BASE}/a.test/b/{file}")).await;
        assert!([502, 503, 504].contains(&answer.status.as_u16()), "{file}: {}", answer.status);
        assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
    }
    let answer = center.get_with(&format!("{BASE}/a.test/b/@v/v1.0.0.zip"), &[("disable-module-fetch", "true")]).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_request_that_comes_back_is_508() {
    let center = Center::new().await;
    let via = center.get("/healthz").await.header("via").to_owned();
    let path = format!("{BASE}/a.test/b/@v/list");
    let answer = center.get_with(&path, &[("via", &format!("1.1 edge, {via}"))]).await;
    assert_eq!(answer.status, StatusCode::LOOP_DETECTED);
    assert_ne!(center.get_with(&path, &[("via", "1.1 edge")]).await.status, StatusCode::LOOP_DETECTED);
}

#[tokio::test]
async fn a_change_that_is_not_there_yet_is_waited_for() {
    let center = Center::new().await;
    center.publish("a.test/b", "v1.0.0").await;
    let path = format!("{BASE}/a.test/b/@v/list");
    let head: shared::change::ChangeId = center.get(&path).await.header("x-change-id").parse().unwrap();
    let next = head.next().to_string();
    let answer = center.get_with(&path, &[("x-min-change-id", &head.to_string())]).await;
    assert_eq!(answer.status, StatusCode::OK);
    let headers = [("x-min-change-id", next.as_str())];
    let (answer, _) = tokio::join!(center.get_with(&path, &headers), center.publish("a.test/b", "v1.1.0"));
    assert_eq!(answer.text(), "v1.0.0\nv1.1.0\n");
    let beyond = shared::change::ChangeId { seq: head.seq + 1000, ..head }.to_string();
    let answer = center.get_with(&path, &[("x-min-change-id", &beyond)]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(center.get_with(&path, &[("x-min-change-id", "5-5")]).await.status, StatusCode::OK);
    assert_eq!(center.get_with(&path, &[("x-min-change-id", "x")]).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn where_reading_needs_a_token_there_is_no_reading_without() {
    let upstream = Upstream::new().await;
    let center = Center::with(|config| {
        set_upstream(config, &upstream.url);
        config.access.anonymous.clear();
    })
    .await;
    center.publish("a.test/b", "v1.0.0").await;
    for path in [format!("{BASE}/a.test/b/@v/list"), "/api/v1/repos/golang-virtual/changes".to_owned()] {
        let answer = center.get(&path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"modtier\"");
        let answer = center.get_with(&path, &[("authorization", &center.reader)]).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    let answer = center.get_with(&format!("{BASE}/a.test/b/@v/v1.0.0.mod"), &[("authorization", &center.reader)]).await;
    assert_eq!(answer.header("cache-control"), "private, max-age=31536000, immutable");
    assert_eq!(center.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(upstream.asked_at_all(), Vec::<String>::new());
}
