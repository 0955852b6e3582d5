//! Several scripted centers behind one edge, over real connections.

mod directing;

use std::time::{Duration, Instant};

use serde_json::Value;
use shared::config::Period;

use crate::config::{CenterSettings, Config};
use crate::testing::{Answered, Center, Pace, Proof, Reply, TestEdge, until};

mod sources;

/// How long a probe may take.
const PROBE_MS: u64 = 1000;

/// Modules that every center has.
const MODULES: usize = 400;

fn info(number: usize) -> String {
    format!("example.com/m{number}/@v/v1.0.0.info")
}

async fn center() -> Center {
    let center = Center::start().await;
    (0..MODULES).for_each(|number| center.reply(&info(number), Reply::right("{}", Proof::Header)));
    center
}

/// Everything ten times as fast, so that no test waits for half a minute.
fn quick(config: &mut Config) {
    config.probes.interval = Period::millis(250);
    config.probes.timeout = Period::millis(PROBE_MS);
    config.breaker.open = Period::millis(600);
    config.breaker.open_max = Period::secs(3);
    config.breaker.slow = Period::millis(200);
}

fn url(center: &Center) -> String {
    format!("http://{}", center.address)
}

fn name(center: &Center) -> String {
    center.address.to_string()
}

/// An edge of these centers.
fn edge_of(centers: &[&Center], change: impl FnOnce(&mut Config)) -> TestEdge {
    TestEdge::start(centers[0], |config| {
        quick(config);
        config.centers = centers.iter().map(|center| url(center)).collect();
        change(config);
    })
}

/// Lets a center be the first choice, however the machine stalls.
fn prefer(config: &mut Config, center: &Center) {
    config.center_settings.insert(url(center), CenterSettings { weight: 1000.0, ..CenterSettings::default() });
}

/// The report of a center.
async fn shown(edge: &TestEdge, center: &Center) -> Value {
    let report = report(edge).await;
    let upstreams = report["upstreams"].as_array().unwrap();
    upstreams.iter().find(|upstream| upstream["name"] == name(center)).unwrap().clone()
}

async fn report(edge: &TestEdge) -> Value {
    edge.client.get(edge.admin_url("api/v1/upstreams")).send().await.unwrap().json().await.unwrap()
}

/// Waits until every center is known, so that the choice is by cost and not by chance.
async fn until_known(edge: &TestEdge) {
    until("every center has ten probes", || async {
        let report = report(edge).await;
        let full = |upstream: &Value| upstream["window_ms"].as_array().unwrap().len() == 10;
        report["upstreams"].as_array().unwrap().iter().all(full)
    })
    .await;
}

async fn all_answered(edge: &TestEdge, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let answered = edge.get(&info(number)).await;
        assert_eq!((answered.status, answered.text().as_str()), (200, "{}"), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_that_is_not_there_costs_no_request() {
    let (gone, good) = (Center::absent(), center().await);
    let edge = edge_of(&[&gone, &good], |_| {});
    all_answered(&edge, 0..20).await;
    assert_eq!(good.asked(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_that_dies_under_load_costs_no_request_and_returns_by_itself() {
    let (first, second) = (center().await, center().await);
    let edge = edge_of(&[&first, &second], |config| prefer(config, &first));
    until_known(&edge).await;
    all_answered(&edge, 0..10).await;
    assert_eq!((first.asked(), second.asked()), (10, 0));
    first.pace(Pace::Breaking);
    let crowd = (10..110).map(|number| {
        let request = edge.client.get(edge.url(&info(number)));
        tokio::spawn(async move { Answered::of(request.send().await.unwrap()).await })
    });
    let crowd: Vec<_> = crowd.collect();
    for answered in crowd {
        assert_eq!(answered.await.unwrap().status, 200);
    }
    until("its breaker is open", || async { shown(&edge, &first).await["breaker"]["state"] == "open" }).await;
    let metrics = edge.client.get(edge.admin_url("metrics")).send().await.unwrap().text().await.unwrap();
    let open = format!("modtier_breaker_state{{state=\"open\",upstream=\"{}\"}} 1", name(&first));
    assert!(metrics.contains(&open), "{open} in {metrics}");
    first.pace(Pace::AtOnce);
    let (before, mut number) = (first.asked(), 110);
    until("it is asked again", || {
        number += 1;
        let (edge, first) = (&edge, &first);
        async move {
            assert_eq!(edge.get(&info(number)).await.status, 200);
            first.asked() > before
        }
    })
    .await;
    until("it is closed", || async { shown(&edge, &first).await["breaker"]["state"] == "closed" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_center_is_left_at_once_and_says_why() {
    let (first, second) = (center().await, center().await);
    second.pace(Pace::After(Duration::from_millis(200)));
    let edge = edge_of(&[&first, &second], |_| {});
    until_known(&edge).await;
    all_answered(&edge, 0..5).await;
    first.pace(Pace::After(Duration::from_millis(900)));
    all_answered(&edge, 5..15).await;
    assert!(first.asked() <= 6, "one slow answer is enough: {}", first.asked());
    let last = report(&edge).await["last_choice"].clone();
    assert_eq!((&last["center"], &last["reason"]), (&name(&second).into(), &"it costs least".into()));
    assert_eq!(last["candidates"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_that_takes_requests_and_never_answers_is_given_up() {
    let (first, second) = (center().await, center().await);
    second.pace(Pace::After(Duration::from_millis(200)));
    let edge = edge_of(&[&first, &second], |_| {});
    until_known(&edge).await;
    all_answered(&edge, 0..5).await;
    first.pace(Pace::Never);
    let started = Instant::now();
    all_answered(&edge, 5..20).await;
    // Far below the half minute that a first byte may take.
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert!(first.asked() <= 8, "{}", first.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_are_open_what_is_held_is_served_and_the_rest_is_503_at_once() {
    let (first, second) = (center().await, center().await);
    let list = "example.com/a/@v/list";
    first.reply(list, Reply::right("v1.0.0\n", Proof::Header));
    second.reply(list, Reply::right("v1.0.0\n", Proof::Header));
    let edge = edge_of(&[&first, &second], |config| {
        config.freshness.memory = Period::secs(0);
        config.freshness.other = Period::secs(0);
        config.freshness.unhealthy = Period::secs(0);
        config.freshness.stale_while_revalidate = Period::secs(0);
        config.breaker.open = Period::secs(20);
        config.breaker.open_max = Period::secs(20);
    });
    assert_eq!(edge.get(list).await.status, 200);
    first.pace(Pace::Breaking);
    second.pace(Pace::Breaking);
    for number in 0..6 {
        assert_eq!(edge.get(&info(number)).await.status, 503, "{number}");
    }
    let asked = (first.asked(), second.asked());
    let refused = edge.get(&info(7)).await;
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").parse::<u64>().unwrap() > 0);
    let stale = edge.get(list).await;
    assert_eq!((stale.status, stale.x_cache(), stale.text().as_str()), (200, "STALE", "v1.0.0\n"));
    assert_eq!((first.asked(), second.asked()), asked, "nobody is asked");
    assert_eq!(report(&edge).await["last_choice"]["reason"], "no center may be asked now");
    let unheard = || async { shown(&edge, &first).await["loss"].as_f64().unwrap() > 0.0 };
    until("its probes are lost", unheard).await;
    first.pace(Pace::AtOnce);
    until("it is served again, long before 20 s", || async { edge.get(&info(8)).await.status == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_comes_first_after_an_outage_waits_for_the_trial() {
    let only = center().await;
    let edge = edge_of(&[&only], |_| {});
    until_known(&edge).await;
    only.pace(Pace::Breaking);
    for number in 0..6 {
        assert_eq!(edge.get(&info(number)).await.status, 503, "{number}");
    }
    only.pace(Pace::After(Duration::from_millis(150)));
    until("it may be tried", || async { shown(&edge, &only).await["breaker"]["state"] == "half-open" }).await;
    let crowd = (10..40).map(|number| {
        let request = edge.client.get(edge.url(&info(number)));
        tokio::spawn(async move { Answered::of(request.send().await.unwrap()).await })
    });
    let crowd: Vec<_> = crowd.collect();
    for answered in crowd {
        let answered = answered.await.unwrap();
        assert_eq!(answered.status, 200, "{}", answered.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_center_is_not_left_for_being_slow() {
    let only = center().await;
    let edge = edge_of(&[&only], |config| config.breaker.slow = Period::millis(1));
    only.pace(Pace::After(Duration::from_millis(5)));
    all_answered(&edge, 0..40).await;
    assert_eq!(shown(&edge, &only).await["breaker"]["state"], "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_answer_is_repeated_elsewhere_within_the_budget() {
    let (first, second) = (center().await, center().await);
    for (number, status) in [(0, 500), (1, 502), (2, 503), (3, 429)] {
        first.reply(&info(number), Reply::Refusal(status, "unavailable: trouble"));
    }
    let edge = edge_of(&[&first, &second], |config| prefer(config, &first));
    until_known(&edge).await;
    all_answered(&edge, 0..4).await;
    let edge = edge_of(&[&first, &second], |config| {
        prefer(config, &first);
        config.routing.retry_burst = 0;
    });
    until_known(&edge).await;
    let answered = edge.get(&info(0)).await;
    assert_eq!(answered.status, 502);
    assert!(answered.text().starts_with("unavailable: trouble"), "the center's own words: {}", answered.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_artefact_is_an_answer_and_no_failure() {
    let (first, second) = (center().await, center().await);
    let edge = edge_of(&[&first, &second], |config| prefer(config, &first));
    until_known(&edge).await;
    for number in 0..8 {
        first.reply(&info(number), Reply::Refusal([404, 410, 403, 404][number % 4], "not found: here"));
        assert_eq!(edge.get(&info(number)).await.status, [404, 410, 403, 404][number % 4]);
    }
    assert_eq!(second.asked(), 0);
    let shown = shown(&edge, &first).await;
    assert_eq!((&shown["breaker"]["state"], &shown["success_rate"]), (&"closed".into(), &1.0.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_center_with_too_much_to_do_is_left_alone_for_as_long_as_it_says() {
    let (first, second) = (center().await, center().await);
    first.reply(&info(0), Reply::Busy(1));
    let edge = edge_of(&[&first, &second], |config| prefer(config, &first));
    until_known(&edge).await;
    all_answered(&edge, 0..3).await;
    assert_eq!((first.asked(), second.asked()), (1, 3));
    assert!(shown(&edge, &first).await["breaker"]["cooling_ms"].as_f64().unwrap() > 0.0);
    until("the pause is over", || async { shown(&edge, &first).await["breaker"]["cooling_ms"].is_null() }).await;
    all_answered(&edge, 3..4).await;
    assert_eq!(first.asked(), 2);
}
