//! Several scripted centers behind one edge, over real connections.

use std::time::{Duration, Instant};

use http::header;
use serde_json::Value;
use shared::config::Period;

use super::report::Operation;
use crate::config::{CenterSettings, Config, RuleSettings};
use crate::testing::{Answered, Center, Pace, Proof, Reply, TestEdge};

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

/// Waits until something holds.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(40);
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_label_goes_to_its_centers_and_is_in_no_key() {
    let (first, blue) = (center().await, center().await);
    let edge = edge_of(&[&first, &blue], |config| {
        prefer(config, &first);
        let labelled = CenterSettings { labels: vec!["blue".into()], ..CenterSettings::default() };
        config.center_settings.insert(url(&blue), labelled);
        config.routing.label_header = "X-Branch".into();
    });
    until_known(&edge).await;
    assert_eq!(edge.get_with(&info(0), "x-branch", "blue").await.x_cache(), "MISS");
    assert_eq!((first.asked(), blue.asked()), (0, 1));
    assert_eq!(edge.get(&info(0)).await.x_cache(), "HIT");
    assert_eq!(edge.get_with(&info(1), "x-branch", "green").await.status, 200);
    assert_eq!((first.asked(), blue.asked()), (1, 1), "a label that no center has makes no difference");
    blue.pace(Pace::Breaking);
    assert_eq!(edge.get_with(&info(2), "x-branch", "blue").await.status, 200, "the others have the same bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_keeps_modules_at_its_centers_also_when_they_fail() {
    let (first, inside) = (center().await, center().await);
    let edge = edge_of(&[&first, &inside], |config| {
        prefer(config, &first);
        let modules = vec!["example.com/m0".to_owned()].try_into().unwrap();
        let rule = RuleSettings { modules, centers: vec![name(&inside)], ..RuleSettings::default() };
        config.routing.rules.push(rule);
    });
    until_known(&edge).await;
    all_answered(&edge, 0..2).await;
    assert_eq!((first.asked(), inside.asked()), (1, 1));
    assert_eq!(report(&edge).await["last_choice"]["rule"], Value::Null);
    inside.pace(Pace::Breaking);
    assert_eq!(edge.get("example.com/m0/@v/v1.0.0.mod").await.status, 503);
    assert_eq!(first.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_takes_a_center_out_and_puts_it_back() {
    let (first, second) = (center().await, center().await);
    let edge = edge_of(&[&first, &second], |config| prefer(config, &first));
    until_known(&edge).await;
    let upstream = &edge.edge().app.upstream;
    let minute = Duration::from_mins(1);
    upstream.operate(&name(&first), Operation::Open, minute).unwrap();
    all_answered(&edge, 0..3).await;
    assert_eq!((first.asked(), second.asked()), (0, 3));
    let breaker = shown(&edge, &first).await["breaker"].clone();
    assert!(breaker["state"] == "open" && breaker["forced_ms"].as_f64().unwrap() > 50_000.0, "{breaker}");
    upstream.operate(&name(&first), Operation::Auto, Duration::ZERO).unwrap();
    all_answered(&edge, 3..4).await;
    assert_eq!(first.asked(), 1);
    upstream.operate(&name(&first), Operation::Open, Duration::from_millis(100)).unwrap();
    until("it is over", || async { shown(&edge, &first).await["breaker"]["state"] == "closed" }).await;
    assert!(upstream.operate("nobody", Operation::Open, minute).unwrap_err().contains("nobody"));
    assert!(upstream.operate(&name(&first), Operation::Open, Duration::ZERO).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_swaps_the_centers_and_keeps_what_is_known_of_those_that_stay() {
    let (first, second, third) = (center().await, center().await, center().await);
    let edge = edge_of(&[&first, &second], |_| {});
    until_known(&edge).await;
    let app = &edge.edge().app;
    let mut config = Config::clone(&app.config());
    config.centers = vec![url(&second), url(&third)];
    config.center_settings.insert(url(&second), CenterSettings { weight: 50.0, ..CenterSettings::default() });
    app.upstream.reconfigure(&config).unwrap();
    let report = report(&edge).await;
    let names: Vec<_> = report["upstreams"].as_array().unwrap().iter().map(|center| center["name"].clone()).collect();
    assert_eq!(names, [name(&second), name(&third)]);
    assert_eq!(report["upstreams"][0]["window_ms"].as_array().unwrap().len(), 10);
    assert_eq!(report["upstreams"][0]["weight"], 50.0);
    all_answered(&edge, 0..4).await;
    assert_eq!((first.asked(), second.asked()), (0, 4));
    until("the new one is probed", || async { third.probes() > 2 }).await;
    let probes = first.probes();
    until_known(&edge).await;
    assert!(first.probes() <= probes + 1, "who left is no longer probed");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_followed_at_one_center_as_long_as_it_answers() {
    let (first, second) = (center().await, center().await);
    for center in [&first, &second] {
        center.reply_api("manifest", "same".into());
    }
    second.pace(Pace::After(Duration::from_millis(60)));
    let edge = edge_of(&[&first, &second], |_| {});
    until_known(&edge).await;
    let upstream = &edge.edge().app.upstream;
    let patience = Duration::from_secs(30);
    let asked_of = |center: &Center| center.last_api_headers("manifest").is_some();
    upstream.ask_api("manifest", patience).await.unwrap();
    let (stays, other) = if asked_of(&first) { (&first, &second) } else { (&second, &first) };
    stays.pace(Pace::After(Duration::from_millis(120)));
    other.pace(Pace::AtOnce);
    until_known(&edge).await;
    for _ in 0..5 {
        assert_eq!(upstream.ask_api("manifest", patience).await.unwrap().headers()[header::CONTENT_LENGTH], "4");
    }
    assert!(!asked_of(other), "a faster one is no reason to change");
    stays.pace(Pace::Never);
    upstream.ask_api("manifest", patience).await.unwrap();
    assert!(asked_of(other));
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_few_and_end_with_the_edge() {
    let (deaf, good) = (center().await, center().await);
    let mut edge = edge_of(&[&deaf, &good], |_| {});
    until_known(&edge).await;
    deaf.pace(Pace::Never);
    let (started, before) = (Instant::now(), deaf.probes());
    until("a few are lost", || async { shown(&edge, &deaf).await["loss"].as_f64().unwrap() > 0.3 }).await;
    let most = started.elapsed().as_millis() / u128::from(PROBE_MS) + 2;
    assert!((deaf.probes() - before) as u128 <= most, "one at a time: {}", deaf.probes() - before);
    let stopping = edge.stop_in_background();
    tokio::task::spawn_blocking(|| stopping.join().unwrap()).await.unwrap();
    let after = good.probes();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(good.probes(), after);
}
