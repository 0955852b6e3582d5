//! Limits, and what becomes of fills that nobody waits for or that a change overtakes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::change::{Change, EventType, Kind};
use shared::config::{ByteSize, Period};
use tokio::task::JoinHandle;

use super::{INFO, LIST, ZIP, zip_bytes};
use crate::config::Config;
use crate::testing::{Answered, Center, Proof, Reply, TestEdge, until};

async fn started(change: impl FnOnce(&mut Config)) -> (Center, TestEdge) {
    let center = Center::start().await;
    let edge = TestEdge::start(&center, change);
    for number in 0..20 {
        center.reply(&path(number), Reply::right("{}", Proof::Header));
    }
    (center, edge)
}

fn path(number: usize) -> String {
    format!("example.com/m{number}/@v/v1.0.0.info")
}

/// A client at another address of this machine.
fn client_at(last: u8) -> reqwest::Client {
    reqwest::Client::builder().local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))).no_proxy().build().unwrap()
}

fn get_as(client: &reqwest::Client, edge: &TestEdge, path: &str) -> JoinHandle<Answered> {
    let request = client.get(edge.url(path));
    tokio::spawn(async move { Answered::of(request.send().await.unwrap()).await })
}

/// How many of so many requests, each of them sent by `send` with its number, are answered 429; the rest is answered 200.
async fn refused_of(count: u8, send: impl Fn(u8) -> JoinHandle<Answered>) -> usize {
    let under_way: Vec<_> = (2..count + 2).map(send).collect();
    let mut refused = 0;
    for answered in under_way {
        let answered = answered.await.unwrap();
        if answered.status == 429 {
            assert_eq!(answered.header("retry-after"), "1");
            refused += 1;
        } else {
            assert_eq!(answered.status, 200);
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_fetches_at_one_time_then_a_line_then_503() {
    let (center, edge) = started(|config| {
        config.limits.upstream_fetches_max = 2;
        config.limits.upstream_queue_max = 3;
    })
    .await;
    let gate = center.hold();
    let waiting: Vec<_> = (0..5).map(|number| get_as(&edge.client, &edge, &path(number))).collect();
    let app = Arc::clone(&edge.edge().app);
    until("three stand in line", async || app.limits.waiting() == (0, 3, 0)).await;
    assert_eq!((0..5).map(|number| center.gets(&path(number))).sum::<usize>(), 2);
    let refused = edge.get(&path(5)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "10"));
    // Who joins a fill in line needs no place of its own.
    let joined: Vec<_> = (0..5).map(|number| get_as(&edge.client, &edge, &path(number))).collect();
    center.release(&gate);
    for answered in waiting.into_iter().chain(joined) {
        assert_eq!(answered.await.unwrap().text(), "{}");
    }
    assert_eq!(edge.get(&path(5)).await.status, 200);
    assert_eq!((0..6).map(|number| center.gets(&path(number))).sum::<usize>(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_in_line_too_long_is_answered_503() {
    let (center, edge) = started(|config| {
        config.limits.upstream_fetches_max = 1;
        config.limits.upstream_queue = Period::millis(200);
    })
    .await;
    let gate = center.hold();
    let first = get_as(&edge.client, &edge, &path(0));
    until("one is asked", async || center.gets(&path(0)) == 1).await;
    let refused = edge.get(&path(1)).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"));
    center.release(&gate);
    assert_eq!(first.await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn fills_per_client_are_limited_and_hits_and_joins_are_free() {
    let (center, edge) = started(|config| {
        config.limits.client_fills = 3;
        config.limits.client_fills_queue = Period::secs(0);
    })
    .await;
    let started = Instant::now();
    let many: Vec<_> = (0..10).map(|number| get_as(&edge.client, &edge, &path(number))).collect();
    let mut refused = 0;
    for (number, answered) in many.into_iter().enumerate() {
        let answered = answered.await.unwrap();
        if answered.status == 429 {
            refused += 1;
            assert_eq!((answered.header("retry-after"), center.gets(&path(number))), ("1", 0));
            assert!(answered.text().starts_with("unavailable: this client "), "{}", answered.text());
        }
    }
    assert!(10 - refused <= 6 + started.elapsed().as_secs() * 3, "{refused} refused in {:?}", started.elapsed());
    assert!(refused > 0);
    let held = (0..10).find(|number| center.gets(&path(*number)) == 1).unwrap();
    for _ in 0..50 {
        assert_eq!(edge.get(&path(held)).await.x_cache(), "HIT");
    }
    let gate = center.hold();
    let other = client_at(2);
    let fetching = get_as(&other, &edge, &path(14));
    until("another client's fill has begun", async || center.gets(&path(14)) == 1).await;
    let joined: Vec<_> = (0..20).map(|_| get_as(&edge.client, &edge, &path(14))).collect();
    let app = Arc::clone(&edge.edge().app);
    until("all of them follow it", async || app.flights.len() == 1).await;
    center.release(&gate);
    for answered in joined.into_iter().chain([fetching]) {
        assert_eq!(answered.await.unwrap().status, 200);
    }
    let metrics = edge.client.get(edge.admin_url("metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("modtier_edge_limited_total{limit=\"client_fills\"}"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_excess_waits_in_its_own_clients_queue() {
    let (_center, edge) = started(|config| config.limits.client_fills = 5).await;
    let started = Instant::now();
    let busy: Vec<_> = (0..10).map(|number| get_as(&edge.client, &edge, &path(number))).collect();
    let app = Arc::clone(&edge.edge().app);
    until("some of them wait", async || app.limits.waiting().0 > 0).await;
    let other = get_as(&client_at(2), &edge, &path(10)).await.unwrap();
    assert_eq!(other.status, 200);
    assert!(app.limits.waiting().0 > 0, "the other client was served while the busy one waits");
    for answered in busy {
        assert_eq!(answered.await.unwrap().status, 200);
    }
    // Five at once, five more at 200 ms each.
    assert!(started.elapsed() >= Duration::from_millis(950), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_busy_client_waits_for_is_fetched_at_once_for_another() {
    let (center, edge) = started(|config| config.limits.client_fills = 1).await;
    assert_eq!(edge.get(&path(0)).await.status, 200);
    let busy: Vec<_> = (1..8).map(|number| get_as(&edge.client, &edge, &path(number))).collect();
    let app = Arc::clone(&edge.edge().app);
    until("they wait", async || app.limits.waiting().0 >= 6).await;
    let started = Instant::now();
    let last = (1..8).rev().find(|number| center.gets(&path(*number)) == 0).unwrap();
    assert_eq!(get_as(&client_at(3), &edge, &path(last)).await.unwrap().status, 200);
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    busy.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_address_is_not_believed() {
    let (_center, edge) = started(|config| config.limits.client_requests = 3).await;
    let refused = refused_of(60, |number| {
        let request = edge.client.get(edge.url(&path(0))).header("x-forwarded-for", format!("192.0.2.{number}"));
        tokio::spawn(async move { Answered::of(request.send().await.unwrap()).await })
    })
    .await;
    assert!(refused > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_per_client_and_per_tenant_are_limited_where_it_is_wanted() {
    let (_center, edge) = started(|config| config.limits.client_requests = 5).await;
    let refused = refused_of(60, |_| get_as(&edge.client, &edge, &path(0))).await;
    assert!(refused > 0);
    assert_eq!(edge.get("healthz").await.status, 200);
    assert_eq!(get_as(&client_at(2), &edge, &path(0)).await.unwrap().status, 200);

    let (_center, edge) = started(|config| config.limits.tenant_requests = 5).await;
    let refused = refused_of(60, |last| get_as(&client_at(last), &edge, &path(0))).await;
    assert!(refused > 0, "no client alone is over the limit");

    let (_center, edge) = started(|_| {}).await;
    for _ in 0..500 {
        assert_eq!(edge.get(&path(0)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_fill_that_nobody_waits_for_ends() {
    for (bytes_max, asked) in [(ByteSize::kib(100), 2), (ByteSize::mib(1), 1)] {
        let (center, edge) = started(|config| config.limits.unattended_fill_bytes_max = bytes_max).await;
        // Five bytes at the end, twenty a second would be too quick: the fill looks around a second after the client left.
        center.reply_in_turn(
            ZIP,
            [
                Reply::ending(zip_bytes(), Proof::Header, crate::testing::Ending::Drip(299_970)),
                Reply::right(zip_bytes(), Proof::Header),
            ],
        );
        let mut leaving = edge.client.get(edge.url(ZIP)).send().await.unwrap();
        assert!(leaving.chunk().await.unwrap().is_some());
        drop(leaving);
        let app = Arc::clone(&edge.edge().app);
        until("the fill has ended", async || app.flights.is_empty()).await;
        assert_eq!(edge.get(ZIP).await.body.unwrap(), zip_bytes());
        assert_eq!(center.gets(ZIP), asked, "{bytes_max}");
    }
}

fn change(seq: u64, event_type: EventType, kind: Kind, version: Option<&str>) -> Change {
    let mut change = serde_json::json!({
        "id": format!("7-{seq}"), "repo": "golang-virtual", "event_type": "CREATE", "module_id": "example.com/a",
        "kind": "version", "timestamp": 1, "reason": "publish", "schema": 1,
    });
    change["event_type"] = serde_json::to_value(event_type).unwrap();
    change["kind"] = serde_json::to_value(kind).unwrap();
    if let Some(version) = version {
        change["version"] = version.into();
    }
    serde_json::from_value(change).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_a_change_overtakes_at_its_last_byte_is_stored_stale() {
    let (center, edge) = started(|_| {}).await;
    center.reply(LIST, Reply::right("v1.0.0\n", Proof::Header));
    let gate = center.hold();
    let first = get_as(&edge.client, &edge, LIST);
    until("the list is asked for", async || center.gets(LIST) == 1).await;
    let app = Arc::clone(&edge.edge().app);
    let change = change(1, EventType::Update, Kind::List, None);
    tokio::task::spawn_blocking(move || app.cache.apply("golang-virtual", &[change]).unwrap()).await.unwrap();
    center.reply(LIST, Reply::right("v1.0.0\nv1.1.0\n", Proof::Header));
    center.release(&gate);
    assert_eq!(first.await.unwrap().text(), "v1.0.0\n");
    // What was stored is not fresh, so the next one asks again.
    let next = edge.get(LIST).await;
    assert_eq!((next.text().as_str(), center.gets(LIST)), ("v1.0.0\nv1.1.0\n", 2), "{}", next.x_cache());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_removed_at_its_last_byte_is_what_the_center_says_and_is_not_stored() {
    for (status, line) in [(410, "gone: removed"), (403, "blocked: removed"), (503, "unavailable: later")] {
        let (center, edge) = started(|_| {}).await;
        for path in [ZIP, INFO] {
            let body = if path == ZIP { zip_bytes() } else { "{}".into() };
            center.reply_in_turn(path, [Reply::right(body, Proof::Header), Reply::Refusal(status, line)]);
        }
        let gate = center.hold();
        let reading = get_as(&edge.client, &edge, ZIP);
        let waiting = get_as(&edge.client, &edge, INFO);
        until("both are asked for", async || center.gets(ZIP) + center.gets(INFO) == 2).await;
        let app = Arc::clone(&edge.edge().app);
        let change = change(1, EventType::Delete, Kind::Version, Some("v1.0.0"));
        tokio::task::spawn_blocking(move || app.cache.apply("golang-virtual", &[change]).unwrap()).await.unwrap();
        center.release(&gate);
        let reading = reading.await.unwrap();
        assert!(reading.body.is_err() || reading.status == status, "{status}: {reading:?}");
        let waiting = waiting.await.unwrap();
        assert_eq!(waiting.status, status, "{waiting:?}");
        assert_eq!(edge.get(ZIP).await.status, status);
        assert_eq!(edge.get(INFO).await.status, status);
        assert_eq!(edge.edge().app.cache.stats().disk_objects, 0);
    }
}
