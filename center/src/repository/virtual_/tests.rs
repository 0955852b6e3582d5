//! The merge: who is asked, what wins, and what an outage may never become.

use shared::config::Period;

use crate::repository::testing::{Origin, Reply, Setup, info, module_zip, settings, target};
use crate::repository::{CacheStatus, RepoError};

async fn two(one: &Origin, two: &Origin) -> Setup {
    Setup::new(&settings(&[("remote", &one.url), ("second", &two.url)], Period::secs(0))).await
}

#[tokio::test]
async fn lists_are_merged_sorted_and_each_version_once() {
    let (one, other) = (Origin::start().await, Origin::start().await);
    let setup = two(&one, &other).await;
    one.set("example.com/a/@v/list", Reply::ok("v1.10.0\nv1.0.0\n"));
    other.set("example.com/a/@v/list", Reply::ok("v1.2.0\nv1.10.0\n"));
    assert_eq!(setup.text("virtual", "example.com/a/@v/list").await, "v1.0.0\nv1.2.0\nv1.10.0\n");
    // A member that does not know the module takes nothing away.
    other.set("example.com/a/@v/list", Reply::status(404, ""));
    let answer = setup.fetch("virtual", "example.com/a/@v/list").await.unwrap();
    assert_eq!(answer.bytes(&setup.store).await.unwrap(), "v1.0.0\nv1.10.0\n");
    assert_eq!(answer.change_id, Some(setup.store.change_log("virtual").unwrap().head()));
}

#[tokio::test]
async fn a_member_that_fails_makes_a_list_partial_and_an_empty_one_an_error() {
    let (one, other) = (Origin::start().await, Origin::start().await);
    let setup = two(&one, &other).await;
    one.set("example.com/a/@v/list", Reply::ok("v1.0.0\n"));
    other.set("example.com/a/@v/list", Reply::status(500, ""));
    let partial = setup.fetch("virtual", "example.com/a/@v/list").await.unwrap();
    assert_eq!((partial.cache, partial.change_id), (CacheStatus::Stale, None));
    for reply in [Reply::ok(""), Reply::status(404, ""), Reply::status(403, "")] {
        one.set("example.com/b/@v/list", reply);
        other.set("example.com/b/@v/list", Reply::status(500, ""));
        let error = setup.get("virtual", "example.com/b/@v/list").await.unwrap_err();
        assert!(matches!(error, RepoError::Upstream(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_version_comes_from_the_first_member_that_has_it() {
    let (one, other) = (Origin::start().await, Origin::start().await);
    let setup = two(&one, &other).await;
    let zip = other.serve("example.com/a", "v1.0.0", "module example.com/a\n");
    let path = "example.com/a/@v/v1.0.0.zip";
    assert_eq!(setup.get("virtual", path).await.unwrap(), zip);
    assert_eq!((one.count(path), other.count(path)), (1, 1));
    // One says no, the other cannot be asked: that is not "not found".
    let unknown = "example.com/a/@v/v1.0.1.info";
    other.set(unknown, Reply::status(502, ""));
    assert!(matches!(setup.get("virtual", unknown).await, Err(RepoError::Upstream(_))));
    other.set(unknown, Reply::status(403, ""));
    assert!(matches!(setup.get("virtual", unknown).await, Err(RepoError::Blocked(_))));
    other.set(unknown, Reply::status(404, ""));
    assert!(matches!(setup.get("virtual", unknown).await, Err(RepoError::NotFound(_))));
    let gone = "example.com/a/@v/v1.0.2.info";
    one.set(gone, Reply::status(410, ""));
    assert!(matches!(setup.get("virtual", gone).await, Err(RepoError::NotFound(_))), "not every member says gone");
    other.set("example.com/a/@v/v1.0.3.info", Reply::status(410, ""));
    one.set("example.com/a/@v/v1.0.3.info", Reply::status(410, ""));
    assert!(matches!(setup.get("virtual", "example.com/a/@v/v1.0.3.info").await, Err(RepoError::Gone(_))));
}

#[tokio::test]
async fn an_owned_path_never_leaves_the_house() {
    let origin = Origin::start().await;
    let mut settings = settings(&[("remote", &origin.url)], Period::secs(0));
    settings.get_mut("local").unwrap().owns = vec!["corp.example.com".to_owned()];
    let setup = Setup::new(&settings).await;
    let zip = module_zip("example.com/own", "v1.0.0", "module example.com/own\n", b"package own\n");
    setup.publish("example.com/own", "v1.0.0", &zip).await.unwrap();
    for module in ["example.com/own", "example.com/own/sub", "corp.example.com/x", "example.com/own/v2"] {
        origin.serve(module, "v1.5.0", &format!("module {module}\n"));
        for name in ["@v/list", "@latest", "@v/main.info", "@v/v1.5.0.info", "@v/v1.5.0.mod", "@v/v1.5.0.zip"] {
            let path = format!("{module}/{name}");
            let Ok(request) = std::panic::catch_unwind(|| crate::repository::testing::asked(&path)) else { continue };
            for repository in ["virtual", "remote", "local"] {
                let options = crate::repository::FetchOptions::default();
                let result = setup.repository(repository).fetch(&request, &options).await;
                if repository == "remote" {
                    assert!(matches!(result, Err(RepoError::Blocked(_))), "{path}: {result:?}");
                } else if name.starts_with("@v/v1.5") {
                    assert!(matches!(result, Err(RepoError::NotFound(_))), "{path}: {result:?}");
                }
            }
        }
    }
    assert_eq!(origin.asked(), Vec::<String>::new());
    assert_eq!(setup.text("virtual", "example.com/own/@v/list").await, "v1.0.0\n");
}

#[tokio::test]
async fn latest_is_the_newest_release_that_is_not_retracted() {
    let origin = Origin::start().await;
    let setup = Setup::new(&settings(&[("remote", &origin.url)], Period::secs(0))).await;
    let gomod = "module example.com/a\n\nretract (\n\tv1.2.0 // bad\n\t[v1.1.0, v1.1.9]\n)\n";
    for version in ["v1.0.0", "v1.1.5", "v1.2.0", "v1.3.0-rc.1"] {
        origin.serve("example.com/a", version, gomod);
    }
    origin.set("example.com/a/@v/list", Reply::ok("v1.0.0\nv1.1.5\nv1.2.0\nv1.3.0-rc.1\n"));
    assert_eq!(setup.text("virtual", "example.com/a/@latest").await, info("v1.0.0"));
    assert_eq!(origin.count("example.com/a/@latest"), 0, "a list that tells needs no @latest");
    // Everything is retracted: as for the go command, the members' own latest decides.
    let all = "module example.com/b\n\nretract [v0.0.0, v1.9.9]\n";
    origin.serve("example.com/b", "v1.0.0", all);
    origin.set("example.com/b/@v/list", Reply::ok("v1.0.0\n"));
    origin.set("example.com/b/@latest", Reply::ok(info("v1.0.1-0.20200101000000-abcdefabcdef")));
    let pseudo = info("v1.0.1-0.20200101000000-abcdefabcdef");
    assert_eq!(setup.text("virtual", "example.com/b/@latest").await, pseudo);
}

#[tokio::test]
async fn incompatible_versions_are_latest_only_without_a_gomod() {
    let origin = Origin::start().await;
    let setup = Setup::new(&settings(&[("remote", &origin.url)], Period::secs(0))).await;
    for (module, gomod, latest) in [
        ("example.com/with", "module example.com/with\n\ngo 1.20\n", "v1.0.0"),
        ("example.com/without", "module example.com/without\n", "v2.0.0+incompatible"),
    ] {
        for version in ["v1.0.0", "v2.0.0+incompatible"] {
            origin.serve(module, version, gomod);
        }
        origin.set(&format!("{module}/@v/list"), Reply::ok("v1.0.0\nv2.0.0+incompatible\n"));
        assert_eq!(setup.text("virtual", &format!("{module}/@latest")).await, info(latest));
    }
}

#[tokio::test]
async fn a_merge_does_not_wait_for_a_member_for_ever() {
    let (one, other) = (Origin::start().await, Origin::start().await);
    let mut settings = settings(&[("remote", &one.url), ("second", &other.url)], Period::secs(0));
    settings.get_mut("virtual").unwrap().merge_timeout = Period::millis(300);
    let setup = Setup::new(&settings).await;
    one.set("example.com/a/@v/list", Reply::ok("v1.0.0\n"));
    let slow = Reply { delay: std::time::Duration::from_mins(1), ..Reply::ok("v1.1.0\n") };
    other.set("example.com/a/@v/list", slow);
    let partial = setup.fetch("virtual", "example.com/a/@v/list").await.unwrap();
    assert_eq!(partial.bytes(&setup.store).await.unwrap(), "v1.0.0\n");
    assert_eq!(partial.change_id, None);
}

#[tokio::test]
async fn the_manifest_follows_ownership_and_tombstones() {
    let origin = Origin::start().await;
    let setup = Setup::over(&origin).await;
    origin.serve("example.com/a", "v1.0.0", "module example.com/a\n");
    setup.get("virtual", "example.com/a/@v/v1.0.0.info").await.unwrap();
    let lines = async |setup: &Setup| {
        let manifest = setup.repository("virtual").manifest().await.unwrap();
        (setup.manifest_lines("virtual").await, manifest.root, manifest.head)
    };
    let (before, root, head) = lines(&setup).await;
    assert!(before.starts_with("info example.com/a v1.0.0 "), "{before}");
    assert_eq!(lines(&setup).await, (before, root, head));
    // Publishing below a public path takes it over: what was held of it from elsewhere counts no more.
    let zip = module_zip("example.com/a", "v1.1.0", "module example.com/a\n", b"package a\n");
    setup.publish("example.com/a", "v1.1.0", &zip).await.unwrap();
    let (after, new_root, new_head) = lines(&setup).await;
    assert_eq!(after.lines().filter(|line| line.contains(" v1.1.0 ")).count(), 3, "{after}");
    assert!(!after.contains(" v1.0.0 ") && new_root != root && new_head > head);
    let (module, version) = target("example.com/a", "v1.1.0");
    setup.repository("virtual").tombstone(&module, &version).await.unwrap();
    let (removed, ..) = lines(&setup).await;
    let digest = shared::digest::Digest::of(&zip);
    assert_eq!(removed, format!("tombstone example.com/a v1.1.0 {digest}\n"));
}
