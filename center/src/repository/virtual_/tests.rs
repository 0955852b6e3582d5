//! The merge: who is asked, what wins, and what an outage may never become.

use shared::config::Period;

use crate::repository::testing::{Origin, Reply, Setup, info, module_zip, settings, target};
use crate::repository::{CacheStatus, Caveat, RepoError};

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
    assert_eq!(partial.caveat, Some(Caveat::Partial));
    // So is a branch that the failing member might have too; a version is the same wherever it comes from.
    one.set("example.com/a/@v/main.info", Reply::status(500, ""));
    other.set("example.com/a/@v/main.info", Reply::ok(info("v1.0.0")));
    let branch = setup.fetch("virtual", "example.com/a/@v/main.info").await.unwrap();
    assert_eq!((branch.caveat, branch.change_id), (Some(Caveat::Partial), None));
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
async fn a_member_whose_failure_is_hard_makes_every_merge_fail() {
    let (one, other) = (Origin::start().await, Origin::start().await);
    let mut settings = settings(&[("remote", &one.url), ("second", &other.url)], Period::secs(0));
    settings.get_mut("remote").unwrap().hard_fail = true;
    let setup = Setup::new(&settings).await;
    other.serve("example.com/a", "v1.0.0", "module example.com/a\n");
    other.set("example.com/a/@v/list", Reply::ok("v1.0.0\n"));
    assert_eq!(setup.text("virtual", "example.com/a/@v/list").await, "v1.0.0\n");
    for name in ["@v/list", "@latest", "@v/v1.0.0.info"] {
        one.set(&format!("example.com/b/{name}"), Reply::status(503, ""));
    }
    other.serve("example.com/b", "v1.0.0", "module example.com/b\n");
    other.set("example.com/b/@v/list", Reply::ok("v1.0.0\n"));
    for name in ["@v/list", "@latest", "@v/v1.0.0.info"] {
        let error = setup.get("virtual", &format!("example.com/b/{name}")).await.unwrap_err();
        assert!(matches!(error, RepoError::Unavailable { .. }), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn of_an_owned_path_nothing_may_be_missing() {
    let (one, other, public) = (Origin::start().await, Origin::start().await, Origin::start().await);
    let upstreams = [("remote", one.url.as_str()), ("second", &other.url), ("third", &public.url)];
    let mut settings = settings(&upstreams, Period::secs(0));
    for owner in ["remote", "second"] {
        settings.get_mut(owner).unwrap().owns = vec!["partner.test/*".to_owned()];
    }
    let setup = Setup::new(&settings).await;
    one.set("partner.test/a/@v/list", Reply::ok("v1.0.0\n"));
    other.set("partner.test/a/@v/list", Reply::ok("v1.1.0\n"));
    assert_eq!(setup.text("virtual", "partner.test/a/@v/list").await, "v1.0.0\nv1.1.0\n");
    one.set("partner.test/b/@v/list", Reply::ok("v1.0.0\n"));
    other.set("partner.test/b/@v/list", Reply::status(503, ""));
    for name in ["@v/list", "@latest"] {
        let error = setup.get("virtual", &format!("partner.test/b/{name}")).await.unwrap_err();
        assert!(matches!(error, RepoError::Unavailable { .. }), "{name}: {error:?}");
    }
    assert_eq!(public.asked(), Vec::<String>::new());
    assert!(matches!(setup.get("third", "partner.test/a/@v/list").await, Err(RepoError::Blocked(_))));
}

#[tokio::test]
async fn patterns_choose_the_members_and_what_nobody_may_answer_is_blocked() {
    let (one, other) = (Origin::start().await, Origin::start().await);
    let mut settings = settings(&[("remote", &one.url), ("second", &other.url)], Period::secs(0));
    let patterns = |text: &str| shared::module::Patterns::new([text.to_owned()]).unwrap();
    settings.get_mut("remote").unwrap().include = patterns("example.com/one*");
    settings.get_mut("second").unwrap().exclude = patterns("example.com/one,example.com/none");
    settings.get_mut("local").unwrap().exclude = patterns("example.com/none");
    let setup = Setup::new(&settings).await;
    for origin in [&one, &other] {
        for module in ["one", "ones", "two", "none"] {
            origin.set(&format!("example.com/{module}/@v/list"), Reply::ok("v1.0.0\n"));
        }
    }
    for (module, by_one, by_other) in [("one", 1, 0), ("ones", 1, 1), ("two", 0, 1)] {
        let path = format!("example.com/{module}/@v/list");
        assert_eq!(setup.text("virtual", &path).await, "v1.0.0\n");
        assert_eq!((one.count(&path), other.count(&path)), (by_one, by_other), "{module}");
    }
    for repository in ["virtual", "remote", "second", "local"] {
        let refused = setup.get(repository, "example.com/none/@v/list").await;
        assert!(matches!(refused, Err(RepoError::Blocked(_))), "{repository}: {refused:?}");
    }
    let zip = module_zip("example.com/none", "v1.0.0", "module example.com/none\n", b"package none\n");
    assert!(matches!(setup.publish("example.com/none", "v1.0.0", &zip).await, Err(RepoError::Blocked(_))));
}

#[tokio::test]
async fn what_belongs_to_another_repository_is_not_published_here() {
    let origin = Origin::start().await;
    let mut settings = settings(&[("remote", &origin.url)], Period::secs(0));
    settings.get_mut("remote").unwrap().owns = vec!["partner.test".to_owned()];
    let setup = Setup::new(&settings).await;
    let zip = module_zip("partner.test/a", "v1.0.0", "module partner.test/a\n", b"package a\n");
    let refused = setup.publish("partner.test/a", "v1.0.0", &zip).await;
    assert!(matches!(refused, Err(RepoError::Blocked(_))), "{refused:?}");
    origin.set("partner.test/a/@v/list", Reply::ok("v1.1.0\n"));
    assert_eq!(setup.text("virtual", "partner.test/a/@v/list").await, "v1.1.0\n");
}

#[tokio::test]
async fn what_a_member_of_a_higher_priority_has_hides_the_rest() {
    let (one, other) = (Origin::start().await, Origin::start().await);
    let mut settings = settings(&[("remote", &one.url), ("second", &other.url)], Period::secs(0));
    settings.get_mut("second").unwrap().priority = 10;
    let setup = Setup::new(&settings).await;
    for (origin, version) in [(&one, "v9.0.0+incompatible"), (&other, "v1.0.0")] {
        origin.serve("example.com/a", version, "module example.com/a\n");
        origin.set("example.com/a/@v/list", Reply::ok(format!("{version}\n")));
    }
    one.serve("example.com/b", "v1.0.0", "module example.com/b\n");
    one.set("example.com/b/@v/list", Reply::ok("v1.0.0\n"));
    assert_eq!(setup.text("virtual", "example.com/a/@v/list").await, "v1.0.0\n");
    assert_eq!(setup.text("virtual", "example.com/a/@latest").await, info("v1.0.0"));
    let hidden = setup.get("virtual", "example.com/a/@v/v9.0.0+incompatible.info").await;
    assert!(matches!(hidden, Err(RepoError::NotFound(_))), "{hidden:?}");
    assert!(!one.asked().iter().any(|path| path.contains("/a/")), "{:?}", one.asked());
    // What the higher one does not know, the lower one answers; what it cannot say, nobody does.
    assert_eq!(setup.text("virtual", "example.com/b/@v/list").await, "v1.0.0\n");
    assert_eq!(setup.text("virtual", "example.com/b/@v/v1.0.0.info").await, info("v1.0.0"));
    one.set("example.com/c/@v/list", Reply::ok("v1.0.0\n"));
    other.set("example.com/c/@v/list", Reply::status(500, ""));
    for name in ["@v/list", "@v/v1.0.1.info"] {
        let error = setup.get("virtual", &format!("example.com/c/{name}")).await.unwrap_err();
        assert!(matches!(error, RepoError::Upstream(_)), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn a_virtual_repository_in_a_virtual_one_owns_for_its_members() {
    let (inner, public) = (Origin::start().await, Origin::start().await);
    let mut settings = settings(&[("remote", &inner.url), ("public", &public.url)], Period::secs(0));
    let mut group = settings["virtual"].clone();
    group.members = vec!["local".to_owned(), "remote".to_owned()];
    group.owns = vec!["corp.test".to_owned()];
    settings.insert("group".to_owned(), group);
    let outer = settings.get_mut("virtual").unwrap();
    outer.members = vec!["public".to_owned(), "group".to_owned()];
    outer.default_deployment = None;
    let setup = Setup::new(&settings).await;
    for origin in [&inner, &public] {
        for module in ["corp.test/a", "example.com/a"] {
            origin.set(&format!("{module}/@v/list"), Reply::ok("v1.0.0\n"));
        }
    }
    public.set("corp.test/a/@v/list", Reply::ok("v1.9.0\n"));
    assert_eq!(setup.text("virtual", "corp.test/a/@v/list").await, "v1.0.0\n");
    assert_eq!(public.asked(), Vec::<String>::new());
    assert_eq!(setup.text("virtual", "example.com/a/@v/list").await, "v1.0.0\n");
    assert_eq!(setup.repository("virtual").owner_of(&target("corp.test/a", "v1.0.0").0), Some("group"));
    // What is published into the group is no longer asked of its remote member either.
    let zip = module_zip("corp.test/a", "v1.2.0", "module corp.test/a\n", b"package a\n");
    let file = setup.repository("group");
    setup.publish_to(file, "corp.test/a", "v1.2.0", &zip).await.unwrap();
    let before = inner.asked();
    assert_eq!(setup.text("virtual", "corp.test/a/@v/list").await, "v1.2.0\n");
    assert_eq!(inner.asked(), before);
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
