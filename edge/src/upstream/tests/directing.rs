//! What the settings and an operator decide of the choice: labels, rules, a center that is taken out; and what ends with a center or with the edge.

use http::header;

use super::super::report::Operation;
use super::*;
use crate::config::RuleSettings;

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
    // As often as this one is probed, the other would have been.
    let clock = center().await;
    let _other_edge = edge_of(&[&clock], |_| {});
    let after = good.probes();
    until("three probes of another edge", async || clock.probes() > 3).await;
    assert_eq!(good.probes(), after);
}
