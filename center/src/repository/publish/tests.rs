//! Publishing, seen from outside: what is answered, what the log says, and what can be fetched afterwards.

use shared::change::EventType;
use shared::config::Period;

use crate::repository::testing::{Origin, Setup, module_zip, settings, target};
use crate::repository::{RepoError, RepositorySettings};
use crate::store::{Damage, Damaged};

const GOMOD: &str = "module example.com/a\n";

async fn alone() -> Setup {
    Setup::new(&settings(&[], Period::secs(60))).await
}

#[tokio::test]
async fn a_published_version_is_there_at_once_and_for_good() {
    let setup = alone().await;
    let zip = module_zip("example.com/a", "v1.0.0", GOMOD, b"package a\n");
    let published = setup.publish("example.com/a", "v1.0.0", &zip).await.unwrap();
    assert!(published.created && published.h1.starts_with("h1:"));
    assert_eq!(published.repository, "local");
    for repository in ["local", "virtual"] {
        assert_eq!(setup.text(repository, "example.com/a/@v/list").await, "v1.0.0\n");
        assert_eq!(setup.text(repository, "example.com/a/@v/v1.0.0.mod").await, GOMOD);
        assert_eq!(setup.get(repository, "example.com/a/@v/v1.0.0.zip").await.unwrap(), zip);
        let info = setup.text(repository, "example.com/a/@v/v1.0.0.info").await;
        assert!(info.starts_with("{\"Version\":\"v1.0.0\",\"Time\":\"2") && info.ends_with("Z\"}"), "{info}");
        assert_eq!(setup.text(repository, "example.com/a/@latest").await, info);
    }
    let again = setup.publish("example.com/a", "v1.0.0", &zip).await.unwrap();
    assert!(!again.created);
    assert_eq!((again.h1, again.time), (published.h1.clone(), published.time));
    let other = module_zip("example.com/a", "v1.0.0", GOMOD, b"package b\n");
    let refused = setup.publish("example.com/a", "v1.0.0", &other).await;
    assert!(matches!(refused, Err(RepoError::Conflict(_))), "{refused:?}");
    assert_eq!(setup.get("local", "example.com/a/@v/v1.0.0.zip").await.unwrap(), zip);
    for repository in ["local", "virtual"] {
        let changes = setup.changes(repository).await;
        assert_eq!(changes.len(), 1);
        assert_eq!((changes[0].id.seq, changes[0].event_type), (1, EventType::Create));
        assert_eq!((changes[0].sha256, changes[0].h1.as_ref()), (Some(published.sha256), Some(&published.h1)));
        assert_eq!((changes[0].repo.as_str(), changes[0].origin.as_deref()), (repository, Some("local")));
    }
}

#[tokio::test]
async fn the_same_zip_published_again_heals_what_was_lost() {
    let setup = alone().await;
    let zip = module_zip("example.com/a", "v1.0.0", GOMOD, b"package a\n");
    setup.publish("example.com/a", "v1.0.0", &zip).await.unwrap();
    let paths = ["info", "mod", "zip"].map(|part| format!("example.com/a/@v/v1.0.0.{part}"));
    let mut held = Vec::new();
    for path in &paths {
        held.push(setup.get("local", path).await.unwrap());
    }
    let record = setup.store.version("local", "example.com/a", "v1.0.0").await.unwrap().unwrap();
    for stored in [record.info, record.gomod, record.zip].into_iter().flatten() {
        assert!(stored.is_small());
        setup.store.withdraw(&Damaged { stored, damage: Damage::Missing, referrers: Vec::new() }).await.unwrap();
    }
    assert!(matches!(setup.get("local", &paths[2]).await, Err(RepoError::Storage(_))));
    assert!(!setup.publish("example.com/a", "v1.0.0", &zip).await.unwrap().created);
    for (path, body) in paths.iter().zip(held) {
        assert_eq!(setup.get("local", path).await.unwrap(), body, "{path}");
    }
}

#[tokio::test]
async fn zips_that_break_a_rule_are_refused_with_the_reason() {
    let setup = alone().await;
    let cases = [
        (
            "example.com/a",
            "v1.0.0",
            module_zip("example.com/a", "v1.0.0", "module example.com/b\n", b""),
            "example.com/b",
        ),
        ("example.com/a", "v1.0.0", module_zip("example.com/a", "v1.0.1", GOMOD, b""), "v1.0."),
        ("example.com/a", "v1.0.0", "no zip".into(), "zip"),
        ("example.com/a/v2", "v2.0.0", module_zip("example.com/a/v2", "v2.0.0", "", b"x"), "needs a go.mod"),
        (
            "example.com/a",
            "v2.0.0+incompatible",
            module_zip("example.com/a", "v2.0.0+incompatible", GOMOD, b""),
            "incompatible",
        ),
    ];
    for (module, version, zip, reason) in cases {
        match setup.publish(module, version, &zip).await {
            Err(RepoError::BadModule(said)) => assert!(said.contains(reason), "{said}"),
            other => panic!("{module}@{version}: {other:?}"),
        }
    }
    assert!(setup.changes("virtual").await.is_empty());
    assert!(setup.repository("virtual").owner_of(&target("example.com/a", "v1.0.0").0).is_none());
    assert_eq!(setup.files(), 0);
}

#[tokio::test]
async fn without_a_gomod_one_is_made_up() {
    let setup = alone().await;
    let zip = module_zip("example.com/old", "v2.0.0+incompatible", "", b"package old\n");
    setup.publish("example.com/old", "v2.0.0+incompatible", &zip).await.unwrap();
    let gomod = setup.text("local", "example.com/old/@v/v2.0.0+incompatible.mod").await;
    assert_eq!(gomod, "module example.com/old\n");
}

#[tokio::test]
async fn a_tombstone_hides_a_version_until_it_is_lifted() {
    let setup = alone().await;
    let zip = module_zip("example.com/a", "v1.0.0", GOMOD, b"package a\n");
    setup.publish("example.com/a", "v1.0.0", &zip).await.unwrap();
    let (module, version) = target("example.com/a", "v1.0.0");
    let local = setup.repository("local");
    local.tombstone(&module, &version).await.unwrap();
    local.tombstone(&module, &version).await.unwrap();
    for path in ["@v/v1.0.0.info", "@v/v1.0.0.mod", "@v/v1.0.0.zip"] {
        let gone = setup.get("virtual", &format!("example.com/a/{path}")).await;
        assert!(matches!(gone, Err(RepoError::Gone(_))), "{gone:?}");
    }
    assert_eq!(setup.text("virtual", "example.com/a/@v/list").await, "");
    assert!(matches!(setup.publish("example.com/a", "v1.0.0", &zip).await, Err(RepoError::Conflict(_))));
    local.restore(&module, &version).await.unwrap();
    assert_eq!(setup.get("virtual", "example.com/a/@v/v1.0.0.zip").await.unwrap(), zip);
    let types: Vec<EventType> = setup.changes("virtual").await.iter().map(|change| change.event_type).collect();
    assert_eq!(types, [EventType::Create, EventType::Delete, EventType::Create]);
    let (module, version) = target("example.com/a", "v9.0.0+incompatible");
    assert!(matches!(local.tombstone(&module, &version).await, Err(RepoError::NotFound(_))));
}

#[tokio::test]
async fn a_version_known_from_elsewhere_is_not_published_with_other_content() {
    let origin = Origin::start().await;
    let setup = Setup::over(&origin).await;
    origin.serve("example.com/a", "v1.0.0", GOMOD);
    setup.get("virtual", "example.com/a/@v/v1.0.0.zip").await.unwrap();
    let other = module_zip("example.com/a", "v1.0.0", GOMOD, b"package evil\n");
    let refused = setup.publish("example.com/a", "v1.0.0", &other).await;
    assert!(matches!(refused, Err(RepoError::Conflict(_))), "{refused:?}");
    // A refused publish does not take the path from its public owner.
    assert!(setup.repository("virtual").owner_of(&target("example.com/a", "v1.0.0").0).is_none());
}

#[tokio::test]
async fn what_was_published_survives_a_restart_and_stays_owned() {
    let setup = alone().await;
    let zip = module_zip("example.com/a", "v1.0.0", GOMOD, b"package a\n");
    setup.publish("example.com/a", "v1.0.0", &zip).await.unwrap();
    let head = setup.store.change_log("virtual").unwrap().head();
    let Setup { repositories, store, verifier, directory } = setup;
    drop((repositories, store));
    let config = crate::store::StoreConfig::new(directory.path().join("data"));
    let store = crate::store::Store::open(&config).unwrap();
    let via = http::HeaderValue::from_static("1.1 test");
    let egress = crate::egress::EgressSettings::default();
    let settings = settings(&[], Period::secs(60));
    let repositories = crate::repository::Repositories::build(
        &settings,
        &store,
        verifier.clone(),
        &via,
        &std::sync::Arc::default(),
        &egress,
        None,
    )
    .await
    .unwrap();
    let setup = Setup { repositories, store, verifier, directory };
    assert_eq!(setup.store.change_log("virtual").unwrap().head(), head);
    assert_eq!(setup.get("virtual", "example.com/a/@v/v1.0.0.zip").await.unwrap(), zip);
    let module = target("example.com/a/sub", "v1.0.0").0;
    assert_eq!(setup.repository("virtual").owner_of(&module), Some("local"));
}

#[tokio::test]
async fn fifty_publishers_of_one_version_create_it_once() {
    let setup = std::sync::Arc::new(alone().await);
    let publish = |number: usize| {
        let setup = std::sync::Arc::clone(&setup);
        async move {
            let zip = module_zip("example.com/a", "v1.0.0", GOMOD, format!("package a{number}\n").as_bytes());
            setup.publish("example.com/a", "v1.0.0", &zip).await
        }
    };
    let results = futures_util::future::join_all((0..50).map(publish)).await;
    assert_eq!(results.iter().filter(|result| result.as_ref().is_ok_and(|published| published.created)).count(), 1);
    assert_eq!(results.iter().filter(|result| matches!(result, Err(RepoError::Conflict(_)))).count(), 49);
    assert_eq!(setup.changes("virtual").await.len(), 1);
}

#[tokio::test]
async fn keys_of_another_kind_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = crate::store::StoreConfig::new(directory.path().to_owned());
    let store = crate::store::Store::open(&config).unwrap();
    let via = http::HeaderValue::from_static("1.1 test");
    let egress = crate::egress::EgressSettings::default();
    let mut settings = settings(&[], Period::secs(60));
    let local = RepositorySettings { upstream: Some("http://origin.test".to_owned()), ..RepositorySettings::default() };
    settings.insert("local".to_owned(), local);
    let verifier = std::sync::Arc::new(crate::repository::testing::ToldVerifier::default());
    let refused = crate::repository::Repositories::build(
        &settings,
        &store,
        verifier,
        &via,
        &std::sync::Arc::default(),
        &egress,
        None,
    )
    .await
    .err()
    .unwrap();
    assert!(refused.to_string().contains("repositories.local: upstream"), "{refused}");
}
