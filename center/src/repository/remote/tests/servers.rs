//! Several servers with the same content: who is asked when one fails, what each is told of us, and what they may not differ in.

use std::collections::BTreeMap;
use std::time::Duration;

use modtier_tests::until;
use shared::config::Period;

use super::GOMOD;
use crate::repository::testing::{Origin, Reply, Settings, Setup, filler, info, module_zip, settings};
use crate::repository::{CacheStatus, RepoError};
use crate::upstream::outbound::{BreakerSettings, HostSettings, OutboundSettings};

/// Within what time a state must be reached.
const SOON: Duration = Duration::from_secs(20);

fn mirrored(origins: &[&Origin]) -> Settings {
    let mut settings = settings(&[("remote", &origins[0].url)], Period::secs(0));
    let remote = settings.get_mut("remote").unwrap();
    remote.upstreams = origins[1..].iter().map(|origin| origin.url.clone()).collect();
    settings
}

fn breaker(open: Period) -> OutboundSettings {
    let breaker = BreakerSettings { failures: 5, open, open_max: open };
    OutboundSettings { breaker, ..OutboundSettings::default() }
}

fn host(origin: &Origin, settings: HostSettings) -> (String, HostSettings) {
    (origin.url.trim_start_matches("http://").to_owned(), settings)
}

#[tokio::test]
async fn the_next_server_answers_for_one_that_fails_but_not_for_one_that_says_no() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    let setup = Setup::new(&mirrored(&[&one, &two])).await;
    two.serve("example.com/a", "v1.0.0", GOMOD);
    let path = "example.com/a/@v/v1.0.0.info";
    for (version, reply) in [("v1.0.1", 404), ("v1.0.2", 403), ("v1.0.3", 410)] {
        let path = format!("example.com/a/@v/{version}.info");
        one.set(&path, Reply::status(reply, ""));
        setup.get("remote", &path).await.unwrap_err();
        assert_eq!(two.count(&path), 0, "the content is the same");
    }
    one.set(path, Reply::status(500, ""));
    assert_eq!(setup.text("remote", path).await, info("v1.0.0"));
    assert_eq!((one.count(path), two.count(path)), (1, 1));
    // The one that failed is not asked first for a while.
    setup.text("remote", "example.com/a/@v/v1.0.0.mod").await;
    assert_eq!(one.count("example.com/a/@v/v1.0.0.mod"), 0);
}

#[tokio::test]
async fn a_server_that_breaks_off_is_replaced_before_anybody_has_a_byte() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    let setup = Setup::new(&mirrored(&[&one, &two])).await;
    let zip = two.serve("example.com/a", "v1.0.0", GOMOD);
    let path = "example.com/a/@v/v1.0.0.zip";
    one.set(path, Reply { cut_at: Some(zip.len() / 2), ..Reply::ok(zip.clone()) });
    assert_eq!(setup.get("remote", path).await.unwrap(), zip);
    assert_eq!((one.count(path), two.count(path)), (1, 1));
}

#[tokio::test]
async fn a_breaker_opens_after_five_failures_and_what_is_held_is_served_stale() {
    let origin = Origin::start().await;
    let mut settings = mirrored(&[&origin]);
    settings.get_mut("remote").unwrap().assumed_offline_period = Period::secs(0);
    let setup = Setup::with(&settings, &breaker(Period::millis(300))).await;
    origin.set("example.com/a/@v/list", Reply::ok("v1.0.0\n"));
    setup.get("remote", "example.com/a/@v/list").await.unwrap();
    origin.set("example.com/a/@v/list", Reply::status(500, ""));
    for _ in 0..8 {
        let stale = setup.fetch("remote", "example.com/a/@v/list").await.unwrap();
        assert_eq!(stale.cache, CacheStatus::Stale);
    }
    assert_eq!(origin.count("example.com/a/@v/list"), 1 + 5);
    let refused = setup.get("remote", "example.com/b/@v/list").await;
    assert!(matches!(refused, Err(RepoError::Unavailable { .. })), "{refused:?}");
    assert_eq!(origin.count("example.com/b/@v/list"), 0);
    origin.set("example.com/a/@v/list", Reply::ok("v1.0.0\nv1.1.0\n"));
    until("it is tried again", SOON, async || {
        setup.text("remote", "example.com/a/@v/list").await == "v1.0.0\nv1.1.0\n"
    })
    .await;
}

#[tokio::test]
async fn what_is_known_of_a_server_outlives_a_change_of_settings() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    let mut settings = mirrored(&[&one]);
    settings.get_mut("remote").unwrap().assumed_offline_period = Period::secs(0);
    let setup = Setup::new(&settings).await;
    one.set("example.com/a/@v/list", Reply::status(500, ""));
    for _ in 0..5 {
        setup.get("remote", "example.com/a/@v/list").await.unwrap_err();
    }
    settings.get_mut("remote").unwrap().priority += 1;
    let setup = setup.again(&settings).await;
    let refused = setup.get("remote", "example.com/b/@v/list").await;
    assert!(matches!(refused, Err(RepoError::Unavailable { .. })), "{refused:?}");
    assert_eq!(one.count("example.com/b/@v/list"), 0);
    // Another server has nothing to do with it.
    two.set("example.com/b/@v/list", Reply::ok("v1.0.0\n"));
    settings.get_mut("remote").unwrap().upstream = Some(two.url.clone());
    let setup = setup.again(&settings).await;
    assert_eq!(setup.text("remote", "example.com/b/@v/list").await, "v1.0.0\n");
}

#[tokio::test]
async fn a_pause_that_is_asked_for_is_granted() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    let setup = Setup::new(&mirrored(&[&one, &two])).await;
    for origin in [&one, &two] {
        origin.serve("example.com/a", "v1.0.0", GOMOD);
    }
    let path = "example.com/a/@v/v1.0.0.info";
    let busy = Reply { headers: vec![("retry-after", "60".to_owned())], ..Reply::status(429, "") };
    one.set(path, busy);
    assert_eq!(setup.text("remote", path).await, info("v1.0.0"));
    setup.text("remote", "example.com/a/@v/v1.0.0.mod").await;
    assert_eq!(one.asked().len(), 1, "{:?}", one.asked());
}

#[tokio::test]
async fn every_server_is_asked_for_what_it_has_before_one_must_fetch_it() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    let mut settings = mirrored(&[&one, &two]);
    settings.get_mut("remote").unwrap().held_first = true;
    let setup = Setup::new(&settings).await;
    let path = "example.com/a/@v/v1.0.0.info";
    two.set(path, Reply::ok(info("v1.0.0")));
    assert_eq!(setup.text("remote", path).await, info("v1.0.0"));
    for origin in [&one, &two] {
        let heads = origin.heads(path);
        assert_eq!(heads.len(), 1);
        assert_eq!(heads[0]["disable-module-fetch"], "true");
    }
    let absent = "example.com/a/@v/v1.0.1.info";
    setup.get("remote", absent).await.unwrap_err();
    let told: Vec<bool> = one.heads(absent).iter().map(|head| head.contains_key("disable-module-fetch")).collect();
    assert_eq!(told, [true, false]);
}

#[tokio::test]
async fn servers_that_disagree_are_refused_and_the_recorded_bytes_heal() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    let setup = Setup::with(&mirrored(&[&one, &two]), &breaker(Period::millis(500))).await;
    // Large enough to be a file, small enough not to be let out before it is proven.
    let zip = module_zip("example.com/a", "v1.0.0", GOMOD, &filler(40_000));
    let other = module_zip("example.com/a", "v1.0.0", GOMOD, &filler(40_001));
    let path = "example.com/a/@v/v1.0.0.zip";
    one.set(path, Reply::ok(zip.clone()));
    assert_eq!(setup.get("remote", path).await.unwrap(), zip);
    // The bytes are lost, and the server that is asked first has others: the next one is asked, and nobody notices.
    setup.lose_blobs();
    one.set(path, Reply::ok(other.clone()));
    two.set(path, Reply::ok(zip.clone()));
    assert_eq!(setup.get("remote", path).await.unwrap(), zip);
    assert_eq!((one.count(path), two.count(path)), (2, 1));
    // Both have others: refused, nothing is kept, and both are left alone for a while.
    setup.lose_blobs();
    two.set(path, Reply::ok(other));
    let refused = setup.get("remote", path).await;
    assert!(matches!(refused, Err(RepoError::Integrity(_))), "{refused:?}");
    assert_eq!(setup.files(), 0);
    one.set(path, Reply::ok(zip.clone()));
    until("the right bytes heal", SOON, async || setup.get("remote", path).await.ok().as_ref() == Some(&zip)).await;
}

#[tokio::test]
async fn a_credential_goes_to_its_own_host_and_not_where_that_redirects_to() {
    let (home, away) = (Origin::start().await, Origin::start().await);
    let hosts = BTreeMap::from([host(
        &home,
        HostSettings { username: "bob".into(), password: "secret".into(), ..HostSettings::default() },
    )]);
    let outbound = OutboundSettings { hosts, ..OutboundSettings::default() };
    let setup = Setup::with(&mirrored(&[&home]), &outbound).await;
    away.serve("example.com/a", "v1.0.0", GOMOD);
    let path = "example.com/a/@v/v1.0.0.mod";
    let there = vec![("location", format!("{}/{path}", away.url))];
    home.set(path, Reply { headers: there, ..Reply::status(302, "") });
    assert_eq!(setup.text("remote", path).await, GOMOD);
    assert_eq!(home.heads(path)[0]["authorization"], "Basic Ym9iOnNlY3JldA==");
    assert!(!away.heads(path)[0].contains_key("authorization"));
    // A credential that is refused is our trouble and no word about the module.
    home.set("example.com/a/@v/list", Reply::status(401, ""));
    assert!(matches!(setup.get("remote", "example.com/a/@v/list").await, Err(RepoError::Credential(_))));
}

#[tokio::test]
async fn a_list_that_is_asked_often_is_refreshed_before_its_period_ends() {
    let origin = Origin::start().await;
    let mut settings = mirrored(&[&origin]);
    settings.get_mut("remote").unwrap().metadata_period = Period::millis(2_000);
    let setup = Setup::new(&settings).await;
    origin.set("example.com/a/@v/list", Reply::ok("v1.0.0\n"));
    let (mut statuses, mut asked) = (Vec::new(), 0);
    until("the list is refreshed twice", SOON, async || {
        asked += 1;
        statuses.push(setup.fetch("remote", "example.com/a/@v/list").await.unwrap().cache);
        origin.count("example.com/a/@v/list") == 3
    })
    .await;
    let waited = statuses.iter().skip(1).filter(|status| **status != CacheStatus::Hit).count();
    assert_eq!(waited, 0, "nobody waits for a list that is asked all the time: {statuses:?}");
    assert!(asked > 10, "and it is not fetched for each of them: {asked}");
}
