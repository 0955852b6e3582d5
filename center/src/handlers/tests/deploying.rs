//! What clients made for Artifactory send: three PUTs in any order, properties in the path, hashes in headers.

use http::{Method, StatusCode};
use shared::digest::Digest;

use super::{Answer, Body, Center, module_zip, request};

const BASE: &str = "/artifactory/api/go/golang-virtual/a.test/b/@v/v1.0.0";
const READ: &str = "/api/go/golang-local/a.test/b/@v";
const INFO: &str = "{\"Version\":\"v1.0.0\",\"Time\":\"2021-02-03T04:05:06Z\",\"Origin\":{\"VCS\":\"git\"}}";

impl Center {
    async fn deploy(&self, suffix: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let headers = [&[("authorization", self.token.as_str())], headers].concat();
        self.send(request(Method::PUT, &format!("{BASE}{suffix}"), &headers, body.into())).await
    }
}

fn zip() -> bytes::Bytes {
    module_zip("a.test/b", "v1.0.0", b"package b\n")
}

#[tokio::test]
async fn parts_may_come_in_any_order() {
    for order in [["zip", "mod", "info"], ["mod", "info", "zip"], ["info", "zip", "mod"], ["info", "mod", "zip"]] {
        let center = Center::new().await;
        let mut zip_is_in = false;
        for part in order {
            let answer = match part {
                "zip" => center.deploy(".zip", &[], zip()).await,
                "mod" => center.deploy(".mod", &[], "module a.test/b\n").await,
                _ => center.deploy(".info", &[], INFO).await,
            };
            assert_eq!(answer.status, StatusCode::CREATED, "{order:?} {part}: {}", answer.text());
            zip_is_in |= part == "zip";
            let status = if zip_is_in { StatusCode::OK } else { StatusCode::NOT_FOUND };
            assert_eq!(center.get(&format!("{READ}/list")).await.status, status, "{order:?} {part}");
            assert_eq!(center.get(&format!("{READ}/v1.0.0.mod")).await.status, status, "{order:?} {part}");
        }
        let info = center.get(&format!("{READ}/v1.0.0.info")).await;
        let came_first = order.iter().position(|part| *part == "info") < order.iter().position(|part| *part == "zip");
        assert_eq!(info.text() == INFO, came_first, "{order:?}: {}", info.text());
        let kept = center.app.store.properties("golang-local", "a.test/b", "v1.0.0").await.unwrap();
        assert_eq!(kept.info.as_deref(), Some(INFO), "{order:?}");
    }
}

#[tokio::test]
async fn parts_that_do_not_fit_are_refused() {
    let center = Center::new().await;
    for (suffix, body) in [
        (".mod", "module a.test/other\n"),
        (".mod", "nonsense"),
        (".info", "{\"Version\":\"v1.0.1\"}"),
        (".info", "{\"Version\":\"v1.0.0\",\"Time\":\"yesterday\"}"),
        (".info", "nonsense"),
    ] {
        assert_eq!(center.deploy(suffix, &[], body).await.status, StatusCode::BAD_REQUEST, "{suffix} {body}");
    }
    assert_eq!(center.deploy(".mod", &[], "module a.test/b // other\n").await.status, StatusCode::CREATED);
    let answer = center.deploy(".zip", &[], zip()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "the .mod before was another");
    assert_eq!(center.deploy(".mod", &[], "module a.test/b\n").await.status, StatusCode::CREATED, "corrected");
    assert_eq!(center.deploy(".zip", &[], zip()).await.status, StatusCode::CREATED);
    assert_eq!(center.deploy(".mod", &[], "module a.test/b // other\n").await.status, StatusCode::CONFLICT);

    let authorization = [("authorization", center.token.as_str())];
    center.send(request(Method::DELETE, BASE, &authorization, Body::empty())).await;
    for (suffix, body) in [(".zip", Body::from(zip())), (".mod", "module a.test/b\n".into()), (".info", INFO.into())] {
        assert_eq!(center.deploy(suffix, &[], body).await.status, StatusCode::CONFLICT, "removed: {suffix}");
    }
    center.send(request(Method::POST, &format!("{BASE}/restore"), &authorization, Body::empty())).await;
    assert_eq!(center.deploy(".zip", &[], zip()).await.status, StatusCode::OK);
}

#[tokio::test]
async fn all_declared_hashes_are_verified_and_echoed() {
    let center = Center::new().await;
    let gomod = "module a.test/b\n";
    // From `printf 'module a.test/b\n' | sha1sum`, `md5sum`.
    let (sha1, md5) = ("c424c341d4c0490623e097ec02d78705c67c6964", "0ec301377ec1612e9ace137325084078");
    let sha256 = Digest::of(gomod.as_bytes()).hex();
    for name in ["x-checksum-sha256", "x-checksum-sha1", "x-checksum-md5"] {
        let wrong = "0".repeat(match name {
            "x-checksum-sha256" => 64,
            "x-checksum-sha1" => 40,
            _ => 32,
        });
        let answer = center.deploy(".mod", &[(name, &wrong)], gomod).await;
        assert!(answer.status == StatusCode::BAD_REQUEST && answer.text().starts_with("checksum: "), "{name}");
        assert_eq!(center.deploy(".zip", &[(name, &wrong)], zip()).await.status, StatusCode::BAD_REQUEST, "{name}");
        assert_eq!(center.deploy(".mod", &[(name, "abc")], gomod).await.status, StatusCode::BAD_REQUEST, "{name}");
    }
    let upper = sha1.to_uppercase();
    let declared = [("x-checksum-sha1", upper.as_str()), ("x-checksum-md5", md5), ("x-checksum-sha256", &sha256)];
    let answer = center.deploy(".mod", &declared, gomod).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(answer.header("x-checksum-sha1"), sha1);
    assert_eq!(answer.header("x-checksum-md5"), md5);
    assert_eq!(answer.header("x-checksum-sha256"), sha256);
}

#[tokio::test]
async fn properties_of_the_path_are_kept_and_merged() {
    let center = Center::new().await;
    let answer = center.deploy(".zip;build.name=nightly;os=linux,mac", &[], zip()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(center.deploy(".info;os=bsd;note=a%20b", &[], INFO).await.status, StatusCode::CREATED);
    let kept = center.app.store.properties("golang-local", "a.test/b", "v1.0.0").await.unwrap().values;
    assert_eq!(kept["build.name"], ["nightly"]);
    assert_eq!(kept["os"], ["bsd"]);
    assert_eq!(kept["note"], ["a b"]);
    assert_eq!(center.get(&format!("{READ}/v1.0.0.zip")).await.body, zip());
    assert_eq!(center.deploy(".zip;=x", &[], zip()).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_body_that_is_there_need_not_be_sent() {
    let center = Center::new().await;
    let sha256 = Digest::of(&zip()).hex();
    let declared = [("x-checksum-deploy", "true"), ("x-checksum-sha256", sha256.as_str())];
    assert_eq!(center.deploy(".zip", &declared, "").await.status, StatusCode::NOT_FOUND);
    assert_eq!(center.deploy(".zip", &[], zip()).await.status, StatusCode::CREATED);
    let answer = center.deploy(".zip", &declared, "").await;
    assert_eq!((answer.status, answer.header("x-checksum-sha256")), (StatusCode::OK, sha256.as_str()));
}
