//! A remote repository over an upstream that does as it is told.

mod servers;

use std::sync::Arc;
use std::time::Duration;

use shared::change::{EventType, Kind};
use shared::config::Period;

use crate::repository::testing::{Origin, Reply, Setup, filler, info, module_zip, settings, target};
use crate::repository::{Body, CacheStatus, FetchOptions, RepoError, VerifyError};
use crate::upstream::outbound::{BreakerSettings, OutboundSettings};

const GOMOD: &str = "module example.com/a\n";

/// A setup whose mutables are asked for again at every request.
async fn impatient(origin: &Origin) -> Setup {
    Setup::new(&settings(&[("remote", &origin.url)], Period::secs(0))).await
}

/// A center that goes on asking a server that fails.
fn trusting() -> OutboundSettings {
    let breaker = BreakerSettings { failures: 1_000_000, ..BreakerSettings::default() };
    OutboundSettings { breaker, ..OutboundSettings::default() }
}

fn big_zip() -> bytes::Bytes {
    module_zip("example.com/a", "v1.0.0", GOMOD, &filler(300_000))
}

#[tokio::test]
async fn artefacts_are_fetched_once_and_served_unchanged() {
    let origin = Origin::start().await;
    let setup = Setup::over(&origin).await;
    let zip = origin.serve("example.com/a", "v1.0.0", GOMOD);
    assert_eq!(setup.text("remote", "example.com/a/@v/v1.0.0.mod").await, GOMOD);
    assert_eq!(origin.asked(), ["/example.com/a/@v/v1.0.0.mod"], "a .mod needs no zip");
    assert_eq!(setup.text("remote", "example.com/a/@v/v1.0.0.info").await, info("v1.0.0"));
    for expected in [CacheStatus::Miss, CacheStatus::Hit] {
        let answer = setup.fetch("remote", "example.com/a/@v/v1.0.0.zip").await.unwrap();
        assert_eq!(answer.cache, expected);
        if let Body::Filling(fill) = &answer.body {
            fill.done().await.unwrap();
        }
    }
    assert_eq!(setup.get("virtual", "example.com/a/@v/v1.0.0.zip").await.unwrap(), zip);
    assert_eq!(origin.asked().len(), 3);
    let changes = setup.changes("virtual").await;
    assert_eq!(changes.len(), 1, "one CREATE a version");
    assert_eq!((changes[0].event_type, changes[0].reason.as_str()), (EventType::Create, "fill"));
    let lines = setup.manifest_lines("virtual").await;
    assert_eq!(lines.lines().count(), 3, "{lines}");
}

#[tokio::test]
async fn what_is_no_info_and_no_gomod_is_not_kept() {
    let origin = Origin::start().await;
    let setup = Setup::over(&origin).await;
    origin.serve("example.com/a", "v1.0.0", GOMOD);
    let wrong: [(&str, &[&str]); 2] = [
        ("v1.0.0.info", &[r#"{"Version":"v1.0.0","Time":"yesterday"}"#, r#"{"Version":"v1.0.1"}"#, "[]", "null", ""]),
        ("v1.0.0.mod", &["", "\n", r#"{"error":"maintenance"}"#, "[]", " <html>"]),
    ];
    for (file, bodies) in wrong {
        let path = format!("example.com/a/@v/{file}");
        for body in bodies {
            origin.set(&path, Reply::ok(*body));
            let error = setup.get("remote", &path).await.unwrap_err();
            assert!(matches!(error, RepoError::Upstream(_)), "{file} {body:?}: {error:?}");
        }
    }
    origin.serve("example.com/a", "v1.0.0", GOMOD);
    assert_eq!(setup.text("remote", "example.com/a/@v/v1.0.0.mod").await, GOMOD);
    assert_eq!(setup.text("remote", "example.com/a/@v/v1.0.0.info").await, info("v1.0.0"));
}

#[tokio::test]
async fn a_hundred_cold_requests_are_one_at_the_upstream() {
    let origin = Origin::start().await;
    let setup = Arc::new(Setup::over(&origin).await);
    let zip = big_zip();
    let path = "example.com/a/@v/v1.0.0.zip";
    origin.set(path, Reply { delay: Duration::from_millis(50), ..Reply::ok(zip.clone()) });
    let get = |_| {
        let setup = Arc::clone(&setup);
        tokio::spawn(async move { setup.get("virtual", path).await })
    };
    for body in futures_util::future::join_all((0..100).map(get)).await {
        assert_eq!(body.unwrap().unwrap(), zip);
    }
    assert_eq!(origin.count(path), 1);
}

#[tokio::test]
async fn a_truncated_zip_reaches_nobody_whole_and_leaves_nothing() {
    let origin = Origin::start().await;
    let setup = Setup::with(&settings(&[("remote", &origin.url)], Period::secs(60)), &trusting()).await;
    let (path, zip) = ("example.com/a/@v/v1.0.0.zip", big_zip());
    for cut_at in [0, 1000, 200_000, zip.len() - 1] {
        origin.set(path, Reply { cut_at: Some(cut_at), ..Reply::ok(zip.clone()) });
        let broken = setup.get("remote", path).await;
        assert!(matches!(broken, Err(RepoError::Upstream(_))), "cut at {cut_at}: {broken:?}");
    }
    assert_eq!(setup.files(), 0);
    assert!(setup.changes("remote").await.is_empty());
    origin.set(path, Reply::ok(zip.clone()));
    assert_eq!(setup.get("remote", path).await.unwrap(), zip, "the next request heals");
}

#[tokio::test]
async fn wrong_bytes_are_not_kept() {
    let origin = Origin::start().await;
    let setup = Setup::over(&origin).await;
    let path = "example.com/a/@v/v1.0.0.zip";
    let mut damaged = big_zip().to_vec();
    damaged[100_000] ^= 1;
    let foreign = module_zip("example.com/b", "v1.0.0", GOMOD, &filler(200_000));
    for wrong in [damaged.into(), foreign, filler(150_000).into(), bytes::Bytes::new()] {
        origin.set(path, Reply::ok(wrong));
        let refused = setup.get("remote", path).await;
        assert!(matches!(refused, Err(RepoError::Integrity(_))), "{refused:?}");
    }
    let aside = std::fs::read_dir(setup.directory.path().join("data/quarantine")).unwrap().count();
    assert!(aside >= 3, "refused bytes can be looked at: {aside}");
    assert_eq!(setup.files(), 0);
    origin.set(path, Reply::ok(big_zip()));
    assert_eq!(setup.get("remote", path).await.unwrap(), big_zip());
}

#[tokio::test]
async fn another_hash_from_another_source_is_refused() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    let upstreams = [("remote", one.url.as_str()), ("second", two.url.as_str())];
    let setup = Setup::new(&settings(&upstreams, Period::secs(60))).await;
    let zip = one.serve("example.com/a", "v1.0.0", GOMOD);
    setup.get("remote", "example.com/a/@v/v1.0.0.zip").await.unwrap();
    setup.get("remote", "example.com/a/@v/v1.0.0.mod").await.unwrap();
    let other = module_zip("example.com/a", "v1.0.0", GOMOD, b"package other\n");
    two.set("example.com/a/@v/v1.0.0.zip", Reply::ok(other));
    two.set("example.com/a/@v/v1.0.0.mod", Reply::ok("module example.com/a\n\ngo 1.20\n"));
    for path in ["example.com/a/@v/v1.0.0.zip", "example.com/a/@v/v1.0.0.mod"] {
        let refused = setup.get("second", path).await;
        assert!(matches!(refused, Err(RepoError::Integrity(_))), "{refused:?}");
    }
    // Other zip bytes with the same h1 are no conflict.
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    for (name, content) in [("x.go", "package x\n"), ("go.mod", GOMOD)] {
        writer.start_file(format!("example.com/a@v1.0.0/{name}"), options).unwrap();
        std::io::Write::write_all(&mut writer, content.as_bytes()).unwrap();
    }
    let same: bytes::Bytes = writer.finish().unwrap().into_inner().into();
    assert_ne!(same, zip);
    two.set("example.com/a/@v/v1.0.0.zip", Reply::ok(same.clone()));
    assert_eq!(setup.get("second", "example.com/a/@v/v1.0.0.zip").await.unwrap(), same);
    assert_eq!(setup.get("virtual", "example.com/a/@v/v1.0.0.zip").await.unwrap(), zip);
}

#[tokio::test]
async fn the_checksum_database_decides_before_anything_is_kept() {
    let origin = Origin::start().await;
    let setup = Setup::over(&origin).await;
    let zip = origin.serve("example.com/a", "v1.0.0", GOMOD);
    let paths = ["example.com/a/@v/v1.0.0.zip", "example.com/a/@v/v1.0.0.mod"];
    *setup.verifier.0.lock() = Some(VerifyError::Mismatch("h1:other".to_owned()));
    for path in paths {
        let refused = setup.get("remote", path).await;
        assert!(matches!(refused, Err(RepoError::Integrity(_))), "{refused:?}");
    }
    *setup.verifier.0.lock() = Some(VerifyError::Unavailable("no route".to_owned()));
    for path in paths {
        let refused = setup.get("remote", path).await;
        assert!(matches!(refused, Err(RepoError::Unavailable { .. })), "{refused:?}");
    }
    assert!(setup.changes("remote").await.is_empty());
    assert_eq!(setup.files(), 0);
    *setup.verifier.0.lock() = None;
    assert_eq!(setup.get("remote", paths[0]).await.unwrap(), zip);
}

#[tokio::test]
async fn an_outage_is_never_not_found() {
    let origin = Origin::start().await;
    let setup = Setup::with(&settings(&[("remote", &origin.url)], Period::secs(60)), &trusting()).await;
    let names = ["@v/list", "@latest", "@v/main.info", "@v/v1.0.0.info", "@v/v1.0.0.mod", "@v/v1.0.0.zip"];
    let is = |error: &RepoError, status: u16| match error {
        RepoError::NotFound(reason) => status == 404 && reason == "it is not here",
        RepoError::Gone(_) => status == 410,
        RepoError::Blocked(reason) => status == 403 && reason == "it is not here",
        RepoError::Credential(_) => status == 401,
        RepoError::Upstream(_) => matches!(status, 400 | 500 | 502),
        RepoError::Unavailable { .. } => matches!(status, 429 | 503),
        RepoError::Timeout(_) => status == 504,
        _ => false,
    };
    // After 429 nothing is asked for a while.
    for status in [400, 401, 403, 404, 410, 500, 502, 503, 504, 429] {
        for name in names {
            let module = format!("example.com/s{status}");
            for part in ["@v/list", name] {
                origin.set(&format!("{module}/{part}"), Reply::status(status, "not found: it is not here\nmore"));
            }
            let error = setup.get("virtual", &format!("{module}/{name}")).await.unwrap_err();
            assert!(
                is(&error, status) || (status == 403 && matches!(error, RepoError::Blocked(_))),
                "{status} {name}: {error:?}"
            );
        }
    }
    let nobody = Setup::new(&settings(&[("remote", "http://127.0.0.1:1")], Period::secs(60))).await;
    for name in names {
        let error = nobody.get("virtual", &format!("example.com/a/{name}")).await.unwrap_err();
        assert!(matches!(error, RepoError::Unavailable { .. }), "{name}: {error:?}");
        assert!(!error.to_string().contains("127.0.0.1"), "{error}");
    }
}

#[tokio::test]
async fn a_slow_upstream_is_a_timeout() {
    let origin = Origin::start().await;
    let mut settings = settings(&[("remote", &origin.url)], Period::secs(60));
    settings.get_mut("remote").unwrap().first_byte_timeout = Period::millis(100);
    let setup = Setup::new(&settings).await;
    for name in ["@v/list", "@v/v1.0.0.mod", "@v/v1.0.0.zip"] {
        let path = format!("example.com/a/{name}");
        origin.set(&path, Reply { delay: Duration::from_mins(1), ..Reply::ok("") });
        let error = setup.get("virtual", &path).await.unwrap_err();
        assert!(matches!(error, RepoError::Timeout(_)), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn not_found_is_remembered_and_an_outage_is_not() {
    let origin = Origin::start().await;
    let setup = Setup::over(&origin).await;
    let path = "example.com/a/@v/v1.0.0.info";
    for _ in 0..3 {
        assert!(matches!(setup.get("remote", path).await, Err(RepoError::NotFound(_))));
    }
    assert_eq!(origin.count(path), 1);
    // A list that names the version ends the absence.
    origin.serve("example.com/a", "v1.0.0", GOMOD);
    origin.set("example.com/a/@v/list", Reply::ok("v1.0.0\n"));
    assert_eq!(setup.text("remote", "example.com/a/@v/list").await, "v1.0.0\n");
    assert_eq!(setup.text("remote", path).await, info("v1.0.0"));
    let down = "example.com/b/@v/list";
    origin.set(down, Reply::status(500, ""));
    for _ in 0..3 {
        assert!(matches!(setup.get("remote", down).await, Err(RepoError::Upstream(_))));
    }
    assert_eq!(origin.count(down), 3);
}

#[tokio::test]
async fn an_info_about_something_else_is_refused() {
    let origin = Origin::start().await;
    let setup = Setup::over(&origin).await;
    for wrong in ["{\"Version\":\"v1.0.1\"}", "<html>", "{}", "{\"Version\":\"main\"}"] {
        origin.set("example.com/a/@v/v1.0.0.info", Reply::ok(wrong));
        origin.set("example.com/a/@v/main.info", Reply::ok(wrong.replace("v1.0.1", "v1.0")));
        for name in ["v1.0.0", "main"] {
            let refused = setup.get("remote", &format!("example.com/a/@v/{name}.info")).await;
            assert!(matches!(refused, Err(RepoError::Upstream(_))), "{name} {wrong}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn a_list_is_filtered_refreshed_and_served_stale() {
    let origin = Origin::start().await;
    let setup = impatient(&origin).await;
    let path = "example.com/a/@v/list";
    origin.set(path, Reply::ok("v1.1.0\nv0.0.0-20200101000000-abcdefabcdef\nv1.0.0\nv2.0.0\n"));
    let first = setup.fetch("remote", path).await.unwrap();
    assert_eq!(first.bytes(&setup.store).await.unwrap(), "v1.0.0\nv1.1.0\n");
    assert_eq!(first.change_id, Some(setup.store.change_log("remote").unwrap().head()));
    assert!(setup.changes("virtual").await.is_empty(), "the first list changes nothing anybody holds");

    origin.set(path, Reply { headers: vec![("etag", "\"2\"".to_owned())], ..Reply::ok("v1.0.0\nv1.1.0\nv1.2.0\n") });
    assert_eq!(setup.text("virtual", path).await, "v1.0.0\nv1.1.0\nv1.2.0\n");
    let changes = setup.changes("virtual").await;
    let kinds: Vec<_> = changes.iter().map(|change| (change.event_type, change.kind)).collect();
    assert_eq!(kinds, [(EventType::Update, Kind::List), (EventType::Update, Kind::Latest)]);

    let confirmed = setup.fetch("remote", path).await.unwrap();
    assert_eq!(confirmed.cache, CacheStatus::Revalidated);

    origin.set(path, Reply::status(500, ""));
    for repository in ["remote", "virtual"] {
        let stale = setup.fetch(repository, path).await.unwrap();
        assert_eq!((stale.cache, stale.change_id), (CacheStatus::Stale, None));
        assert_eq!(stale.bytes(&setup.store).await.unwrap(), "v1.0.0\nv1.1.0\nv1.2.0\n");
    }
    origin.set(path, Reply::status(404, "gone away"));
    assert!(matches!(setup.get("virtual", path).await, Err(RepoError::NotFound(_))), "the upstream's word counts");
}

#[tokio::test]
async fn without_an_at_latest_the_list_tells_it() {
    let origin = Origin::start().await;
    for refusal in [404, 410, 403] {
        let setup = Setup::over(&origin).await;
        for version in ["v1.0.0", "v1.1.0-rc.1", "v0.0.0-20200101000000-abcdefabcdef"] {
            origin.serve("example.com/a", version, GOMOD);
        }
        origin.set("example.com/a/@latest", Reply::status(refusal, "no"));
        origin.set("example.com/a/@v/list", Reply::ok("v1.0.0\nv1.1.0-rc.1\n"));
        assert_eq!(setup.text("remote", "example.com/a/@latest").await, info("v1.0.0"));
        origin.serve("example.com/p", "v0.0.0-20200101000000-abcdefabcdef", "module example.com/p\n");
        origin.set("example.com/p/@latest", Reply::status(refusal, "no"));
        origin.set("example.com/p/@v/list", Reply::ok("v0.0.0-20200101000000-abcdefabcdef\n"));
        let pseudo = info("v0.0.0-20200101000000-abcdefabcdef");
        assert_eq!(setup.text("remote", "example.com/p/@latest").await, pseudo);
        assert_eq!(setup.text("virtual", "example.com/p/@latest").await, pseudo);
        origin.set("example.com/e/@latest", Reply::status(refusal, "no"));
        origin.set("example.com/e/@v/list", Reply::ok(""));
        assert!(matches!(setup.get("virtual", "example.com/e/@latest").await, Err(RepoError::NotFound(_))));
    }
}

#[tokio::test]
async fn what_is_held_is_answered_without_asking() {
    let origin = Origin::start().await;
    let setup = impatient(&origin).await;
    let zip = origin.serve("example.com/a", "v1.0.0", GOMOD);
    origin.set("example.com/a/@v/list", Reply::ok("v1.0.0\n"));
    let held = FetchOptions::HELD_ONLY;
    for name in ["@v/list", "@v/v1.0.0.zip"] {
        let request = crate::repository::testing::asked(&format!("example.com/a/{name}"));
        let repository = setup.repository("virtual");
        assert!(matches!(repository.fetch(&request, &held).await, Err(RepoError::NotFound(_))));
        setup.get("virtual", &format!("example.com/a/{name}")).await.unwrap();
        let asked = origin.asked().len();
        let body = repository.fetch(&request, &held).await.unwrap().bytes(&setup.store).await.unwrap();
        assert!(body == zip || body == "v1.0.0\n");
        assert_eq!(origin.asked().len(), asked);
    }
}

#[tokio::test]
async fn a_tombstone_in_a_remote_blocks_and_beats_a_fill_that_began_before() {
    let origin = Origin::start().await;
    let setup = Arc::new(Setup::over(&origin).await);
    let path = "example.com/a/@v/v1.0.0.zip";
    origin.set(path, Reply { delay: Duration::from_millis(300), ..Reply::ok(big_zip()) });
    let filling = tokio::spawn({
        let setup = Arc::clone(&setup);
        async move { setup.get("virtual", path).await }
    });
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while origin.count(path) == 0 {
        assert!(tokio::time::Instant::now() < deadline, "the upstream was not asked");
        tokio::task::yield_now().await;
    }
    let (module, version) = target("example.com/a", "v1.0.0");
    setup.repository("remote").tombstone(&module, &version).await.unwrap();
    let aborted = filling.await.unwrap();
    assert!(matches!(aborted, Err(RepoError::Blocked(_))), "{aborted:?}");
    for name in ["info", "mod", "zip"] {
        let blocked = setup.get("virtual", &format!("example.com/a/@v/v1.0.0.{name}")).await;
        assert!(matches!(blocked, Err(RepoError::Blocked(_))), "{blocked:?}");
    }
    setup.repository("remote").restore(&module, &version).await.unwrap();
    assert_eq!(setup.get("virtual", path).await.unwrap(), big_zip());
}

#[tokio::test]
async fn redirects_are_followed_a_few_times() {
    let origin = Origin::start().await;
    let setup = Setup::over(&origin).await;
    let to = |place: &str| Reply { headers: vec![("location", place.to_owned())], ..Reply::status(302, "") };
    let zip = big_zip();
    origin.set("example.com/a/@v/v1.0.0.zip", to("/elsewhere/1"));
    origin.set("elsewhere/1", Reply::ok(zip.clone()));
    assert_eq!(setup.get("remote", "example.com/a/@v/v1.0.0.zip").await.unwrap(), zip);
    origin.set("example.com/b/@v/list", to("/example.com/b/@v/list"));
    assert!(matches!(setup.get("remote", "example.com/b/@v/list").await, Err(RepoError::Upstream(_))));
    assert_eq!(origin.count("example.com/b/@v/list"), 6);
}

#[tokio::test]
async fn an_offline_repository_asks_nobody_and_speaks_of_what_it_holds() {
    let origin = Origin::start().await;
    let mut settings = settings(&[("remote", &origin.url)], Period::secs(0));
    let setup = Setup::new(&settings).await;
    for version in ["v1.0.0", "v1.1.0", "v1.2.0"] {
        origin.serve("example.com/a", version, "module example.com/a\n\nretract v1.1.0\n");
    }
    origin.set("example.com/a/@v/list", Reply::ok("v1.0.0\nv1.1.0\nv1.2.0\n"));
    origin.set("example.com/a/@v/main.info", Reply::ok(info("v1.0.0")));
    for name in ["list", "main.info", "v1.0.0.zip", "v1.0.0.mod", "v1.0.0.info", "v1.1.0.zip", "v1.1.0.mod"] {
        setup.get("virtual", &format!("example.com/a/@v/{name}")).await.unwrap();
    }
    settings.get_mut("remote").unwrap().offline = true;
    let setup = setup.again(&settings).await;
    let before = origin.asked();
    assert_eq!(setup.text("virtual", "example.com/a/@v/list").await, "v1.0.0\nv1.1.0\n");
    assert_eq!(setup.text("virtual", "example.com/a/@latest").await, info("v1.0.0"));
    assert_eq!(setup.text("remote", "example.com/a/@latest").await, info("v1.0.0"));
    assert_eq!(setup.text("virtual", "example.com/a/@v/main.info").await, info("v1.0.0"));
    let list = setup.fetch("virtual", "example.com/a/@v/list").await.unwrap();
    assert!(list.cache == CacheStatus::Hit && list.change_id.is_some() && list.caveat.is_none(), "{list:?}");
    for name in ["a/@v/v1.2.0.zip", "a/@v/next.info", "b/@v/list", "b/@latest", "b/@v/v1.0.0.info"] {
        let error = setup.get("virtual", &format!("example.com/{name}")).await.unwrap_err();
        assert!(matches!(error, RepoError::Unavailable { .. }), "{name}: {error:?}");
    }
    assert_eq!(origin.asked(), before);
}
