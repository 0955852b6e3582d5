//! The service against a scripted center, over real connections.

mod failing_over;
mod limiting;
mod raw;
mod refreshing;

use bytes::Bytes;

use crate::testing::{Answered, Center, Proof, Reply, TestEdge};

const INFO: &str = "example.com/a/@v/v1.0.0.info";
const ZIP: &str = "example.com/a/@v/v1.0.0.zip";
const LIST: &str = "example.com/a/@v/list";

fn zip_bytes() -> Bytes {
    (0..300_000_u32).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect::<Vec<u8>>().into()
}

async fn started() -> (Center, TestEdge) {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, |_| {});
    (center, edge)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_becomes_a_hit_for_every_artefact() {
    let (center, edge) = started().await;
    for (path, content_type) in [
        (INFO, "application/json"),
        ("example.com/a/@v/v1.0.0.mod", "text/plain; charset=utf-8"),
        (ZIP, "application/zip"),
        (LIST, "text/plain; charset=utf-8"),
        ("example.com/a/@latest", "application/json"),
        ("example.com/a/@v/main.info", "application/json"),
        ("github.com/!burnt!sushi/toml/@v/v1.0.0.mod", "text/plain; charset=utf-8"),
    ] {
        let body = if path == ZIP { zip_bytes() } else { Bytes::from(format!("body of {path}")) };
        center.reply(path, Reply::right(body.clone(), Proof::Header));
        let miss = edge.get(path).await;
        assert_eq!((miss.status, miss.x_cache(), miss.header("age")), (200, "MISS", "0"), "{path}");
        assert_eq!(miss.body.as_ref().unwrap(), &body, "{path}");
        assert_eq!(miss.header("content-type"), content_type, "{path}");
        assert_eq!(miss.header("etag"), shared::digest::Digest::of(&body).etag(), "{path}");
        assert_eq!(miss.header("x-content-type-options"), "nosniff");
        assert_eq!(miss.header("x-served-by"), "test-edge");
        assert!(!miss.header("last-modified").is_empty());
        let hit = edge.get(path).await;
        assert_eq!((hit.status, hit.x_cache()), (200, "HIT"), "{path}");
        assert_eq!(hit.body.as_ref().unwrap(), &body, "{path}");
        assert_eq!(hit.header("content-length"), body.len().to_string(), "{path}");
        assert_eq!(center.gets(path), 1, "{path}");
    }
    let asked = center.last_headers(INFO);
    assert_eq!(asked["te"], "trailers");
    assert_eq!(asked["via"], "1.1 test-edge");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_percent_encoded_path_is_the_same_artefact() {
    let (center, edge) = started().await;
    let path = "github.com/!burnt!sushi/toml/@v/v1.0.0.mod";
    center.reply(path, Reply::right("module x", Proof::Header));
    assert_eq!(edge.get("github.com/%21burnt%21sushi/toml/@v/v1.0.0.mod").await.status, 200);
    assert_eq!(edge.get(&format!("{path}?x=1")).await.x_cache(), "HIT");
    assert_eq!(edge.get(&format!("default/{path}")).await.x_cache(), "HIT");
    assert_eq!(center.gets(path), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_in_a_trailer_or_by_head_proves_a_chunked_body() {
    let (center, edge) = started().await;
    for (proof, path) in [(Proof::Trailer, ZIP), (Proof::Head, "example.com/b/@v/v1.0.0.zip"), (Proof::Trailer, INFO)] {
        let body = if path == INFO { Bytes::from_static(b"{}") } else { zip_bytes() };
        center.reply(path, Reply::right(body.clone(), proof));
        let miss = edge.get(path).await;
        assert_eq!((miss.status, miss.x_cache()), (200, "MISS"), "{proof:?}");
        assert_eq!(miss.body.unwrap(), body, "{proof:?}");
        let hit = edge.get(path).await;
        assert_eq!((hit.x_cache(), hit.body.as_ref().unwrap()), ("HIT", &body), "{proof:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_never_end_cleanly_and_the_next_request_heals() {
    let (center, edge) = started().await;
    for (number, (body, proof)) in [
        (zip_bytes(), Proof::Header),
        (zip_bytes(), Proof::Trailer),
        (zip_bytes(), Proof::Head),
        (Bytes::from_static(b"small"), Proof::Header),
        (Bytes::from_static(b"small"), Proof::Trailer),
        (Bytes::from_static(b"small"), Proof::Head),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("example.com/m{number}/@v/v1.0.0.zip");
        center.reply(&path, Reply::wrong(body.clone(), proof));
        let wrong = edge.get(&path).await;
        assert!(wrong.status == 502 || wrong.body.is_err(), "{number}: {wrong:?}");
        center.reply(&path, Reply::right(body.clone(), proof));
        let right = edge.get(&path).await;
        assert_eq!((right.x_cache(), right.body.as_ref().unwrap()), ("MISS", &body), "{number}");
    }
    let metrics = edge.client.get(edge.admin_url("metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("modtier_integrity_failures_total{reason=\"digest\"}"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_any_digest_is_refused() {
    let (center, edge) = started().await;
    center.reply(INFO, Reply::right("{}", Proof::Nowhere));
    assert_eq!(edge.get(INFO).await.status, 502);
    center.reply(INFO, Reply::right("{}", Proof::Header));
    assert_eq!(edge.get(INFO).await.x_cache(), "MISS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_body_never_ends_cleanly() {
    let (center, edge) = started().await;
    for (number, (proof, after)) in
        [(Proof::Header, 200_000), (Proof::Trailer, 200_000), (Proof::Header, 10), (Proof::Trailer, 10)]
            .into_iter()
            .enumerate()
    {
        let path = format!("example.com/m{number}/@v/v1.0.0.zip");
        center.reply(&path, Reply::broken(zip_bytes(), proof, after));
        let broken = edge.get(&path).await;
        assert!(broken.status == 502 || broken.body.is_err(), "{number}: {broken:?}");
        assert_ne!(broken.status, 404);
        center.reply(&path, Reply::right(zip_bytes(), proof));
        assert_eq!(edge.get(&path).await.body.unwrap(), zip_bytes(), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn not_found_is_recorded_with_the_centers_words() {
    let (center, edge) = started().await;
    let first = edge.get(INFO).await;
    assert_eq!(first.status, 404);
    let text = first.text();
    let id = first.header("x-request-id");
    assert_eq!(text, format!("not found: no such artefact (request {id})\n"));
    assert_eq!(first.header("content-type"), "text/plain; charset=utf-8");
    let second = edge.get(INFO).await;
    assert_eq!((second.status, second.x_cache()), (404, "NEGATIVE"));
    assert!(second.text().starts_with("not found: no such artefact (request "));
    assert_eq!(center.gets(INFO), 1);
    center.reply(ZIP, Reply::Refusal(410, "gone: removed"));
    assert_eq!(edge.get(ZIP).await.status, 410);
    assert_eq!((edge.get(ZIP).await.status, center.gets(ZIP)), (410, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_never_not_found_and_is_not_recorded() {
    let (center, edge) = started().await;
    for (status, answered) in [(500, 502), (502, 502), (503, 503), (504, 504), (429, 503), (400, 502), (301, 502)] {
        center.reply(INFO, Reply::Refusal(status, "unavailable: trouble"));
        let outage = edge.get(INFO).await;
        assert_eq!(outage.status, answered, "{status}");
        assert!(outage.text().starts_with("unavailable: "), "{}", outage.text());
    }
    center.reply(INFO, Reply::Refusal(403, "blocked: by policy"));
    let blocked = edge.get(INFO).await;
    assert_eq!(blocked.status, 403);
    assert!(blocked.text().starts_with("blocked: by policy (request "), "{}", blocked.text());
    center.reply(INFO, Reply::right("{}", Proof::Header));
    assert_eq!(edge.get(INFO).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_center_is_503_and_what_is_held_is_served() {
    let center = Center::start().await;
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let edge = TestEdge::start(&center, |config| config.centers = vec![format!("http://{unused}")]);
    let outage = edge.get(INFO).await;
    assert_eq!(outage.status, 503);
    assert_eq!(outage.header("retry-after"), "5");
    assert!(!outage.text().contains("127.0.0.1"), "{}", outage.text());
    assert_eq!(edge.get("readyz").await.status, 200);
}

/// Lists are past their period as soon as they are stored.
fn nothing_stays_fresh(config: &mut crate::config::Config) {
    let none = shared::config::Period::secs(0);
    config.freshness.memory = none;
    config.freshness.other = none;
    config.freshness.unhealthy = none;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_gives_what_is_held() {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, |config| {
        nothing_stays_fresh(config);
        config.freshness.stale_while_revalidate = shared::config::Period::secs(0);
    });
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    assert_eq!(edge.get(LIST).await.x_cache(), "MISS");
    center.reply(LIST, Reply::Refusal(503, "unavailable: trouble"));
    let stale = edge.get(LIST).await;
    assert_eq!((stale.status, stale.x_cache(), stale.text().as_str()), (200, "STALE", "v1.0.0\n"));
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    let confirmed = edge.get(LIST).await;
    assert_eq!((confirmed.status, confirmed.x_cache()), (200, "REVALIDATED"));
    assert!(center.last_headers(LIST).contains_key("if-none-match"));
    center.reply(LIST, Reply::right("v1.0.0\nv1.1.0\n", Proof::Header));
    let new = edge.get(LIST).await;
    assert_eq!((new.x_cache(), new.text().as_str()), ("MISS", "v1.0.0\nv1.1.0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn head_fills_and_has_the_length_without_a_body() {
    let (center, edge) = started().await;
    center.reply(ZIP, Reply::right(zip_bytes(), Proof::Trailer));
    let head = Answered::of(edge.client.head(edge.url(ZIP)).send().await.unwrap()).await;
    assert_eq!((head.status, head.x_cache(), head.header("content-length")), (200, "MISS", "300000"));
    assert!(head.body.unwrap().is_empty());
    assert_eq!(edge.get(ZIP).await.x_cache(), "HIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_of_zips_on_a_fill_and_on_a_hit() {
    let (center, edge) = started().await;
    for path in [ZIP, "example.com/b/@v/v1.0.0.zip"] {
        center.reply(path, Reply::right(zip_bytes(), Proof::Trailer));
    }
    for expected in ["MISS", "HIT"] {
        let part = edge.get_with(ZIP, "range", "bytes=299990-").await;
        assert_eq!((part.status, part.x_cache()), (206, expected));
        assert_eq!(part.header("content-range"), "bytes 299990-299999/300000");
        assert_eq!(part.body.unwrap(), zip_bytes().slice(299_990..));
    }
    let part = edge.get_with("example.com/b/@v/v1.0.0.zip", "range", "bytes=100000-199999").await;
    assert_eq!(part.body.unwrap(), zip_bytes().slice(100_000..200_000));
    for (tag, status) in [(shared::digest::Digest::of(&zip_bytes()).etag(), 206), ("\"other\"".to_owned(), 412)] {
        let request = edge.client.get(edge.url(ZIP)).header("range", "bytes=299990-").header("if-match", tag);
        assert_eq!(request.send().await.unwrap().status().as_u16(), status);
    }
    let none = edge.get_with(ZIP, "range", "bytes=300000-").await;
    assert_eq!((none.status, none.header("content-range")), (416, "bytes */300000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_answered_304() {
    let (center, edge) = started().await;
    center.reply(INFO, Reply::right("{}", Proof::Header));
    let etag = shared::digest::Digest::of(b"{}").etag();
    for _ in 0..2 {
        let same = edge.get_with(INFO, "if-none-match", &etag).await;
        assert_eq!((same.status, same.body.unwrap().len()), (304, 0));
    }
    let modified = edge.get(INFO).await.header("last-modified").to_owned();
    assert_eq!(edge.get_with(INFO, "if-modified-since", &modified).await.status, 304);
    assert_eq!(edge.get_with(INFO, "if-none-match", "\"other\"").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_cold_requests_are_one_at_the_center() {
    let (center, edge) = started().await;
    center.reply(ZIP, Reply::right(zip_bytes(), Proof::Trailer));
    let gate = center.hold();
    let clients = (0..50).map(|_| {
        let request = edge.client.get(edge.url(ZIP));
        tokio::spawn(async move { Answered::of(request.send().await.unwrap()).await })
    });
    let clients: Vec<_> = clients.collect();
    // All but the held-back tail flows before the center has sent its last byte.
    let mut early = edge.client.get(edge.url(ZIP)).send().await.unwrap();
    assert!(!early.chunk().await.unwrap().unwrap().is_empty());
    center.release(&gate);
    for client in clients {
        assert_eq!(client.await.unwrap().body.unwrap(), zip_bytes());
    }
    assert_eq!(center.gets(ZIP), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fill_outlives_the_client_that_began_it() {
    let (center, edge) = started().await;
    center.reply(ZIP, Reply::right(zip_bytes(), Proof::Header));
    let gate = center.hold();
    let mut leaving = edge.client.get(edge.url(ZIP)).send().await.unwrap();
    assert!(leaving.chunk().await.unwrap().is_some());
    drop(leaving);
    center.release(&gate);
    assert_eq!(edge.get(ZIP).await.body.unwrap(), zip_bytes());
    assert_eq!(center.gets(ZIP), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_forbid_to_fetch() {
    let (center, edge) = started().await;
    center.reply(INFO, Reply::right("{}", Proof::Header));
    assert_eq!(edge.get_with(INFO, "disable-module-fetch", "true").await.status, 404);
    assert_eq!(center.gets(INFO), 0);
    assert_eq!(edge.get(INFO).await.status, 200);
    assert_eq!(edge.get_with(INFO, "disable-module-fetch", "true").await.x_cache(), "HIT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_back_is_a_loop() {
    let (center, edge) = started().await;
    let looped = edge.get_with(INFO, "via", "1.1 other, 1.1 test-edge").await;
    assert_eq!((looped.status, center.gets(INFO)), (508, 0));
    // Who adds itself may add a line.
    let lines = edge.client.get(edge.url(INFO)).header("via", "1.1 other").header("via", "1.1 test-edge").send().await;
    assert_eq!((lines.unwrap().status().as_u16(), center.gets(INFO)), (508, 0));
    center.reply(INFO, Reply::right("{}", Proof::Header));
    assert_eq!(edge.get_with(INFO, "via", "1.1 other").await.status, 200);
    assert_eq!(center.last_headers(INFO)["via"], "1.1 other, 1.1 test-edge");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages() {
    let (_center, edge) = started().await;
    let front = edge.get("").await;
    assert!(front.text().contains("GOPROXY=http://127.0.0.1:"), "{}", front.text());
    assert_eq!(front.header("x-frame-options"), "DENY");
    assert_eq!(edge.get("healthz").await.text(), "ok\n");
    assert!(edge.get("version").await.text().contains("modtier-edge"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_nothing_passes_right_bytes_through_and_never_wrong_ones() {
    let (center, edge) = started().await;
    std::fs::remove_dir_all(edge.edge().app.cache.spool_dir()).unwrap();
    for (number, proof) in [Proof::Header, Proof::Trailer, Proof::Head].into_iter().enumerate() {
        let path = format!("example.com/m{number}/@v/v1.0.0.zip");
        center.reply(&path, Reply::wrong(zip_bytes(), proof));
        let wrong = edge.get(&path).await;
        assert!(wrong.body.is_err() && wrong.status != 404, "{proof:?}: {wrong:?}");
        center.reply(&path, Reply::broken(zip_bytes(), proof, 200_000));
        assert!(edge.get(&path).await.body.is_err(), "{proof:?}");
        center.reply(&path, Reply::right(zip_bytes(), proof));
        let passed = edge.get(&path).await;
        assert_eq!((passed.status, passed.x_cache()), (200, "BYPASS"), "{proof:?}");
        assert_eq!(passed.body.unwrap(), zip_bytes(), "{proof:?}");
    }
}
