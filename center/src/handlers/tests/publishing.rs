//! Publishing, tombstones and restoring.

use http::{Method, StatusCode};
use shared::digest::Digest;

use super::{Answer, Body, Center, Upstream, module_zip, noise, request};
use crate::repository::RepositorySettings;
use shared::config::{ByteSize, Period};

const ZIP: &str = "/api/go/golang-local/a.test/b/@v/v1.0.0.zip";

impl Center {
    async fn write(&self, method: Method, path: &str) -> Answer {
        self.send(request(method, path, &[("authorization", &self.token)], Body::empty())).await
    }
}

#[tokio::test]
async fn writing_needs_a_token_that_allows_it() {
    let center = Center::new().await;
    let zip = module_zip("a.test/b", "v1.0.0", b"package a\n");
    let version = "/api/go/golang-local/a.test/b/@v/v1.0.0";
    for (method, path) in [
        (Method::PUT, ZIP.to_owned()),
        (Method::DELETE, version.to_owned()),
        (Method::POST, format!("{version}/restore")),
    ] {
        let answer = center.send(request(method.clone(), &path, &[], Body::from(zip.clone()))).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method}");
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"modtier\"");
        let headers = [("authorization", center.reader.as_str())];
        let answer = center.send(request(method.clone(), &path, &headers, Body::from(zip.clone()))).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method}");
        let headers = [("authorization", "Bearer modtier_wrong")];
        let answer = center.send(request(method.clone(), &path, &headers, Body::from(zip.clone()))).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method}");
    }
    assert_eq!(center.get(ZIP).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_published_module_is_there_at_once_and_for_good() {
    let center = Center::new().await;
    let zip = module_zip("a.test/b", "v1.0.0", &noise(300_000));
    let digest = Digest::of(&zip);
    let answer = center.put(ZIP, zip.clone()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    assert_eq!(answer.header("x-checksum-sha256"), digest.hex());
    let document: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(document["module"], "a.test/b");
    assert_eq!(document["version"], "v1.0.0");
    assert_eq!(document["sha256"], digest.hex());
    assert!(document["h1"].as_str().unwrap().starts_with("h1:"));
    assert!(document["time"].as_str().unwrap().ends_with('Z'), "{document}");

    for base in ["/api/go/golang-local", "/api/go/golang-virtual"] {
        let answer = center.get(&format!("{base}/a.test/b/@v/v1.0.0.zip")).await;
        assert_eq!(answer.body, zip);
        assert_eq!(answer.header("etag"), digest.etag());
        assert_eq!(center.get(&format!("{base}/a.test/b/@v/list")).await.text(), "v1.0.0\n");
        assert_eq!(center.get(&format!("{base}/a.test/b/@v/v1.0.0.mod")).await.text(), "module a.test/b\n");
    }
    assert_eq!(center.put(ZIP, zip).await.status, StatusCode::OK, "the same bytes again");
    let other = module_zip("a.test/b", "v1.0.0", b"package other\n");
    let answer = center.put(ZIP, other).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.text().starts_with("conflict: "), "{}", answer.text());
    assert_eq!(std::fs::read_dir(center.app.store.spool_dir()).unwrap().count(), 0, "no upload is left behind");
}

#[tokio::test]
async fn publishing_to_the_virtual_repository_goes_to_its_deployment_repository() {
    let center = Center::new().await;
    let zip = module_zip("a.test/b", "v1.0.0", b"package a\n");
    let answer = center.put("/artifactory/api/go/golang-virtual/a.test/b/@v/v1.0.0.zip", zip).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(center.get(ZIP).await.status, StatusCode::OK);
    let answer = center.put("/api/go/golang-remote/a.test/b/@v/v1.0.0.zip", "x").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

fn zip_with_a_link() -> bytes::Bytes {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.add_symlink("a.test/b@v1.0.0/link", "/etc/passwd", options).unwrap();
    zip.finish().unwrap().into_inner().into()
}

#[tokio::test]
async fn what_is_no_module_is_400_with_the_reason() {
    let center = Center::new().await;
    let renamed = module_zip("a.test/other", "v1.0.0", b"package a\n");
    for (path, body) in [
        (ZIP, bytes::Bytes::from_static(b"no zip")),
        (ZIP, bytes::Bytes::new()),
        (ZIP, renamed),
        (ZIP, zip_with_a_link()),
        ("/api/go/golang-local/a.test/b/@v/main.zip", module_zip("a.test/b", "main", b"")),
        ("/api/go/golang-local/a.test/b/@v/v2.0.0.zip", module_zip("a.test/b", "v2.0.0", b"")),
        ("/api/go/golang-local/a.test/B/@v/v1.0.0.zip", module_zip("a.test/B", "v1.0.0", b"")),
        ("/api/go/golang-local/a.test//b/@v/v1.0.0.zip", module_zip("a.test/b", "v1.0.0", b"")),
    ] {
        let answer = center.put(path, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text());
    }
    assert_eq!(std::fs::read_dir(center.app.store.spool_dir()).unwrap().count(), 0);
    assert_eq!(center.get("/api/go/golang-local/a.test/b/@v/list").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_checksum_that_does_not_fit_is_refused() {
    let center = Center::new().await;
    let zip = module_zip("a.test/b", "v1.0.0", b"package a\n");
    let put = |checksum: String| {
        let headers = [("authorization", center.token.as_str()), ("x-checksum-sha256", checksum.as_str())];
        request(Method::PUT, ZIP, &headers, Body::from(zip.clone()))
    };
    let wrong = center.send(put(Digest::of(b"other").hex())).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert!(wrong.text().starts_with("checksum: "), "{}", wrong.text());
    assert_eq!(center.send(put("xyz".to_owned())).await.status, StatusCode::BAD_REQUEST);
    let right = center.send(put(Digest::of(&zip).hex().to_uppercase())).await;
    assert_eq!(right.status, StatusCode::CREATED);
    assert_eq!(right.header("x-checksum-sha256"), Digest::of(&zip).hex());
}

#[tokio::test]
async fn an_upload_beyond_the_limit_is_413_and_one_that_stops_is_408() {
    let center = Center::with(|config| {
        config.limits.upload_size_max = ByteSize::kib(100);
        config.limits.upload_stall_timeout = Period::millis(50);
    })
    .await;
    assert_eq!(center.put(ZIP, noise(200_000)).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    // Without a length beforehand.
    let chunks = (0..20).map(|_| Ok::<_, std::io::Error>(bytes::Bytes::from(noise(10_000))));
    let answer = center.put(ZIP, Body::from_stream(futures_util::stream::iter(chunks))).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    let stalled = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    assert_eq!(center.put(ZIP, Body::from_stream(stalled)).await.status, StatusCode::REQUEST_TIMEOUT);
    let broken = futures_util::stream::iter([Ok("PK"), Err(std::io::Error::other("reset"))]);
    let answer = center.put(ZIP, Body::from_stream(broken)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(std::fs::read_dir(center.app.store.spool_dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_tombstoned_version_is_gone_until_it_is_restored() {
    let center = Center::new().await;
    center.publish("a.test/b", "v1.0.0").await;
    let version = "/api/go/golang-local/a.test/b/@v/v1.0.0";
    assert_eq!(center.write(Method::DELETE, version).await.status, StatusCode::NO_CONTENT);
    let answer = center.get(ZIP).await;
    assert_eq!(answer.status, StatusCode::GONE);
    assert!(answer.text().starts_with("gone: "), "{}", answer.text());
    assert_eq!(center.publish("a.test/b", "v1.0.0").await.status, StatusCode::CONFLICT);
    assert_eq!(center.write(Method::POST, &format!("{version}/restore")).await.status, StatusCode::NO_CONTENT);
    assert_eq!(center.get(ZIP).await.status, StatusCode::OK);
    assert_eq!(
        center.write(Method::DELETE, "/api/go/golang-local/a.test/b/@v/v9.0.0").await.status,
        StatusCode::BAD_REQUEST,
        "v9 is no version of this path"
    );
    for (method, path) in
        [(Method::DELETE, ZIP), (Method::DELETE, "/api/go/golang-local/a.test/b"), (Method::POST, version)]
    {
        let status = center.write(method.clone(), path).await.status;
        assert!([400, 405].contains(&status.as_u16()), "{method} {path}: {status}");
    }
}

#[tokio::test]
async fn an_owned_path_is_asked_of_nobody() {
    let upstream = Upstream::new().await;
    let center = Center::with(|config| {
        super::set_upstream(config, &upstream.url);
        let owns = vec!["corp.test".to_owned()];
        let local = RepositorySettings { owns, ..RepositorySettings::default() };
        config.repositories.insert("golang-local".to_owned(), local);
    })
    .await;
    center.publish("a.test/b", "v1.0.0").await;
    for module in ["corp.test/x", "a.test/b", "a.test/b/below"] {
        for file in ["@v/list", "@latest", "@v/v1.2.3.zip", "@v/main.info"] {
            for repository in ["golang-virtual", "golang-remote"] {
                let answer = center.get(&format!("/api/go/{repository}/{module}/{file}")).await;
                assert!(!answer.status.is_server_error(), "{module}/{file}: {}", answer.status);
            }
        }
    }
    assert_eq!(upstream.asked_at_all(), Vec::<String>::new());
}

#[tokio::test]
async fn of_a_module_whose_versions_were_all_removed_the_latest_is_gone() {
    let upstream = Upstream::new().await;
    let center = Center::with(|config| super::set_upstream(config, &upstream.url)).await;
    for version in ["v1.0.0", "v1.1.0"] {
        assert_eq!(center.publish("a.test/b", version).await.status, StatusCode::CREATED);
        let removed = center.write(Method::DELETE, &format!("/api/go/golang-local/a.test/b/@v/{version}")).await;
        assert_eq!(removed.status, StatusCode::NO_CONTENT);
    }
    for repository in ["golang-local", "golang-virtual"] {
        let base = format!("/api/go/{repository}/a.test/b");
        for path in ["@latest", "@v/v1.0.0.info", "@v/v1.1.0.zip"] {
            let answer = center.get(&format!("{base}/{path}")).await;
            assert_eq!(answer.status, StatusCode::GONE, "{base}/{path}: {}", answer.text());
        }
        let list = center.get(&format!("{base}/@v/list")).await;
        assert_eq!((list.status, list.text()), (StatusCode::OK, ""));
        assert_eq!(center.get(&format!("{base}/@v/main.info")).await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(upstream.asked_at_all(), Vec::<String>::new());
}
