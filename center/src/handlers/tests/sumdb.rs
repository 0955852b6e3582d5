//! Checksum databases through the router.

use http::StatusCode;

use super::{Center, Upstream, module_zip};
use crate::sumdb::Outage;
use crate::sumdb::test_log::{Log, NAME, public_key_text, serve, signing_key};

const BASE: &str = "/api/go/golang-virtual/sumdb";

async fn over(base: &str, verify: bool) -> Center {
    over_both(base, None, verify).await
}

async fn over_both(base: &str, upstream: Option<&str>, verify: bool) -> Center {
    Center::with(|config| {
        if let Some(upstream) = upstream {
            super::set_upstream(config, upstream);
        }
        config.sumdb.names = vec![public_key_text(NAME, &signing_key(1))];
        config.sumdb.upstreams.insert(NAME.to_owned(), base.to_owned());
        config.sumdb.verify = verify;
    })
    .await
}

#[tokio::test]
async fn a_database_with_slashes_in_its_name_is_proxied_and_kept() {
    let (base, served) = serve(Log::of(300, ""), signing_key(1)).await;
    let center = over(&base, false).await;
    assert_eq!(center.get(&format!("{BASE}/{NAME}/supported")).await.status, StatusCode::OK);
    let paths = ["lookup/m.test/m7@v1.0.0", "tile/8/0/000", "tile/8/0/001.p/44", "latest"];
    for path in paths {
        let answer = center.get(&format!("{BASE}/{NAME}/{path}")).await;
        assert_eq!((answer.status, answer.header("x-cache")), (StatusCode::OK, "MISS"), "{path}");
        let again = center.get(&format!("{BASE}/{NAME}/{path}")).await;
        assert_eq!((again.body, again.headers["x-cache"].as_bytes()), (answer.body, b"HIT".as_slice()), "{path}");
        assert_eq!(served.asked(path), 1, "{path}");
    }
    let tile = center.get(&format!("{BASE}/{NAME}/tile/8/0/000")).await;
    assert_eq!(tile.header("cache-control"), "public, max-age=31536000, immutable");
    // The database goes away: what is kept is still answered, the rest is an outage.
    served.fail();
    assert_eq!(center.get(&format!("{BASE}/{NAME}/tile/8/0/000")).await.status, StatusCode::OK);
    let answer = center.get(&format!("{BASE}/{NAME}/lookup/m.test/m8@v1.0.0")).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn what_the_database_does_not_have_is_404_for_a_minute() {
    let (base, served) = serve(Log::of(3, ""), signing_key(1)).await;
    let center = over(&base, false).await;
    for _ in 0..2 {
        let answer = center.get(&format!("{BASE}/{NAME}/lookup/m.test/m9@v1.0.0")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(served.asked("lookup/m.test/m9@v1.0.0"), 1);
    served.lie("lookup/m.test/m1@v1.0.0", StatusCode::GONE, "gone");
    assert_eq!(center.get(&format!("{BASE}/{NAME}/lookup/m.test/m1@v1.0.0")).await.status, StatusCode::GONE);
}

#[tokio::test]
async fn other_databases_and_paths_are_404() {
    let (base, _served) = serve(Log::of(3, ""), signing_key(1)).await;
    let center = over(&base, false).await;
    for path in ["other.test/supported", "other.test/latest", "other.test/lookup/m.test/m1@v1.0.0"] {
        assert_eq!(center.get(&format!("{BASE}/{path}")).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["tile/8/0/x", "tile/99/0/000", "nothing"] {
        assert_eq!(center.get(&format!("{BASE}/{NAME}/{path}")).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_private_name_is_not_sent_to_any_database() {
    let (base, served) = serve(Log::of(3, ""), signing_key(1)).await;
    let center = over(&base, false).await;
    center.publish("m.test/m1", "v1.0.0").await;
    for target in ["m.test/m1@v1.0.0", "m.test/m1/below@v1.0.0"] {
        for name in [NAME, "other.test"] {
            let answer = center.get(&format!("{BASE}/{name}/lookup/{target}")).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{target}");
        }
        assert_eq!(served.asked(&format!("lookup/{target}")), 0);
    }
}

#[tokio::test]
async fn a_name_for_which_nothing_is_answered_is_not_sent_either() {
    let (base, served) = serve(Log::of(3, ""), signing_key(1)).await;
    let center = Center::with(|config| {
        config.sumdb.names = vec![public_key_text(NAME, &signing_key(1))];
        config.sumdb.upstreams.insert(NAME.to_owned(), base.clone());
        for name in ["golang-remote", "golang-local"] {
            let repository = config.repositories.get_mut(name).unwrap();
            repository.exclude = shared::module::Patterns::new(["m.test/m1".to_owned()]).unwrap();
        }
    })
    .await;
    let answer = center.get(&format!("{BASE}/{NAME}/lookup/m.test/m1@v1.0.0")).await;
    assert_eq!((answer.status, served.asked("lookup/m.test/m1@v1.0.0")), (StatusCode::FORBIDDEN, 0));
    assert_eq!(center.get(&format!("{BASE}/{NAME}/lookup/m.test/m2@v1.0.0")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_error_page_is_not_kept_as_a_tile() {
    let (base, served) = serve(Log::of(300, ""), signing_key(1)).await;
    let center = over(&base, false).await;
    for path in ["tile/8/0/000", "lookup/m.test/m1@v1.0.0", "latest"] {
        served.lie(path, StatusCode::OK, "<html>sign in</html>");
        assert_eq!(center.get(&format!("{BASE}/{NAME}/{path}")).await.status, StatusCode::BAD_GATEWAY, "{path}");
    }
    served.be_honest();
    for path in ["tile/8/0/000", "lookup/m.test/m1@v1.0.0", "latest"] {
        assert_eq!(center.get(&format!("{BASE}/{NAME}/{path}")).await.status, StatusCode::OK, "{path}");
    }
}

/// The h1 of a zip as the center itself computes it when the zip is published to another one.
async fn h1_of(module: &str, zip: &bytes::Bytes) -> String {
    let publisher = Center::new().await;
    let stored = publisher.put(&format!("/api/go/golang-local/{module}/@v/v1.0.0.zip"), zip.clone()).await;
    serde_json::from_slice::<serde_json::Value>(&stored.body).unwrap()["h1"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn while_the_database_is_away_nothing_or_marked_and_unkept_things_are_served() {
    let upstream = Upstream::new().await;
    let zip = module_zip("pub.test/a", "v1.0.0", &super::noise(200_000));
    let gomod_h1 = shared::module::h1::hash1_gomod(b"module pub.test/a\n");
    let mut log = Log::of(5, "");
    log.add("pub.test/a", "v1.0.0", &h1_of("pub.test/a", &zip).await, &gomod_h1);
    upstream.module("pub.test/a", "v1.0.0", &zip);
    upstream.module("golang.org/toolchain", "v0.0.1-go1.99.0.linux-amd64", &module_zip("x.test/y", "v1.0.0", b""));
    let base = "/api/go/golang-virtual/pub.test/a/@v/v1.0.0";
    for outage in [Outage::Wait, Outage::Unverified] {
        let (database, served) = serve(log.clone(), signing_key(1)).await;
        served.fail();
        let center = Center::with(|config| {
            super::set_upstream(config, &upstream.url);
            config.sumdb.names = vec![public_key_text(NAME, &signing_key(1))];
            config.sumdb.upstreams.insert(NAME.to_owned(), database.clone());
            config.sumdb.outage = outage;
        })
        .await;
        let toolchain = "/api/go/golang-virtual/golang.org/toolchain/@v/v0.0.1-go1.99.0.linux-amd64.mod";
        assert!(center.get(toolchain).await.status.is_server_error(), "a toolchain is never served unverified");
        for (name, body) in [("mod", b"module pub.test/a\n".as_slice()), ("zip", &zip)] {
            let path = format!("{base}.{name}");
            let answer = center.get(&path).await;
            if outage == Outage::Wait {
                assert!(answer.broken || answer.status == StatusCode::SERVICE_UNAVAILABLE, "{}", answer.status);
            } else {
                assert!(answer.status == StatusCode::OK && !answer.broken && answer.body == body, "{path}");
                assert_eq!(answer.header("x-modtier-caveat"), "unverified", "{path}");
                assert_eq!(answer.header("cache-control"), "no-store", "{path}");
            }
            let held = center.get_with(&path, &[("disable-module-fetch", "true")]).await;
            assert_eq!(held.status, StatusCode::NOT_FOUND, "{path}: nothing is kept");
        }
        served.come_back();
        let verified = center.get(&format!("{base}.zip")).await;
        assert!(verified.body == zip && !verified.headers.contains_key("x-modtier-caveat"), "{outage:?}");
        // What is proven outlives the next outage, and so does the database's head.
        served.fail();
        assert_eq!(center.get(&format!("{base}.zip")).await.body, zip);
        assert_eq!(center.get(&format!("{BASE}/{NAME}/lookup/pub.test/a@v1.0.0")).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_lie_is_refused_whatever_is_done_in_an_outage() {
    let upstream = Upstream::new().await;
    let mut log = Log::of(5, "");
    log.add("pub.test/a", "v1.0.0", "h1:other=", "h1:other=");
    upstream.module("pub.test/a", "v1.0.0", &module_zip("pub.test/a", "v1.0.0", b"package evil\n"));
    let (database, served) = serve(log, signing_key(1)).await;
    let center = Center::with(|config| {
        super::set_upstream(config, &upstream.url);
        config.sumdb.names = vec![public_key_text(NAME, &signing_key(1))];
        config.sumdb.upstreams.insert(NAME.to_owned(), database.clone());
        config.sumdb.outage = Outage::Unverified;
    })
    .await;
    for name in ["mod", "zip"] {
        let answer = center.get(&format!("/api/go/golang-virtual/pub.test/a/@v/v1.0.0.{name}")).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{name}");
    }
    served.lie("lookup/pub.test/a@v1.0.0", StatusCode::OK, {
        let forged = served.log.lock().lookup("pub.test/a@v1.0.0", &signing_key(2)).unwrap();
        forged.replace("h1:other=", "h1:evil=")
    });
    let answer = center.get("/api/go/golang-virtual/pub.test/a/@v/v1.0.0.mod").await;
    assert!(answer.status.is_server_error(), "{}", answer.status);
}

#[tokio::test]
async fn a_center_without_a_way_to_the_database_answers_what_it_holds() {
    let (base, _served) = serve(Log::of(300, ""), signing_key(1)).await;
    let center = over(&base, false).await;
    let lookup = format!("{BASE}/{NAME}/lookup/m.test/m7@v1.0.0");
    let held = center.get(&lookup).await.body;
    let center = center.again(|config| {
        config.sumdb.upstreams.clear();
    });
    let center = center.await;
    let answer = center.get(&lookup).await;
    assert_eq!((answer.status, answer.body), (StatusCode::OK, held));
    let missing = center.get(&format!("{BASE}/{NAME}/lookup/m.test/m8@v1.0.0")).await;
    assert_eq!(missing.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_public_module_is_served_only_with_the_databases_hash() {
    let upstream = Upstream::new().await;
    let good = module_zip("pub.test/a", "v1.0.0", b"package a\n");
    let h1 = h1_of("pub.test/a", &good).await;
    let gomod_h1 = shared::module::h1::hash1_gomod(b"module pub.test/a\n");
    let mut log = Log::of(5, "");
    log.add("pub.test/a", "v1.0.0", &h1, &gomod_h1);
    let (base, _served) = serve(log, signing_key(1)).await;
    let center = over_both(&base, Some(&upstream.url), true).await;

    upstream.module("pub.test/a", "v1.0.0", &module_zip("pub.test/a", "v1.0.0", b"package evil\n"));
    let path = "/api/go/golang-virtual/pub.test/a/@v/v1.0.0.zip";
    let answer = center.get(path).await;
    assert!(answer.broken || answer.status == StatusCode::BAD_GATEWAY, "{}", answer.status);
    upstream.module("pub.test/a", "v1.0.0", &good);
    assert_eq!(center.get(path).await.body, good);

    upstream.module("pub.test/unknown", "v1.0.0", &module_zip("pub.test/unknown", "v1.0.0", b"package a\n"));
    let answer = center.get("/api/go/golang-virtual/pub.test/unknown/@v/v1.0.0.zip").await;
    assert!(
        answer.broken || answer.status.is_server_error() || answer.status == StatusCode::FORBIDDEN,
        "{}",
        answer.status
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_centers_on_one_database_ask_once() {
    let database = modtier_tests::PostgresServer::start().await;
    let (base, served) = serve(Log::of(300, ""), signing_key(1)).await;
    let center = async || {
        let replica = Center::with(|config| {
            config.storage.metadata = database.url();
            config.storage.blobs.url = "memory:".to_owned();
            config.sumdb.names = vec![public_key_text(NAME, &signing_key(1))];
            config.sumdb.upstreams.insert(NAME.to_owned(), base.clone());
        });
        replica.await
    };
    let centers = [center().await, center().await];
    let lookups = (0..20).map(|number| format!("lookup/m.test/m{number}@v1.0.0"));
    let paths: Vec<String> = lookups.chain(["tile/8/0/000".to_owned()]).collect();
    let asking = paths.iter().flat_map(|path| centers.iter().map(move |center| (center, path)));
    let asking = asking.map(|(center, path)| async move {
        let answer = center.get(&format!("{BASE}/{NAME}/{path}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        answer.body
    });
    let bodies = futures_util::future::join_all(asking).await;
    for (path, both) in paths.iter().zip(bodies.chunks(2)) {
        assert_eq!(both[0], both[1], "{path}");
        assert_eq!(served.asked(path), 1, "{path}");
    }
}

#[tokio::test]
async fn without_a_database_a_toolchain_is_refused_for_good_and_one_that_is_not_there_is_not_found() {
    let upstream = Upstream::new().await;
    let version = "v0.0.1-go1.99.0.linux-amd64";
    upstream.module("golang.org/toolchain", version, &module_zip("golang.org/toolchain", version, b""));
    let center = Center::with(|config| {
        super::set_upstream(config, &upstream.url);
        config.sumdb.names.clear();
        config.sumdb.verify = false;
    })
    .await;
    for part in ["zip", "mod"] {
        let path = format!("golang.org/toolchain/@v/{version}.{part}");
        let answer = center.get(&format!("/api/go/golang-virtual/{path}")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{part}: {}", answer.text());
        assert!(answer.text().contains("sumdb.names"), "{}", answer.text());
        assert!(!answer.headers.contains_key("retry-after"), "it will be no other when asked again");
        // `go` tells a version of the language from one of a toolchain by this.
        let absent = format!("/api/go/golang-virtual/golang.org/toolchain/@v/v0.0.1-go1.98.linux-amd64.{part}");
        assert_eq!(center.get(&absent).await.status, StatusCode::NOT_FOUND, "{part}");
    }
}
